// The rules by which a checkpoint is chosen to go. learned_evictor() is what the engine runs; the others stand for published systems and are here so
// that `sluice state replay` compares rules over one and the same store.
// Next: checkpoint.h (the contract), reuse_rates.h (what is learned).
#pragma once

#include <memory>

#include "engine/checkpoint.h"

namespace sluice::engine {

// The least (learned uses per request x cost of computing again from the checkpoint before it / bytes that it frees) goes; a newcomer that is worth less
// than all held is refused.
std::unique_ptr<Evictor> learned_evictor();

enum class LruRule : uint8_t {
  kDeepestFirst,  // a hit refreshes its whole path; among equals the deepest goes
  kLeavesOnly,    // the same, but only checkpoints that nothing continues may go
};
std::unique_ptr<Evictor> lru_evictor(LruRule rule);

// Marconi (Pan et al., MLSys 2025), from the paper: recency + alpha x FLOPs saved per byte, both scaled to 0..1 over the candidates, which are the
// checkpoints with at most one continuation; only the checkpoint that was hit is refreshed.
std::unique_ptr<Evictor> marconi_evictor(double alpha);

}  // namespace sluice::engine
