// Traffic for `sluice state replay`: published traces as block ids (zstd-compressed JSON lines) turned into requests over deterministic tokens.
// A file is read as a stream with limits; a wrong line is an error that names it. Next: replay_texts.h, engine/replay.h.
#pragma once

#include <filesystem>

#include "engine/replay.h"

namespace sluice::cli {

struct TraceOptions {
  uint64_t conversations = 200;    // agent conversations at most
  uint64_t tokens_min = 0;         // those whose longest prompt lies in [tokens_min, tokens_below)
  uint64_t tokens_below = 131'072;
  uint64_t lanes = 8;              // conversations at one time
  uint64_t seed = 7;               // their order
  bool outputs_lost = false;       // answers never come back in a later prompt
};

// By the first line: conversations of block ids, block ids of everybody, trees of messages (oasst), agents' conversations (tau-bench).
enum class TraceKind : uint8_t { kConversations, kGlobalBlocks, kTrees, kAgents };
Result<TraceKind> kind_of_trace(const std::filesystem::path& path);

// A trace of block ids; those with texts are read by replay_texts.h.
Result<engine::Trace> read_trace(const std::filesystem::path& path, const TraceOptions& options);

}  // namespace sluice::cli
