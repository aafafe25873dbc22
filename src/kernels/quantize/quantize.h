// Activations to 8 bits, once per row, shared by every matmul with block-quantised weights that reads the row. One format for all of them:
// blocks of 16 with an f32 scale. (Blocks of 32 as in llama.cpp give SmolLM2 Q4_1 a mean KL of 0.0031 and 95.9 % same top-1; blocks of 16 give 0.0017
// and 97.2 % for 2 operations more per 32 x 16 products.)
// Rule, all f32: amax = max |x| of the block (NaN ignored); amax < 2^-100 gives d = 0 and q = 0; else d = amax / 127,
// q = nearest_even(x * (127 / amax)), which lies in -127..127; q of a NaN is 0 (also inf * 0, when amax is infinite: d = inf then makes results NaN).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

enum class ActivationFormat : uint8_t { kF32, kQ8 };

inline constexpr uint64_t kQ8Block = 16;
inline constexpr float kQ8SmallestAmax = 0x1p-100f;

// Layout of one quantised row of k elements (k a multiple of 32), each part 64-byte aligned:
//   int8_t q[k] | float d[k / 16] | float s[k / 32] | int32_t n[k / 16]
// S = sum of the q of a block. n = -128 * S. s = fma(d1, S1, d0 * S0) over the two blocks of a group of 32: what a weight's minimum is multiplied with.
struct QuantizedRowLayout {
  size_t q_offset;
  size_t d_offset;
  size_t s_offset;
  size_t n_offset;
  size_t bytes;  // multiple of 64
};

// Always inlined: kernels compiled for wide instruction sets must not emit a copy that others could link to.
[[gnu::always_inline]] inline constexpr QuantizedRowLayout quantized_row_layout(uint64_t k) {
  QuantizedRowLayout layout{};
  layout.d_offset = (k + 63) / 64 * 64;
  layout.s_offset = layout.d_offset + (k / 4 + 63) / 64 * 64;
  layout.n_offset = layout.s_offset + (k / 8 + 63) / 64 * 64;
  layout.bytes = layout.n_offset + (k / 4 + 63) / 64 * 64;
  return layout;
}

struct QuantizeArgs {
  const float* x;   // [rows, k], stride x_stride floats
  size_t x_stride;
  uint8_t* out;     // [rows] rows of quantized_row_layout(k), stride out_stride bytes
  size_t out_stride;
  uint64_t k;
  size_t row_begin, row_end;
};
using QuantizeFn = void (*)(const QuantizeArgs&);
QuantizeFn quantize_for(Isa isa);

}  // namespace sluice::kernels
