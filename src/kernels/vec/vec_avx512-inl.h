// The vector vocabulary of the kernels for AVX-512: F is one register, V is 16 lanes (here the same). Every operation rounds once, as its scalar form in
// kernels/vec/math.h does; max and min are x86's (the second operand if either is NaN). Included by *_avx512.cc files only, once, before *-inl.h files.
// Everything is in an anonymous namespace, so that no wide instruction can win at link time. The same vocabulary for AVX2: vec_avx2-inl.h.
#pragma once

// gcc 12 reports its own _mm512_undefined values when sanitizers keep it from seeing through them.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

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

inline constexpr size_t kLanes = 16;   // of F
inline constexpr bool kAvx512 = true;

struct F {
  __m512 v;
};
struct M {  // a lane mask
  __mmask16 v;
};
using V = F;

template <class T>
T load(const float* p);
template <>
SLUICE_VEC F load<F>(const float* p) { return {_mm512_loadu_ps(p)}; }

template <class T>
T set(float x);
template <>
SLUICE_VEC F set<F>(float x) { return {_mm512_set1_ps(x)}; }

SLUICE_VEC void store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
SLUICE_VEC F add(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
SLUICE_VEC F sub(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
SLUICE_VEC F mul(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
SLUICE_VEC F div(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
SLUICE_VEC F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
SLUICE_VEC F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
SLUICE_VEC F min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
SLUICE_VEC F abs(F a) { return {_mm512_abs_ps(a.v)}; }
SLUICE_VEC F negate(F a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
// |magnitude| that has its sign bit clear, with the sign of `sign`.
SLUICE_VEC F with_sign_of(F magnitude, F sign) { return {_mm512_or_ps(magnitude.v, _mm512_and_ps(sign.v, _mm512_set1_ps(-0.0f)))}; }
// Comparisons are false for NaN.
SLUICE_VEC M less(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
SLUICE_VEC M less_equal(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
SLUICE_VEC F select(M m, F yes, F no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
SLUICE_VEC bool all(M m) { return m.v == 0xFFFF; }
// p * 2^n (scale_by_power in math.h).
SLUICE_VEC F scale(F p, F rounded) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(rounded.v), 23)))};
}
// The same where the mask is set, zero elsewhere.
SLUICE_VEC F scale_or_zero(M m, F p, F rounded) {
  return {_mm512_castsi512_ps(_mm512_maskz_add_epi32(m.v, _mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(rounded.v), 23)))};
}

// The first n lanes (n <= 16); the others read as zero and are not written.
SLUICE_VEC __mmask16 first_lanes(size_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
SLUICE_VEC V load_first(const float* p, size_t n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
SLUICE_VEC void store_first(float* p, V x, size_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), x.v); }
// Lanes [begin, end) of x, `other` elsewhere.
SLUICE_VEC V keep_lanes(V x, size_t begin, size_t end, V other) {
  return select({static_cast<__mmask16>(first_lanes(end) & ~first_lanes(begin))}, x, other);
}

SLUICE_VEC V widen_f16(const uint8_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))}; }
SLUICE_VEC V from_i8(__m128i x) { return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x))}; }

// Pairs of lanes: (0, 1) becomes (1, 0); eight floats become (p0, p0, p1, p1, ...); lane 2i + 1 or 2i alone keeps its sign, the other is negated.
SLUICE_VEC V swap_pairs(V x) { return {_mm512_permute_ps(x.v, 0xB1)}; }
SLUICE_VEC V duplicate(const float* p, size_t n) {
  const __m256 low = _mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << n) - 1u), p);
  const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  return {_mm512_permutexvar_ps(index, _mm512_castps256_ps512(low))};
}
SLUICE_VEC V negate_even(V x) {
  return {_mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x.v), _mm512_set1_epi64(0x80000000)))};
}

// Halves onto halves: the trees of tree_sum and tree_max in math.h.
SLUICE_VEC float sum_tree(V x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
SLUICE_VEC float max_tree(V x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

SLUICE_VEC void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
SLUICE_VEC void prefetch_l2(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace
}  // namespace sluice::kernels
