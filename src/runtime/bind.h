// Binding: op records to bound ops. Everything that can be wrong with a package's sizes is found here, at load.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "base/result.h"
#include "runtime/bound_ops.h"

namespace sluice::runtime {

Result<std::vector<BoundOp>> bind_ops(const program::Program& program, const program::PlanSizes& sizes, std::byte* arena,
                                      std::span<const std::byte> weights, const Options& options);

// Scratch of one thread, in bytes of each part (multiples of 64).
struct ScratchSizes {
  size_t float_count = 0;
  size_t rows_max = 0;
  size_t slots_max = 0;
  size_t experts = 0;
  size_t total_bytes() const;
};
ScratchSizes scratch_sizes(const program::Program& program, const program::PlanSizes& sizes, const Options& options);
Scratch cut_scratch(const ScratchSizes& sizes, std::span<std::byte> memory);

}  // namespace sluice::runtime
