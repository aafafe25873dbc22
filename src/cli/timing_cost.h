// What an op of a step has to do at least: operations, and bytes that must come from memory. Beside measured limits that is the shortest time it can take.
#pragma once

#include <cstdint>

#include "cli/timing_limits.h"
#include "kernels/attention/attention.h"
#include "program/program.h"

namespace sluice::cli {

// `rows` rows of `sequences` sequences of one length, each with `depth` tokens before; one row of each wants logits.
struct StepShape {
  uint64_t rows = 1;
  uint64_t sequences = 1;
  uint64_t depth = 0;
  kernels::KvType kv_type = kernels::KvType::kF16;
  bool logits = true;
};

struct Cost {
  double int8_operations = 0;   // of matrices in block types
  double float_operations = 0;  // of attention, the scan, float matrices
  double bytes = 0;             // weights, KV and states; activations are taken to stay in caches
  Cost& operator+=(const Cost& other);
  // The larger of computing and reading.
  double seconds(const Limits& limits, bool by_cpu) const;
};

Cost cost_of(const program::Program& program, const program::Op& op, const StepShape& shape);
Cost cost_of(const program::Program& program, const StepShape& shape);
// The sum over ops of their shortest times: no step can be faster while ops run one after the other.
double shortest_seconds(const program::Program& program, const StepShape& shape, const Limits& limits, bool by_cpu);

}  // namespace sluice::cli
