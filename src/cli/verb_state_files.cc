// `sluice state list|show|verify|export|delete`: the snapshots that the disk tier keeps, for people. Files are read and, by `delete`, removed; never changed.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "cli/verbs.h"
#include "engine/disk_tier.h"
#include "platform/file.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;
using engine::SnapshotInfo;
using engine::SnapshotListing;
using nlohmann::ordered_json;

constexpr const char* kKindNames[] = {"prompt end", "before the end", "answer end", "system end", "junction", "grid"};
static_assert(std::size(kKindNames) == engine::kKinds);

std::string id_text(uint64_t id) { return fmt::format("{:016x}", id); }

fs::path folder_of(const StateFilesOptions& o) { return o.folder.empty() ? state_folder() / "states" : fs::path(o.folder); }

Result<std::vector<SnapshotListing>> listing(const StateFilesOptions& o) {
  const fs::path folder = folder_of(o);
  std::error_code code;
  if (!fs::is_directory(folder, code)) return Error{fmt::format("{}: there is no folder of saved states (--folder names another)", folder.string())};
  return engine::list_snapshots(folder);
}

ordered_json to_json(const SnapshotListing& file) {
  if (!file.info.ok()) return {{"file", file.path.string()}, {"error", file.info.error().message}};
  const SnapshotInfo& info = *file.info;
  return {{"id", id_text(info.id)}, {"parent", info.parent == 0 ? ordered_json() : ordered_json(id_text(info.parent))}, {"tenant", info.tenant},
          {"from", info.from}, {"to", info.to}, {"kind", kKindNames[info.kind % engine::kKinds]}, {"turn", info.turn}, {"bytes", info.file_bytes},
          {"model", id_text(info.binding.model)}, {"program", id_text(info.binding.program)}, {"file", file.path.string()}};
}

// The one snapshot whose id begins with `text`.
Result<const SnapshotListing*> find(const std::vector<SnapshotListing>& all, const std::string& text) {
  const SnapshotListing* found = nullptr;
  for (const SnapshotListing& file : all) {
    if (!file.info.ok() || !id_text(file.info->id).starts_with(text)) continue;
    if (found != nullptr) return Error{fmt::format("'{}' begins the id of more than one state; give more of it", text)};
    found = &file;
  }
  if (text.empty() || found == nullptr) return Error{fmt::format("there is no state whose id begins with '{}' (sluice state list)", text)};
  return found;
}

// A snapshot and what it stands on, root first. An error if a parent is missing.
Result<std::vector<const SnapshotListing*>> chain(const std::vector<SnapshotListing>& all, const SnapshotListing* leaf) {
  std::vector<const SnapshotListing*> out{leaf};
  while (out.back()->info->parent != 0) {
    const SnapshotInfo& child = *out.back()->info;
    const auto parent = std::find_if(all.begin(), all.end(), [&](const SnapshotListing& f) {
      return f.info.ok() && f.info->id == child.parent && f.info->to == child.from && f.info->binding == child.binding;
    });
    if (parent == all.end()) return Error{fmt::format("state {} stands on {}, which is missing or damaged", id_text(child.id), id_text(child.parent))};
    out.push_back(&*parent);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

// The state that is asked for, last, and all that it stands on.
Result<std::vector<const SnapshotListing*>> path_to(const std::vector<SnapshotListing>& all, const std::string& id) {
  SLUICE_TRY(const SnapshotListing* const file, find(all, id));
  return chain(all, file);
}

void print_table(const std::vector<SnapshotListing>& all) {
  uint64_t bytes = 0;
  fmt::print("{:<17} {:<17} {:>8} {:>9} {:>9}  {:<15} {:>10}\n", "id", "goes on from", "tenant", "from", "to", "kind", "size");
  for (const SnapshotListing& file : all) {
    if (!file.info.ok()) {
      fmt::print("damaged: {}\n", file.info.error().message);
      continue;
    }
    const SnapshotInfo& info = *file.info;
    bytes += info.file_bytes;
    fmt::print("{:<17} {:<17} {:>8} {:>9} {:>9}  {:<15} {:>10}\n", id_text(info.id), info.parent == 0 ? "-" : id_text(info.parent), info.tenant, info.from,
               info.to, kKindNames[info.kind % engine::kKinds], bytes_text(info.file_bytes));
  }
  fmt::print("{} states, {}\n", all.size(), bytes_text(bytes));
}

int print_json(const ordered_json& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, ordered_json::error_handler_t::replace));
  return 0;
}

Result<std::string> text_of(const std::string& model, const std::vector<int32_t>& tokens) {
  SLUICE_TRY(const text::Tokenizer tokenizer, open_tokenizer(model));
  return tokenizer.decode(tokens, true);
}

Status copy_whole(const fs::path& from, const fs::path& to) {
  SLUICE_TRY(const platform::MappedFile source, platform::MappedFile::open(from));
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(to));
  SLUICE_TRY_VOID(file.write(source.bytes()));
  return file.commit();
}

}  // namespace

int state_list(const StateFilesOptions& o) {
  const Result<std::vector<SnapshotListing>> all = listing(o);
  if (!all.ok()) return fail(all.error());
  if (!o.json) {
    print_table(*all);
    return 0;
  }
  ordered_json out = ordered_json::array();
  for (const SnapshotListing& file : *all) out.push_back(to_json(file));
  return print_json({{"folder", folder_of(o).string()}, {"states", out}});
}

int state_show(const StateFilesOptions& o) {
  const Result<std::vector<SnapshotListing>> all = listing(o);
  if (!all.ok()) return fail(all.error());
  const auto path = path_to(*all, o.id);
  if (!path.ok()) return fail(path.error());
  const SnapshotListing& file = *path->back();
  std::vector<int32_t> tokens;
  for (const SnapshotListing* part : *path) tokens.insert(tokens.end(), part->info->tokens.begin(), part->info->tokens.end());
  ordered_json out = to_json(file);
  ordered_json ids = ordered_json::array();
  for (const SnapshotListing* part : *path) ids.push_back(id_text(part->info->id));
  out["path"] = ids;
  out["tokens"] = tokens;
  if (o.with_text) {
    const Result<std::string> decoded = text_of(o.model, tokens);
    if (!decoded.ok()) return fail(decoded.error());
    out["text"] = *decoded;
  }
  if (o.json) return print_json(out);
  for (const auto& [name, value] : out.items()) {
    if (name == "tokens") {
      fmt::print("{:<8} {} ids\n", name, tokens.size());
    } else {
      fmt::print("{:<8} {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  return 0;
}

int state_verify(const StateFilesOptions& o) {
  const Result<std::vector<SnapshotListing>> all = listing(o);
  if (!all.ok()) return fail(all.error());
  ProgressBar bar("verifying", all->size());
  uint64_t done = 0;
  ordered_json damaged = ordered_json::array();
  for (const SnapshotListing& file : *all) {
    Status status = file.info.ok() ? engine::verify_snapshot(file.path) : Status(file.info.error());
    if (status.ok()) {
      if (const auto path = chain(*all, &file); !path.ok()) status = path.error();
    }
    if (!status.ok()) damaged.push_back({{"file", file.path.string()}, {"error", status.error().message}});
    bar.update(++done);
  }
  if (o.json) {
    (void)print_json({{"states", all->size()}, {"damaged", damaged}});
  } else {
    for (const auto& one : damaged) fmt::print("damaged: {}\n", one["error"].get<std::string>());
    fmt::print("{} states, {} damaged\n", all->size(), damaged.size());
  }
  return damaged.empty() ? 0 : 1;
}

// The state and all that it stands on, in a folder that `--state-dir` or `--folder` takes as it is.
int state_export(const StateFilesOptions& o) {
  const Result<std::vector<SnapshotListing>> all = listing(o);
  if (!all.ok()) return fail(all.error());
  const auto path = path_to(*all, o.id);
  if (!path.ok()) return fail(path.error());
  const SnapshotListing& file = *path->back();
  uint64_t bytes = 0;
  for (const SnapshotListing* part : *path) {
    if (const Status good = engine::verify_snapshot(part->path); !good.ok()) return fail(good.error());
    const fs::path to = fs::path(o.out) / part->path.parent_path().filename() / part->path.filename();
    std::error_code code;
    fs::create_directories(to.parent_path(), code);
    if (code) return fail(Error{fmt::format("cannot make the folder {}: {}", to.parent_path().string(), code.message())});
    if (const Status status = copy_whole(part->path, to); !status.ok()) return fail(status.error());
    bytes += part->info->file_bytes;
  }
  if (o.json) return print_json({{"out", o.out}, {"states", path->size()}, {"tokens", file.info->to}, {"bytes", bytes}});
  fmt::print("{} tokens in {} states, {}, written to {}\n", file.info->to, path->size(), bytes_text(bytes), o.out);
  return 0;
}

int state_delete(const StateFilesOptions& o) {
  const Result<std::vector<SnapshotListing>> all = listing(o);
  if (!all.ok()) return fail(all.error());
  if (o.all == !o.id.empty()) return fail(Error{"name one state, or give --all"});
  std::vector<fs::path> doomed;
  if (o.all) {
    for (const SnapshotListing& file : *all) doomed.push_back(file.path);
  } else {
    const Result<const SnapshotListing*> file = find(*all, o.id);
    if (!file.ok()) return fail(file.error());
    std::multimap<uint64_t, const SnapshotListing*> children;
    for (const SnapshotListing& one : *all) {
      if (one.info.ok()) children.emplace(one.info->parent, &one);
    }
    std::vector<const SnapshotListing*> open{*file};
    while (!open.empty()) {
      const SnapshotListing* one = open.back();
      open.pop_back();
      doomed.push_back(one->path);
      const auto [begin, end] = children.equal_range(one->info->id);
      for (auto it = begin; it != end; ++it) open.push_back(it->second);
    }
    std::reverse(doomed.begin(), doomed.end());  // what stands on others first: never a child without its parent
  }
  for (const fs::path& path : doomed) {
    std::error_code code;
    fs::remove(path, code);
    if (code) return fail(Error{fmt::format("cannot delete {}: {}", path.string(), code.message())});
  }
  if (o.json) return print_json({{"deleted", doomed.size()}});
  fmt::print("{} states deleted\n", doomed.size());
  return 0;
}

}  // namespace sluice::cli
