// quantize in AVX-512: 16 blocks at a time, their maxima and sums by transposing trees. Same bits as quantize_reference.cc.
#include <immintrin.h>

#include <cstring>

#include "kernels/quantize/quantize_isa.h"

namespace sluice::kernels {
namespace {

constexpr uint64_t kChunk = 256;

__m512 max_of_halves(__m512 a, __m512 b) { return _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE)); }
__m512 max_of_quarters(__m512 a, __m512 b) { return _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD)); }
__m512 max_of_pairs(__m512 a, __m512 b) {
  const __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
  return _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}
__m512 max_of_lanes(__m512 a, __m512 b) { return _mm512_max_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD)); }

// Lane b = largest |x| of block b; NaNs count as 0 (max returns its second operand for them).
__m512 block_maxima(const float* x) {
  __m512 v[16];
  for (int b = 0; b < 16; ++b) v[b] = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(x + 16 * b)), _mm512_setzero_ps());
  for (int b = 0; b < 8; ++b) v[b] = max_of_halves(v[b], v[b + 8]);
  for (int b = 0; b < 4; ++b) v[b] = max_of_quarters(v[b], v[b + 4]);
  for (int b = 0; b < 2; ++b) v[b] = max_of_pairs(v[b], v[b + 2]);
  const __m512i order = _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15);
  return _mm512_permutexvar_ps(order, max_of_lanes(v[0], v[1]));
}

__m512i sum_of_pairs(__m512i a, __m512i b) { return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)); }

// Lane b = sum of the 16 q of block b; q in four registers of 4 blocks.
__m512i block_sums(const __m512i* q) {
  __m512i v[4];
  for (int c = 0; c < 4; ++c) v[c] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), q[c]);
  const __m512 a = _mm512_castsi512_ps(sum_of_pairs(v[0], v[2])), b = _mm512_castsi512_ps(sum_of_pairs(v[1], v[3]));
  const __m512i sums = _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88)), _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD)));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, sums);
}

// 16 elements to bytes. A NaN becomes 0x80000000, of which the low byte, 0, is kept.
__m128i nearest(const float* x, float inverse) {
  return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), _mm512_set1_ps(inverse))));
}

// The numbers beside q: each argument holds, for 8 groups, 64 bits of d, n, t and (s, 0).
void store_numbers(__m512i d, __m512i n, __m512i t, __m512i s, QuantizedGroup* out) {
  const __m512i first[2] = {_mm512_unpacklo_epi64(d, n), _mm512_unpackhi_epi64(d, n)};  // lane l: d and n of group 2 l + 0 or 1
  const __m512i second[2] = {_mm512_unpacklo_epi64(t, s), _mm512_unpackhi_epi64(t, s)};
  for (int odd = 0; odd < 2; ++odd) {
    const __m512i a = first[odd], b = second[odd];
    const auto store = [out, odd](int lane, __m128i low, __m128i high) {
      auto* to = reinterpret_cast<__m128i*>(out[2 * lane + odd].d);
      _mm_store_si128(to, low);
      _mm_store_si128(to + 1, high);
    };
    store(0, _mm512_extracti32x4_epi32(a, 0), _mm512_extracti32x4_epi32(b, 0));
    store(1, _mm512_extracti32x4_epi32(a, 1), _mm512_extracti32x4_epi32(b, 1));
    store(2, _mm512_extracti32x4_epi32(a, 2), _mm512_extracti32x4_epi32(b, 2));
    store(3, _mm512_extracti32x4_epi32(a, 3), _mm512_extracti32x4_epi32(b, 3));
  }
}

// 256 elements to 8 groups.
void quantize_chunk(const float* x, QuantizedGroup* out) {
  const __m512 amax = block_maxima(x);
  const __mmask16 some = _mm512_cmp_ps_mask(amax, _mm512_set1_ps(kQ8SmallestAmax), _CMP_GE_OQ);
  const __m512 d = _mm512_maskz_div_ps(some, amax, _mm512_set1_ps(127.0f));
  alignas(64) float inverse[16];
  _mm512_store_ps(inverse, _mm512_maskz_div_ps(some, _mm512_set1_ps(127.0f), amax));
  __m512i q[4];
  for (int c = 0; c < 4; ++c) {
    const float* p = x + 64 * c;
    const __m256i low = _mm256_set_m128i(nearest(p + 16, inverse[4 * c + 1]), nearest(p, inverse[4 * c]));
    const __m256i high = _mm256_set_m128i(nearest(p + 48, inverse[4 * c + 3]), nearest(p + 32, inverse[4 * c + 2]));
    _mm256_store_si256(reinterpret_cast<__m256i*>(out[2 * c].q), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out[2 * c + 1].q), high);
    q[c] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }
  const __m512i sums = block_sums(q), n = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, 7));
  const __m512 f = _mm512_cvtepi32_ps(sums);
  const __m512 s = _mm512_maskz_fmadd_ps(0x5555, _mm512_movehdup_ps(d), _mm512_movehdup_ps(f), _mm512_mul_ps(d, f));
  const __m512 t = _mm512_mul_ps(d, _mm512_cvtepi32_ps(n));
  store_numbers(_mm512_castps_si512(d), n, _mm512_castps_si512(t), _mm512_castps_si512(s), out);
}

}  // namespace

void quantize_avx512(const QuantizeArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* x = args.x + row * args.x_stride;
    auto* out = reinterpret_cast<QuantizedGroup*>(args.out + row * args.out_stride);
    uint64_t k = args.k;
    for (; k >= kChunk; k -= kChunk, x += kChunk, out += kChunk / 32) quantize_chunk(x, out);
    if (k == 0) continue;
    alignas(64) float padded[kChunk] = {};
    QuantizedGroup groups[kChunk / 32];
    std::memcpy(padded, x, k * sizeof(float));
    quantize_chunk(padded, groups);
    std::memcpy(out, groups, k / 32 * sizeof(QuantizedGroup));
  }
}

}  // namespace sluice::kernels
