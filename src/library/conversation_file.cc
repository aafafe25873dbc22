// Conversations in files: FILE holds what was said, as JSON with a checksum; FILE.state holds what was computed, as a snapshot (engine/snapshot_file.h).
// Either is replaced in one step. What FILE.state is good for is decided by its tokens, so a pair that a crash left apart costs time and nothing else.
#include <fmt/format.h>

#include "engine/step_runner.h"
#include "library/conversation_impl.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "program/package.h"

namespace sluice {

namespace fs = std::filesystem;
using engine::SnapshotInfo;
using engine::StateStore;
using nlohmann::ordered_json;

namespace {

constexpr uint64_t kFileBytesMax = 256ull << 20;
constexpr const char* kFormat = "sluice conversation 1";
constexpr uint64_t kHoldMs = 60'000;  // the state that is being saved may not be evicted meanwhile

std::string checksum_text(const std::string& text) { return fmt::format("{:016x}", program::checksum_of(std::as_bytes(std::span(text)))); }
std::string dump(const ordered_json& json) { return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace); }

Status write_text(const fs::path& path, const std::string& text) {
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

Error not_saved(const fs::path& path) { return Error{fmt::format("{}: not a saved conversation, or damaged", path.string())}; }

std::optional<std::string> text_in(const ordered_json& json, const char* key) {
  if (!json.is_object()) return std::nullopt;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

// The object that write_text() wrote, its checksum compared.
Result<ordered_json> read_checked(const fs::path& path) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(path, kFileBytesMax));
  ordered_json json = ordered_json::parse(text, nullptr, false);
  const std::optional<std::string> checksum = text_in(json, "checksum");
  if (!checksum) return not_saved(path);
  json.erase("checksum");
  if (text_in(json, "format") != kFormat || checksum_text(dump(json)) != *checksum) return not_saved(path);
  return json;
}

// Whoever can compute a checksum may have written anything below it.
Status take_messages(const ordered_json& list, const fs::path& path, const std::function<void(std::string role, std::string text)>& take) {
  if (!list.is_array()) return not_saved(path);
  for (const ordered_json& message : list) {
    std::optional<std::string> role = text_in(message, "role"), text = text_in(message, "content");
    if (!role || !text) return not_saved(path);
    take(std::move(*role), std::move(*text));
  }
  return {};
}

Result<std::vector<int32_t>> tokens_in(const ordered_json& json, size_t vocabulary, const fs::path& path) {
  const auto list = json.find("tokens");
  if (list == json.end() || !list->is_array()) return not_saved(path);
  std::vector<int32_t> out;
  for (const ordered_json& token : *list) {
    if (!token.is_number_unsigned() || token.get<uint64_t>() >= vocabulary) return not_saved(path);
    out.push_back(static_cast<int32_t>(token.get<uint64_t>()));
  }
  return out;
}

}  // namespace

engine::SnapshotBinding Model::Impl::binding() const {
  const engine::StepSizes sizes = engine::step_sizes(*loaded.runtime);
  return {loaded.fingerprint, program::kPackageVersion, sizes.page_bytes, sizes.state_bytes, static_cast<uint32_t>(loaded.runtime->options().kv_type)};
}

Status Model::Impl::save_state(std::span<const int32_t> tokens, const fs::path& path) {
  SnapshotInfo info;
  info.binding = binding();
  info.id = 1;
  info.to = tokens.size();
  info.kind = static_cast<uint32_t>(engine::Kind::kAnswerEnd);
  info.tokens.assign(tokens.begin(), tokens.end());
  engine::Lookup hold;
  std::vector<const std::byte*> pages;
  std::vector<std::byte> last_page;  // its sequence may still write behind these tokens
  std::vector<std::span<const std::byte>> state;
  bool found = false;
  engine->with_store([&](StateStore& store) {
    const uint32_t checkpoint = store.find(0, tokens);
    if (checkpoint == engine::kNoCheckpoint) return;
    found = true;
    store.hold(checkpoint, hold);
    for (uint64_t p = 0; p < info.page_count(); ++p) pages.push_back(store.page_data(hold.pages[p]));
    if (info.to % engine::kPageTokens != 0 && !pages.empty()) {
      last_page.assign(pages.back(), pages.back() + info.binding.page_bytes);
      pages.back() = last_page.data();
    }
    store.state_parts(checkpoint, info.binding.state_bytes, state);
  });
  if (!found) return Error{fmt::format("{}: there is no memory to keep the state of {} tokens (OpenOptions::kept)", path.string(), tokens.size())};
  const Result<uint64_t> written = engine::write_snapshot(path, info, pages, state);
  engine->with_store([&](StateStore& store) { store.release(hold); });
  if (!written.ok()) return written.error();
  return {};
}

Status Model::Impl::restore_state(const fs::path& path) {
  SLUICE_TRY(const SnapshotInfo info, engine::read_snapshot_info(path));
  if (!(info.binding == binding()) || info.from != 0) {
    return Error{fmt::format("{}: saved by another model, or with keys and values of another type", path.string())};
  }
  if (info.to >= loaded.context) return Error{fmt::format("{}: holds {} tokens, the context {}", path.string(), info.to, loaded.context)};
  std::vector<engine::BlockId> blocks;
  std::vector<std::byte*> pages;
  Status taken;
  engine->with_store([&](StateStore& store) {
    while (taken.ok() && blocks.size() < info.page_count()) {
      const Result<engine::BlockId> block = store.take_page();
      if (!block.ok()) {
        taken = block.error();
        continue;
      }
      blocks.push_back(*block);
      pages.push_back(store.page_data(*block));
    }
  });
  std::vector<std::byte> state(info.binding.state_bytes);
  const std::span<std::byte> parts[] = {state};
  const Status read = taken.ok() ? engine::read_snapshot(path, info, pages, parts) : taken;
  bool kept = false;
  engine->with_store([&](StateStore& store) {
    if (read.ok()) {
      kept = store.insert({.now_ms = platform::now_ns() / 1'000'000, .tokens = info.tokens, .kind = engine::Kind::kAnswerEnd, .state = state,
                           .pages = blocks, .always = true}) != engine::kNoCheckpoint;
    }
    for (const engine::BlockId block : blocks) store.release_page(block);
  });
  if (!read.ok()) return read;
  if (!kept) return Error{fmt::format("{}: there is no memory to keep the state of {} tokens (OpenOptions::kept)", path.string(), info.to)};
  return {};
}

ordered_json Conversation::Impl::to_json() const {
  ordered_json out = {{"format", kFormat}, {"model", fmt::format("{:016x}", model->loaded.fingerprint)}};
  if (kind == Kind::kMessages) {
    out["messages"] = ordered_json::array();
    for (const Message& message : messages) out["messages"].push_back({{"role", message.role}, {"content", message.text}});
  } else {
    out["tokens"] = tokens;
  }
  return out;
}

Status Conversation::Impl::save(const std::string& file) const {
  engine::Request request;  // most often all is known and this computes one token
  SLUICE_TRY(request.prompt, prompt(false));
  const std::vector<int32_t> all = request.prompt;
  std::error_code none;
  if (all.size() < 2) {
    fs::remove(file + ".state", none);
  } else {
    request.pin_ttl_ms = kHoldMs;
    SLUICE_TRY(const Answer nothing, run(std::move(request), {}));
    SLUICE_TRY_VOID(model->save_state(std::span(all).first(all.size() - 1), file + ".state"));
  }
  ordered_json json = to_json();
  const std::string checksum = checksum_text(dump(json));
  json["checksum"] = checksum;
  return write_text(file, dump(json));
}

Expected<Conversation> Model::restore(const std::string& file) const {
  const auto restored = [&]() -> Result<Conversation> {
    SLUICE_TRY(const ordered_json json, read_checked(file));
    if (text_in(json, "model") != fmt::format("{:016x}", impl_->loaded.fingerprint)) return Error{fmt::format("{}: saved by another model", file)};
    Conversation out = conversation();
    Conversation::Impl& impl = *out.impl_;
    if (const auto list = json.find("messages"); list != json.end()) {
      SLUICE_TRY_VOID(impl.becomes(Conversation::Impl::Kind::kMessages));
      SLUICE_TRY_VOID(take_messages(*list, file, [&](std::string role, std::string text) { impl.messages.push_back({std::move(role), std::move(text)}); }));
    } else {
      SLUICE_TRY_VOID(impl.becomes(Conversation::Impl::Kind::kText));
      SLUICE_TRY(impl.tokens, tokens_in(json, impl_->tokenizer().vocabulary_size(), file));
    }
    const fs::path state = file + ".state";
    std::error_code none;
    if (fs::exists(state, none)) SLUICE_TRY_VOID(impl_->restore_state(state));
    return out;
  };
  Result<Conversation> out = restored();
  if (!out.ok()) return failure(out.error());
  return std::move(*out);
}

}  // namespace sluice
