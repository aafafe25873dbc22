// Checkpoint blocks to f32, one right answer per block (GGUF block layouts; f16 scales). Used to unpack, to test and on cold paths; the hot
// kernels read packed weights (kernels/matmul). Scalar on every instruction set.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace sluice::kernels {

// One row of `elements` values (a multiple of the block of `type`) from `blocks` (unaligned) to `out`. kF32, kF16, kBF16 and the block types;
// integer types and F64 are not weight types. q*d products as the formats define them, one rounding each.
void dequantize_row(DType type, const uint8_t* blocks, uint64_t elements, float* out);

// True for the types that dequantize_row and matmul take.
bool is_weight_type(DType type);

}  // namespace sluice::kernels
