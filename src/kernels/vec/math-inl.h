// The math functions of kernels/vec/math.h on vectors: the same operations in the same order, so the same bits. T is F or V of vec_*-inl.h, which is
// included before this file.
#pragma once

#include "kernels/vec/coefficients.h"

namespace sluice::kernels {
namespace {

template <class T>
SLUICE_VEC T exp(T x) {
  const T rounded = fma(x, set<T>(kLog2E), set<T>(kRoundMagic));
  const T n = sub(rounded, set<T>(kRoundMagic));
  T r = fma(n, set<T>(-kLn2High), x);
  r = fma(n, set<T>(-kLn2Low), r);
  T p = fma(set<T>(kExpC4), r, set<T>(kExpC3));
  p = fma(p, r, set<T>(kExpC2));
  p = fma(p, r, set<T>(kExpC1));
  p = fma(p, r, set<T>(kExpC0));
  p = fma(p, r, set<T>(1.0f));
  p = fma(p, r, set<T>(1.0f));
  const T y = scale_or_zero(less_equal(set<T>(kExpLow), x), p, rounded);  // NaN is zero here and NaN below
  return select(less_equal(x, set<T>(kExpHigh)), y, add(x, set<T>(__builtin_inff())));
}

// kMayUnderflow: x may be below -126 or NaN.
template <bool kMayUnderflow, class T>
SLUICE_VEC T exp2_decay(T x) {
  const T rounded = add(x, set<T>(kRoundMagic));
  const T f = sub(x, sub(rounded, set<T>(kRoundMagic)));
  T p = fma(set<T>(kExp2C4), f, set<T>(kExp2C3));
  p = fma(p, f, set<T>(kExp2C2));
  p = fma(p, f, set<T>(kExp2C1));
  p = fma(p, f, set<T>(kExp2C0));
  p = fma(p, f, set<T>(1.0f));
  if constexpr (!kMayUnderflow) return scale(p, rounded);
  return scale_or_zero(less_equal(set<T>(kExp2Low), x), p, rounded);
}

template <class T>
SLUICE_VEC T softplus(T x) {
  const T e = exp(negate(abs(x)));
  const T s = div(e, add(set<T>(2.0f), e));
  const T z = mul(s, s);
  T q = fma(set<T>(kAtanhC3), z, set<T>(kAtanhC2));
  q = fma(q, z, set<T>(kAtanhC1));
  q = fma(q, z, set<T>(kAtanhC0));
  const T a = fma(mul(s, z), q, s);
  return add(max(x, set<T>(0.0f)), add(a, a));
}

template <class T>
SLUICE_VEC T silu(T x) {
  return div(x, add(set<T>(1.0f), exp(negate(x))));
}

template <class T>
SLUICE_VEC T tanh(T x) {
  const T z = mul(x, x);
  T q = fma(set<T>(kTanhC4), z, set<T>(kTanhC3));
  q = fma(q, z, set<T>(kTanhC2));
  q = fma(q, z, set<T>(kTanhC1));
  q = fma(q, z, set<T>(kTanhC0));
  const T small = fma(mul(x, z), q, x);
  const T a = abs(x);
  const T large = sub(set<T>(1.0f), div(set<T>(2.0f), add(exp(add(a, a)), set<T>(1.0f))));
  return select(less(a, set<T>(kTanhSmall)), small, with_sign_of(large, x));
}

template <class T>
SLUICE_VEC T gelu_tanh(T x) {
  const T w = fma(mul(x, x), set<T>(kGeluCubic), set<T>(1.0f));
  const T y = mul(mul(x, set<T>(kGeluScale)), w);
  return div(x, add(set<T>(1.0f), exp(negate(y))));
}

template <class T>
SLUICE_VEC T relu2(T x) {
  const T positive = max(set<T>(0.0f), x);  // NaN stays
  return mul(positive, positive);
}

}  // namespace
}  // namespace sluice::kernels
