// GET /status: memory against its plan by purpose, conversations that run and wait, what memory allows; what the playground shows beside the talk.
// Contract: sums over everybody, nothing of any one conversation. Next: openai_routes.h for /health and /ready, admin_routes.h for the operator's numbers.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/engine.h"
#include "server/router.h"

namespace sluice::server {

// Bytes, as they were taken at the start.
struct MemoryShares {
  uint64_t weights = 0, conversations = 0, kept = 0, activations = 0;
  uint64_t total() const { return weights + conversations + kept + activations; }
};

// What a step that writes a token for each of some conversations has to read, and how fast memory can be read: no engine is faster than that without
// foretelling tokens.
struct DecodeLimits {
  double read_bytes_per_s = 0;         // 0: not known
  double step_bytes = 0;               // the weights, once for all
  double conversation_bytes = 0;       // a state
  double position_bytes = 0;           // keys and values of a token before, on average over the context
};

Route status_route(const MemoryShares& plan, uint32_t users, const DecodeLimits& limits, std::function<engine::EngineStatistics()> engine);

}  // namespace sluice::server
