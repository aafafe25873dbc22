// quantize in AVX2: 8 blocks at a time, their maxima and sums by transposing trees. Same bits as quantize_reference.cc.
#include <immintrin.h>

#include <cstring>

#include "kernels/quantize/quantize_isa.h"

namespace sluice::kernels {
namespace {

constexpr uint64_t kChunk = 128;

__m256 max_of_halves(__m256 a, __m256 b) { return _mm256_max_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)); }
__m256 max_of_pairs(__m256 a, __m256 b) {
  const __m256d x = _mm256_castps_pd(a), y = _mm256_castps_pd(b);
  return _mm256_max_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
}
__m256 max_of_lanes(__m256 a, __m256 b) { return _mm256_max_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xDD)); }

// Lane b = largest |x| of block b; NaNs count as 0 (max returns its second operand for them).
__m256 block_maxima(const float* x) {
  const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF)), zero = _mm256_setzero_ps();
  __m256 v[8];
  for (int b = 0; b < 8; ++b) {
    const __m256 low = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + 16 * b), magnitude), zero);
    v[b] = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + 16 * b + 8), magnitude), low);
  }
  for (int b = 0; b < 4; ++b) v[b] = max_of_halves(v[b], v[b + 4]);
  for (int b = 0; b < 2; ++b) v[b] = max_of_pairs(v[b], v[b + 2]);
  return _mm256_permute_ps(max_of_lanes(v[0], v[1]), 0xD8);
}

__m256i sum_of_pairs(__m256i a, __m256i b) { return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)); }

// Lane b = sum of the 16 q of block b; q in four registers of 2 blocks. |1 * q + 1 * q| <= 254: nothing saturates.
__m256i block_sums(const __m256i* q) {
  __m256i v[4];
  for (int c = 0; c < 4; ++c) v[c] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q[c]), _mm256_set1_epi16(1));
  const __m256 a = _mm256_castsi256_ps(sum_of_pairs(v[0], v[2])), b = _mm256_castsi256_ps(sum_of_pairs(v[1], v[3]));
  const __m256i sums = _mm256_add_epi32(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD)));
  return _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7));
}

// 8 elements as i32; NaN gives 0.
__m256i nearest(const float* x, __m256 inverse) {
  const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x), inverse);
  return _mm256_cvtps_epi32(_mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q)));
}

// The numbers beside q: each argument holds, for 4 groups, 64 bits of d, n, t and (s, 0).
void store_numbers(__m256i d, __m256i n, __m256i t, __m256i s, QuantizedGroup* out) {
  const __m256i first[2] = {_mm256_unpacklo_epi64(d, n), _mm256_unpackhi_epi64(d, n)};  // lane l: d and n of group 2 l + 0 or 1
  const __m256i second[2] = {_mm256_unpacklo_epi64(t, s), _mm256_unpackhi_epi64(t, s)};
  for (int odd = 0; odd < 2; ++odd) {
    auto* low = reinterpret_cast<__m128i*>(out[odd].d);
    auto* high = reinterpret_cast<__m128i*>(out[2 + odd].d);
    _mm_store_si128(low, _mm256_castsi256_si128(first[odd]));
    _mm_store_si128(low + 1, _mm256_castsi256_si128(second[odd]));
    _mm_store_si128(high, _mm256_extracti128_si256(first[odd], 1));
    _mm_store_si128(high + 1, _mm256_extracti128_si256(second[odd], 1));
  }
}

// 128 elements to 4 groups.
void quantize_chunk(const float* x, QuantizedGroup* out) {
  const __m256 amax = block_maxima(x), scale = _mm256_set1_ps(127.0f);
  const __m256 some = _mm256_cmp_ps(amax, _mm256_set1_ps(kQ8SmallestAmax), _CMP_GE_OQ);
  const __m256 d = _mm256_and_ps(some, _mm256_div_ps(amax, scale));
  alignas(32) float inverse[8];
  _mm256_store_ps(inverse, _mm256_and_ps(some, _mm256_div_ps(scale, amax)));
  __m256i q[4];
  for (int g = 0; g < 4; ++g) {
    const __m256 first = _mm256_set1_ps(inverse[2 * g]), second = _mm256_set1_ps(inverse[2 * g + 1]);
    const float* p = x + 32 * g;
    // |q| <= 127: the packs do not saturate.
    const __m256i low = _mm256_packs_epi32(nearest(p, first), nearest(p + 8, first));
    const __m256i high = _mm256_packs_epi32(nearest(p + 16, second), nearest(p + 24, second));
    q[g] = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out[g].q), q[g]);
  }
  const __m256i sums = block_sums(q), n = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sums, 7));
  const __m256 f = _mm256_cvtepi32_ps(sums);
  const __m256 s = _mm256_fmadd_ps(_mm256_movehdup_ps(d), _mm256_movehdup_ps(f), _mm256_mul_ps(d, f));  // even lanes count
  const __m256 t = _mm256_mul_ps(d, _mm256_cvtepi32_ps(n));
  const __m256i s_zero = _mm256_blend_epi32(_mm256_castps_si256(s), _mm256_setzero_si256(), 0xAA);
  store_numbers(_mm256_castps_si256(d), n, _mm256_castps_si256(t), s_zero, out);
}

}  // namespace

void quantize_avx2(const QuantizeArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* x = args.x + row * args.x_stride;
    auto* out = reinterpret_cast<QuantizedGroup*>(args.out + row * args.out_stride);
    uint64_t k = args.k;
    for (; k >= kChunk; k -= kChunk, x += kChunk, out += kChunk / 32) quantize_chunk(x, out);
    if (k == 0) continue;
    alignas(32) float padded[kChunk] = {};
    QuantizedGroup groups[kChunk / 32];
    std::memcpy(padded, x, k * sizeof(float));
    quantize_chunk(padded, groups);
    std::memcpy(out, groups, k / 32 * sizeof(QuantizedGroup));
  }
}

}  // namespace sluice::kernels
