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
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* x = args.x + row * args.x_stride;
    auto* groups = reinterpret_cast<QuantizedGroup*>(args.out + row * args.out_stride);
    for (uint64_t i = 0; i < args.k / 32; ++i) {
      QuantizedGroup& group = groups[i];
      int32_t sums[2];
      for (uint64_t half = 0; half < 2; ++half) {
        group.d[half] = quantize_block(x + 32 * i + 16 * half, group.q + 16 * half, &sums[half]);
        group.n[half] = -128 * sums[half];
        group.t[half] = group.d[half] * static_cast<float>(group.n[half]);
      }
      group.s = fma_exact(group.d[1], static_cast<float>(sums[1]), group.d[0] * static_cast<float>(sums[0]));
      group.zero = 0;
    }
  }
}

}  // namespace sluice::kernels
