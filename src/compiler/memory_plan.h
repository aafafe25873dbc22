// The bytes of a run by purpose, before it starts: weights, KV, states, activations, and what the process itself needs. Pure arithmetic over a program.
#pragma once

#include <cstdint>

#include "compiler/passes.h"

namespace sluice::compiler {

struct MemoryPlanOptions {
  uint64_t context = 4096;  // tokens a user
  uint64_t users = 1;
  uint64_t rows_max = 512;
  uint64_t logit_rows_max = 1;
  kernels::KvType kv_type = kernels::KvType::kF16;
  uint32_t threads = 1;
};

struct MemoryPlan {
  uint64_t weights = 0;
  uint64_t kv = 0;
  uint64_t state = 0;
  uint64_t activations = 0;  // arena and scratch
  uint64_t total() const { return weights + kv + state + activations; }
};

// `program` after select and place_weights; a copy is planned.
MemoryPlan memory_plan(const program::Program& program, const MemoryPlanOptions& options);

// The longest context (a multiple of a page, at most `context_max`) with which the plan stays within `cap`; 0: none.
uint64_t longest_context(const program::Program& program, MemoryPlanOptions options, uint64_t cap, uint64_t context_max);

// Sets every matrix of a program without checkpoint to `type` (F16 where its rows do not divide into blocks), the rest stays F32: what a file converted
// to that type would hold.
void assume_weights(program::Program& program, DType type);

}  // namespace sluice::compiler
