// The math functions of the kernels, scalar: this file is their definition, to the bit. The vector forms (kernels/vec/math-inl.h) do the same operations.
// f32 in and out; NaN gives NaN (payload not promised); errors in ulp of the true value are stated per function and tested in vec_test.cc.
// Included by reference kernels and tests only.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/vec/coefficients.h"
#include "kernels/vec/fma.h"

namespace sluice::kernels {

// x86's max and min: the second operand if either is NaN or both are zeros.
static inline float max32(float a, float b) { return a > b ? a : b; }
static inline float min32(float a, float b) { return a < b ? a : b; }

static inline float abs32(float x) { return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0x7FFFFFFFu); }

// p * 2^n, where the low bits of `rounded` (kRoundMagic + n) hold n and the product is normal.
static inline float scale_by_power(float p, float rounded) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(rounded) << 23));
}

// e^x, <= 1 ulp; 0 where the result would be subnormal (and for -inf), +inf above the largest finite result.
static inline float exp32(float x) {
  const float rounded = fma_exact(x, kLog2E, kRoundMagic);
  const float n = rounded - kRoundMagic;
  float r = fma_exact(n, -kLn2High, x);
  r = fma_exact(n, -kLn2Low, r);
  float p = fma_exact(kExpC4, r, kExpC3);
  p = fma_exact(p, r, kExpC2);
  p = fma_exact(p, r, kExpC1);
  p = fma_exact(p, r, kExpC0);
  p = fma_exact(p, r, 1.0f);
  p = fma_exact(p, r, 1.0f);
  float y = scale_by_power(p, rounded);
  y = x < kExpLow ? 0.0f : y;
  return x <= kExpHigh ? y : x + std::numeric_limits<float>::infinity();
}

// 2^x for x <= 127, <= 2 ulp; 0 below -126 and for NaN. For decays: the caller's other operands carry a NaN on.
static inline float exp2_decay32(float x) {
  const float rounded = x + kRoundMagic;
  const float f = x - (rounded - kRoundMagic);
  float p = fma_exact(kExp2C4, f, kExp2C3);
  p = fma_exact(p, f, kExp2C2);
  p = fma_exact(p, f, kExp2C1);
  p = fma_exact(p, f, kExp2C0);
  p = fma_exact(p, f, 1.0f);
  const float y = scale_by_power(p, rounded);
  return x >= kExp2Low ? y : 0.0f;
}

// log(1 + e^x), <= 3 ulp, as max(x, 0) + 2 atanh(e / (2 + e)), e = e^-|x|. In f32 this is x above 17, so PyTorch's threshold of 20 changes nothing.
static inline float softplus32(float x) {
  const float e = exp32(-abs32(x));
  const float s = e / (2.0f + e);
  const float z = s * s;
  float q = fma_exact(kAtanhC3, z, kAtanhC2);
  q = fma_exact(q, z, kAtanhC1);
  q = fma_exact(q, z, kAtanhC0);
  const float a = fma_exact(s * z, q, s);
  return max32(x, 0.0f) + (a + a);
}

// 1 / (1 + e^-x), <= 2.5 ulp where it is normal.
static inline float sigmoid32(float x) { return 1.0f / (1.0f + exp32(-x)); }

// x / (1 + e^-x), <= 3 ulp where it is normal; NaN for -inf, as x * sigmoid(x).
static inline float silu32(float x) { return x / (1.0f + exp32(-x)); }

// <= 2 ulp.
static inline float tanh32(float x) {
  const float z = x * x;
  float q = fma_exact(kTanhC4, z, kTanhC3);
  q = fma_exact(q, z, kTanhC2);
  q = fma_exact(q, z, kTanhC1);
  q = fma_exact(q, z, kTanhC0);
  const float small = fma_exact(x * z, q, x);
  const float a = abs32(x);
  const float large = 1.0f - 2.0f / (exp32(a + a) + 1.0f);
  const float signed_large = std::bit_cast<float>(std::bit_cast<uint32_t>(large) | (std::bit_cast<uint32_t>(x) & 0x80000000u));
  return a < kTanhSmall ? small : signed_large;
}

// PyTorch's gelu(approximate="tanh"): absolute error <= 1e-6 * max(1, |x|), relative error growing with |x| in the negative tail.
static inline float gelu_tanh32(float x) {
  const float w = fma_exact(x * x, kGeluCubic, 1.0f);
  const float y = (x * kGeluScale) * w;
  return x / (1.0f + exp32(-y));
}

// The one order in which 16 interleaved partial sums become a sum: halves onto halves.
static inline float tree_sum(const float (&partial)[16]) {
  float s[16];
  for (int i = 0; i < 16; ++i) s[i] = partial[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) s[i] = s[i] + s[i + half];
  }
  return s[0];
}

// The same tree with max32.
static inline float tree_max(const float (&partial)[16]) {
  float s[16];
  for (int i = 0; i < 16; ++i) s[i] = partial[i];
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) s[i] = max32(s[i], s[i + half]);
  }
  return s[0];
}

}  // namespace sluice::kernels
