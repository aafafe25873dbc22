// Activations to 8 bits per block, once per row, shared by every matmul that reads the row.
// Rule, for block size B in {32, 256}: amax = max |x| of the block (NaN ignored); d = amax / 127; q = clamp(nearest_even(x * (127 / amax)), -127, 127),
// all f32; amax = 0 gives d = 0 and q = 0. Sums of q over 16 elements are kept beside (exact, i16).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

enum class ActivationFormat : uint8_t { kF32, kQ8Block32, kQ8Block256 };

// Layout of one quantised row of k elements (k a multiple of 32; padded to a multiple of B with zeros), each part 64-byte aligned:
//   int8_t q[k_padded] | float d[k_padded / B] | int16_t sums[k_padded / 16]
struct QuantizedRowLayout {
  size_t q_offset;
  size_t d_offset;
  size_t sums_offset;
  size_t bytes;  // multiple of 64
};
QuantizedRowLayout quantized_row_layout(ActivationFormat format, uint64_t k);

struct QuantizeArgs {
  const float* x;   // [rows, k], stride x_stride floats
  size_t x_stride;
  uint8_t* out;     // [rows] rows of quantized_row_layout(format, k), stride out_stride bytes
  size_t out_stride;
  uint64_t k;
  size_t row_begin, row_end;
};
using QuantizeFn = void (*)(const QuantizeArgs&);
// format: kQ8Block32 or kQ8Block256.
QuantizeFn quantize_for(ActivationFormat format, Isa isa);

}  // namespace sluice::kernels
