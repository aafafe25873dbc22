// The verifier: runs after every pass and on every load. A program that passes can be walked without further checks: operands have the right kinds and
// shapes, activations are written once and before they are read, buffers that are taken over are not read again.
#pragma once

#include "base/result.h"
#include "program/program.h"

namespace sluice::program {

// The structure, with or without offsets.
Status verify(const Program& program);

// Rows of an activation for `rows_max` rows and `logit_rows_max` rows that want logits.
uint64_t row_count(const Value& value, uint64_t rows_max, uint64_t logit_rows_max);

// The plan: every activation lies inside the arena and no two values that live at the same time overlap, except where one takes over the other's
// buffer; weights lie inside the package's data; states inside a sequence's state.
struct PlanSizes {
  uint64_t rows_max;
  uint64_t logit_rows_max;
  uint64_t arena_bytes;
  uint64_t state_bytes;
  uint64_t weight_bytes;
  uint64_t page_bytes;
};
Status verify_plan(const Program& program, const PlanSizes& sizes);

// First and last op that touches each activation; {1, 0} for values that are not activations or are never touched.
struct Lifetime {
  size_t first;
  size_t last;
};
std::vector<Lifetime> lifetimes(const Program& program);

}  // namespace sluice::program
