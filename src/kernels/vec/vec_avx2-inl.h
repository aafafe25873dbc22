// The vector vocabulary of the kernels for AVX2: F is one register, V is 16 lanes in two of them. Every operation rounds once, as its scalar form in
// kernels/vec/math.h does; max and min are x86's (the second operand if either is NaN). Included by *_avx2.cc files only, once, before *-inl.h files.
// Everything is in an anonymous namespace, so that no wide instruction can win at link time. The same vocabulary for AVX-512: vec_avx512-inl.h.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#if defined(__clang__)
#define SLUICE_UNROLL _Pragma("unroll")
#define SLUICE_UNROLL_4 _Pragma("unroll 4")
#else
#define SLUICE_UNROLL _Pragma("GCC unroll 16")
#define SLUICE_UNROLL_4 _Pragma("GCC unroll 4")
#endif
#define SLUICE_VEC [[maybe_unused, gnu::always_inline]] inline

namespace sluice::kernels {
namespace {

inline constexpr size_t kLanes = 8;   // of F
inline constexpr bool kAvx512 = false;

struct F {
  __m256 v;
};
struct M {  // a lane mask, all bits of a lane set or clear
  __m256 v;
};
struct V {
  F low, high;
};
struct MV {
  M low, high;
};

template <class T>
T load(const float* p);
template <>
SLUICE_VEC F load<F>(const float* p) { return {_mm256_loadu_ps(p)}; }
template <>
SLUICE_VEC V load<V>(const float* p) { return {load<F>(p), load<F>(p + 8)}; }

template <class T>
T set(float x);
template <>
SLUICE_VEC F set<F>(float x) { return {_mm256_set1_ps(x)}; }
template <>
SLUICE_VEC V set<V>(float x) { return {set<F>(x), set<F>(x)}; }

SLUICE_VEC void store(float* p, F x) { _mm256_storeu_ps(p, x.v); }
SLUICE_VEC F add(F a, F b) { return {_mm256_add_ps(a.v, b.v)}; }
SLUICE_VEC F sub(F a, F b) { return {_mm256_sub_ps(a.v, b.v)}; }
SLUICE_VEC F mul(F a, F b) { return {_mm256_mul_ps(a.v, b.v)}; }
SLUICE_VEC F div(F a, F b) { return {_mm256_div_ps(a.v, b.v)}; }
SLUICE_VEC F fma(F a, F b, F c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
SLUICE_VEC F max(F a, F b) { return {_mm256_max_ps(a.v, b.v)}; }
SLUICE_VEC F min(F a, F b) { return {_mm256_min_ps(a.v, b.v)}; }
SLUICE_VEC F abs(F a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
SLUICE_VEC F negate(F a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
// |magnitude| that has its sign bit clear, with the sign of `sign`.
SLUICE_VEC F with_sign_of(F magnitude, F sign) { return {_mm256_or_ps(magnitude.v, _mm256_and_ps(sign.v, _mm256_set1_ps(-0.0f)))}; }
// Comparisons are false for NaN.
SLUICE_VEC M less(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
SLUICE_VEC M less_equal(F a, F b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
SLUICE_VEC F select(M m, F yes, F no) { return {_mm256_blendv_ps(no.v, yes.v, m.v)}; }
// p * 2^n (scale_by_power in math.h).
SLUICE_VEC F scale(F p, F rounded) {
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p.v), _mm256_slli_epi32(_mm256_castps_si256(rounded.v), 23)))};
}
// The same where the mask is set, zero elsewhere.
SLUICE_VEC F scale_or_zero(M m, F p, F rounded) { return {_mm256_and_ps(m.v, scale(p, rounded).v)}; }

SLUICE_VEC void store(float* p, V x) {
  store(p, x.low);
  store(p + 8, x.high);
}
SLUICE_VEC V add(V a, V b) { return {add(a.low, b.low), add(a.high, b.high)}; }
SLUICE_VEC V sub(V a, V b) { return {sub(a.low, b.low), sub(a.high, b.high)}; }
SLUICE_VEC V mul(V a, V b) { return {mul(a.low, b.low), mul(a.high, b.high)}; }
SLUICE_VEC V div(V a, V b) { return {div(a.low, b.low), div(a.high, b.high)}; }
SLUICE_VEC V fma(V a, V b, V c) { return {fma(a.low, b.low, c.low), fma(a.high, b.high, c.high)}; }
SLUICE_VEC V max(V a, V b) { return {max(a.low, b.low), max(a.high, b.high)}; }
SLUICE_VEC V min(V a, V b) { return {min(a.low, b.low), min(a.high, b.high)}; }
SLUICE_VEC V abs(V a) { return {abs(a.low), abs(a.high)}; }
SLUICE_VEC V negate(V a) { return {negate(a.low), negate(a.high)}; }
SLUICE_VEC V with_sign_of(V magnitude, V sign) { return {with_sign_of(magnitude.low, sign.low), with_sign_of(magnitude.high, sign.high)}; }
SLUICE_VEC MV less(V a, V b) { return {less(a.low, b.low), less(a.high, b.high)}; }
SLUICE_VEC MV less_equal(V a, V b) { return {less_equal(a.low, b.low), less_equal(a.high, b.high)}; }
SLUICE_VEC V select(MV m, V yes, V no) { return {select(m.low, yes.low, no.low), select(m.high, yes.high, no.high)}; }
SLUICE_VEC bool all(MV m) { return _mm256_movemask_ps(_mm256_and_ps(m.low.v, m.high.v)) == 0xFF; }
SLUICE_VEC V scale(V p, V rounded) { return {scale(p.low, rounded.low), scale(p.high, rounded.high)}; }
SLUICE_VEC V scale_or_zero(MV m, V p, V rounded) { return {scale_or_zero(m.low, p.low, rounded.low), scale_or_zero(m.high, p.high, rounded.high)}; }

// Lanes first .. first + 7 whose number is below n.
SLUICE_VEC __m256i lanes_below(size_t n, int first) {
  const __m256i lane = _mm256_add_epi32(_mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0), _mm256_set1_epi32(first));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
}
// The first n lanes (n <= 16); the others read as zero and are not written. Masked stores are microcode on some CPUs, so whole vectors go the plain way.
SLUICE_VEC V load_first(const float* p, size_t n) {
  if (n == 16) return load<V>(p);
  return {{_mm256_maskload_ps(p, lanes_below(n, 0))}, {_mm256_maskload_ps(p + 8, lanes_below(n, 8))}};
}
SLUICE_VEC void store_first(float* p, V x, size_t n) {
  if (n == 16) return store(p, x);
  _mm256_maskstore_ps(p, lanes_below(n, 0), x.low.v);
  _mm256_maskstore_ps(p + 8, lanes_below(n, 8), x.high.v);
}
// Lanes [begin, end) of x, `other` elsewhere.
SLUICE_VEC V keep_lanes(V x, size_t begin, size_t end, V other) {
  const __m256i low = _mm256_andnot_si256(lanes_below(begin, 0), lanes_below(end, 0));
  const __m256i high = _mm256_andnot_si256(lanes_below(begin, 8), lanes_below(end, 8));
  return {select(M{_mm256_castsi256_ps(low)}, x.low, other.low), select(M{_mm256_castsi256_ps(high)}, x.high, other.high)};
}

SLUICE_VEC V widen_f16(const uint8_t* p) {
  const __m128i* half = reinterpret_cast<const __m128i*>(p);
  return {{_mm256_cvtph_ps(_mm_loadu_si128(half))}, {_mm256_cvtph_ps(_mm_loadu_si128(half + 1))}};
}
SLUICE_VEC V from_i8(__m128i x) {
  return {{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x))}, {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(x, x)))}};
}

// Pairs of lanes: (0, 1) becomes (1, 0); eight floats become (p0, p0, p1, p1, ...); lane 2i + 1 or 2i alone keeps its sign, the other is negated.
SLUICE_VEC V swap_pairs(V x) { return {{_mm256_permute_ps(x.low.v, 0xB1)}, {_mm256_permute_ps(x.high.v, 0xB1)}}; }
SLUICE_VEC V duplicate(const float* p, size_t n) {
  const __m256 x = _mm256_maskload_ps(p, lanes_below(n, 0));
  return {{_mm256_permutevar8x32_ps(x, _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0))}, {_mm256_permutevar8x32_ps(x, _mm256_set_epi32(7, 7, 6, 6, 5, 5, 4, 4))}};
}
SLUICE_VEC F negate_even(F x) { return {_mm256_xor_ps(x.v, _mm256_castsi256_ps(_mm256_set1_epi64x(0x80000000)))}; }
SLUICE_VEC V negate_even(V x) { return {negate_even(x.low), negate_even(x.high)}; }

// Halves onto halves: the trees of tree_sum and tree_max in math.h.
SLUICE_VEC float sum_tree(V x) {
  const __m256 a = _mm256_add_ps(x.low.v, x.high.v);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
SLUICE_VEC float max_tree(V x) {
  const __m256 a = _mm256_max_ps(x.low.v, x.high.v);
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

SLUICE_VEC void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
SLUICE_VEC void prefetch_l2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace sluice::kernels
