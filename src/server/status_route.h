// GET /status: memory against its plan by purpose, conversations that run and wait; what the playground's bars show.
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

Route status_route(const MemoryShares& plan, uint32_t users, std::function<engine::EngineStatistics()> engine);

}  // namespace sluice::server
