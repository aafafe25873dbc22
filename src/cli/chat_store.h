// What an interactive chat has computed, kept so that an edited, branched or regenerated conversation goes on from the nearest state instead of from nothing.
// A state store (engine/state_store.h) around one session. Next: verb_run.cc.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/placement.h"
#include "engine/session.h"
#include "engine/state_store.h"

namespace sluice::cli {

class ChatStore {
 public:
  // `bytes` for what is kept; an error when that cannot hold one state.
  static Result<std::unique_ptr<ChatStore>> create(const runtime::Runtime& runtime, uint64_t context, uint64_t bytes);

  // Puts the session at the longest prefix of `ids` that it, or a kept state, has read; at least one token is left to read.
  void resume(engine::Session& session, std::span<const int32_t> ids);
  // Reads the rest of `ids`, keeping states on the way. Stops early, without an error, when keep_going says so.
  Status read(engine::Session& session, std::span<const int32_t> ids, const std::function<bool(uint64_t done)>& keep_going);
  // Keeps the session's state as it is.
  void keep(const engine::Session& session, engine::Kind kind);

 private:
  explicit ChatStore(std::unique_ptr<engine::StateStore> store) : store_(std::move(store)) {}

  std::unique_ptr<engine::StateStore> store_;
  uint64_t matched_ = 0, clock_ = 0;
  engine::Lookup lookup_;
  std::vector<engine::Mark> marks_, grid_;
};

}  // namespace sluice::cli
