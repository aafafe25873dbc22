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

// A quantised row of k elements (k a multiple of 32) is k / 32 groups, 64-byte aligned: one cache line holds all that a kernel needs of 32 elements.
struct alignas(64) QuantizedGroup {
  int8_t q[32];
  float d[2];    // scales of the two blocks of 16
  int32_t n[2];  // -128 * S, S the sum of a block's q: with it kernels take offsets off unsigned weights
  float t[2];    // d * float(n): what minimums of 16 weights are multiplied with (Q2_K)
  float s;       // fma(d[1], float(S1), d[0] * float(S0)): what minimums of 32 weights are multiplied with
  float zero;
};
static_assert(sizeof(QuantizedGroup) == 64);

// Bytes from row to row: an odd number of cache lines, so that the same group of neighbouring rows lies in different sets of the cache.
[[gnu::always_inline]] inline constexpr size_t quantized_row_bytes(uint64_t k) { return (k / 32 | 1) * sizeof(QuantizedGroup); }

struct QuantizeArgs {
  const float* x;   // [rows, k], stride x_stride floats
  size_t x_stride;
  uint8_t* out;     // [rows] rows of quantized_row_bytes(k), stride out_stride bytes
  size_t out_stride;
  uint64_t k;
  size_t row_begin, row_end;
};
using QuantizeFn = void (*)(const QuantizeArgs&);
QuantizeFn quantize_for(Isa isa);

}  // namespace sluice::kernels
