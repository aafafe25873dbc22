#include "hub/model_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

namespace sluice::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPartBytesMax = 128;
constexpr size_t kPartsMax = 4;
constexpr size_t kEntriesMax = 100'000;
constexpr std::string_view kPartial = ".part";

std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0;;) {
    const size_t end = name.find('/', begin);
    parts.push_back(name.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 160)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return out;
}

bool is_model_file(const fs::path& path) { return path.extension() == ".gguf" || path.extension() == ".sluice"; }

struct Found {
  uint64_t bytes = 0;
  int64_t modified_s = 0;
};

Found facts_of(const fs::path& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  return {static_cast<uint64_t>(status.st_size), static_cast<int64_t>(status.st_mtime)};
}

// A folder's own files, when it is a checkpoint of several.
LocalModel checkpoint_of(const fs::path& folder, const std::string& name) {
  LocalModel model{.name = name, .folder = true};
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const Found found = facts_of(entry->path());
    model.bytes += found.bytes;
    model.modified_s = std::max(model.modified_s, found.modified_s);
    if (entry->path().extension() == kPartial) model.partial = true;
  }
  return model;
}

void walk(const fs::path& folder, const std::string& prefix, size_t depth, size_t& entries, std::vector<LocalModel>& out) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (++entries > kEntriesMax) return;
    const std::string part = entry->path().filename().string();
    const std::string name = prefix.empty() ? part : prefix + "/" + part;
    const fs::file_status status = entry->symlink_status(error);
    if (error || !check_name_part(part).ok()) continue;
    if (fs::is_directory(status) && depth + 1 < kPartsMax) {
      if (fs::exists(entry->path() / "config.json", error)) out.push_back(checkpoint_of(entry->path(), name));
      else walk(entry->path(), name, depth + 1, entries, out);
      continue;
    }
    const bool partial = entry->path().extension() == kPartial;
    if (!fs::is_regular_file(status) || (!partial && !is_model_file(entry->path()))) continue;
    const Found found = facts_of(entry->path());
    const std::string whole = partial ? name.substr(0, name.size() - kPartial.size()) : name;
    out.push_back({.name = whole, .bytes = found.bytes, .modified_s = found.modified_s, .partial = partial});
  }
}

}  // namespace

fs::path model_folder() {
  if (const char* data = std::getenv("XDG_DATA_HOME"); data != nullptr && *data == '/') return fs::path(data) / "sluice" / "models";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') return fs::path(home) / ".local" / "share" / "sluice" / "models";
  return fs::path("/var/lib/sluice/models");
}

Status check_name_part(std::string_view part) {
  const Error wrong{fmt::format("'{}': a model's name is made of parts of 1 to {} letters, digits and ._+=@-, not beginning with '.' or '-'", printable(part),
                                kPartBytesMax)};
  if (part.empty() || part.size() > kPartBytesMax || part[0] == '.' || part[0] == '-') return wrong;
  for (const char c : part) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && std::string_view("._+=@-").find(c) == std::string_view::npos) return wrong;
  }
  return {};
}

Status check_name(std::string_view name) {
  const std::vector<std::string_view> parts = parts_of(name);
  if (parts.size() > kPartsMax) return Error{fmt::format("'{}': {} parts; a model's name has at most {}", printable(name), parts.size(), kPartsMax)};
  for (const std::string_view part : parts) SLUICE_TRY_VOID(check_name_part(part));
  return {};
}

Result<std::vector<LocalModel>> list_models(const fs::path& folder) {
  std::error_code error;
  std::vector<LocalModel> models;
  if (!fs::exists(folder, error)) return models;
  const fs::directory_iterator readable(folder, error);
  if (error) return Error{fmt::format("cannot read {}: {}", folder.string(), error.message())};
  size_t entries = 0;
  walk(folder, "", 0, entries, models);
  if (entries > kEntriesMax) return Error{fmt::format("{}: more than {} entries; is this the folder of models?", folder.string(), kEntriesMax)};
  std::sort(models.begin(), models.end(), [](const LocalModel& a, const LocalModel& b) { return a.name < b.name; });
  return models;
}

Result<std::string> find_model(const fs::path& folder, const std::string& named) {
  std::error_code error;
  if (named.empty() || fs::exists(named, error) || !check_name(named).ok()) return named;
  SLUICE_TRY(const std::vector<LocalModel> models, list_models(folder));
  std::vector<std::string> matches;
  for (const LocalModel& model : models) {
    if (model.partial) continue;
    if (model.name == named) return (folder / model.name).string();
    const std::string file = model.name.substr(model.name.rfind('/') + 1);
    if (file == named || file == named + ".gguf" || file == named + ".sluice" || model.name.starts_with(named + "/")) matches.push_back(model.name);
  }
  if (matches.size() == 1) return (folder / matches[0]).string();
  if (matches.empty()) return named;  // what opens it says that there is no such file
  return Error{fmt::format("'{}' may be {}: name one of them", named, fmt::join(matches, " or "))};
}

Result<uint64_t> remove_model(const fs::path& folder, const std::string& name) {
  SLUICE_TRY_VOID(check_name(name));
  SLUICE_TRY(const std::vector<LocalModel> models, list_models(folder));
  const auto model = std::find_if(models.begin(), models.end(), [&](const LocalModel& one) { return one.name == name; });
  if (model == models.end()) return Error{fmt::format("'{}': no such model in {} (`sluice list` shows them)", name, folder.string())};
  const fs::path path = folder / name;
  std::error_code error;
  uint64_t bytes = model->bytes;
  if (model->folder) {
    fs::remove_all(path, error);
  } else {
    for (const std::string rest : {"", ".part", ".part.json"}) {
      if (!rest.empty()) bytes += model->partial ? 0 : facts_of(path.string() + rest).bytes;
      fs::remove(path.string() + rest, error);
      if (error) break;
    }
  }
  if (error) return Error{fmt::format("cannot remove {}: {}", path.string(), error.message())};
  for (fs::path parent = path.parent_path(); parent != folder; parent = parent.parent_path()) {
    if (!fs::remove(parent, error) || error) break;  // it still holds something
  }
  return bytes;
}

}  // namespace sluice::hub
