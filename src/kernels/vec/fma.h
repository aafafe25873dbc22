// A correctly rounded fused multiply-add without the instruction: a * b + c with one rounding, in SSE2 doubles. For scalar references, which are the
// baseline path too; a call to libm's fmaf costs three times as much where the CPU has no FMA. Checked against std::fma in vec_test.cc.
#pragma once

#include <bit>
#include <cstdint>

namespace sluice::kernels {

// a * b is exact in double (48 bits). The sum with c is rounded to odd (53 bits >= 24 + 2, so rounding it again to f32 is innocuous, subnormal
// results included): where the double sum was inexact and even, its odd neighbour on the side of the error is taken.
[[gnu::always_inline]] inline float fma_exact(float a, float b, float c) {
  const double p = static_cast<double>(a) * static_cast<double>(b);
  const double d = static_cast<double>(c);
  const double s = p + d;
  const double part = s - p;
  const double error = (p - (s - part)) + (d - part);  // exact (Knuth's two-sum); NaN where s is infinite or NaN: both comparisons are false then
  const uint64_t bits = std::bit_cast<uint64_t>(s);
  const uint64_t inexact = static_cast<uint64_t>((error > 0) | (error < 0));
  const uint64_t toward_zero = static_cast<uint64_t>((error > 0) != (s > 0));
  const uint64_t step = inexact & ~bits & 1;  // 1 if s must move to its odd neighbour
  return static_cast<float>(std::bit_cast<double>(bits + step - 2 * (step & toward_zero)));
}

}  // namespace sluice::kernels
