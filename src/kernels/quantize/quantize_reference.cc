// The rule of quantize.h in scalar code: the definition of the bits, and the baseline path.
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/quantize/quantize_isa.h"
#include "kernels/vec/fma.h"

namespace sluice::kernels {
namespace {

// x to the nearest integer, ties to even, for |x| < 2^22; NaN to 0. Adding 1.5 * 2^23 puts the integer into the low mantissa bits.
int32_t nearest_even(float x) {
  if (x != x) return 0;
  return static_cast<int32_t>(std::bit_cast<uint32_t>(x + 0x1.8p23f)) - 0x4B400000;
}

// One block of 16: writes q and the sum of q, returns d.
float quantize_block(const float* x, int8_t* q, int32_t* sum) {
  float amax = 0;
  for (uint64_t i = 0; i < kQ8Block; ++i) {
    const float magnitude = std::fabs(x[i]);
    amax = magnitude > amax ? magnitude : amax;
  }
  *sum = 0;
  if (amax < kQ8SmallestAmax) {
    std::memset(q, 0, kQ8Block);
    return 0;
  }
  const float inverse = 127.0f / amax;
  for (uint64_t i = 0; i < kQ8Block; ++i) {
    q[i] = static_cast<int8_t>(nearest_even(x[i] * inverse));
    *sum += q[i];
  }
  return amax / 127.0f;
}

}  // namespace

void quantize_reference(const QuantizeArgs& args) {
  const QuantizedRowLayout layout = quantized_row_layout(args.k);
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* x = args.x + row * args.x_stride;
    uint8_t* out = args.out + row * args.out_stride;
    auto* q = reinterpret_cast<int8_t*>(out + layout.q_offset);
    auto* d = reinterpret_cast<float*>(out + layout.d_offset);
    auto* s = reinterpret_cast<float*>(out + layout.s_offset);
    auto* n = reinterpret_cast<int32_t*>(out + layout.n_offset);
    for (uint64_t group = 0; group < args.k / 32; ++group) {
      int32_t sums[2];
      for (uint64_t half = 0; half < 2; ++half) {
        const uint64_t block = 2 * group + half;
        d[block] = quantize_block(x + 16 * block, q + 16 * block, &sums[half]);
        n[block] = -128 * sums[half];
      }
      s[group] = fma_exact(d[2 * group + 1], static_cast<float>(sums[1]), d[2 * group] * static_cast<float>(sums[0]));
    }
  }
}

}  // namespace sluice::kernels
