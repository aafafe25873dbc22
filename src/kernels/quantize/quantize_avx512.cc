// quantize in AVX-512: 16 blocks at a time, their maxima and sums by transposing trees. Same bits as quantize_reference.cc.
#include <immintrin.h>

#include <cstring>

#include "kernels/quantize/quantize_isa.h"

namespace sluice::kernels {
namespace {

constexpr uint64_t kChunk = 256;

struct Out {
  int8_t* q;
  float* d;
  float* s;
  int32_t* n;
};

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

// Lane b = sum of the 16 q of block b.
__m512i block_sums(const int8_t* q) {
  __m512i v[4];
  for (int c = 0; c < 4; ++c) v[c] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), _mm512_loadu_si512(q + 64 * c));
  const __m512 a = _mm512_castsi512_ps(sum_of_pairs(v[0], v[2])), b = _mm512_castsi512_ps(sum_of_pairs(v[1], v[3]));
  const __m512i sums = _mm512_add_epi32(_mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88)), _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xDD)));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, sums);
}

void quantize_chunk(const float* x, const Out& out) {
  const __m512 amax = block_maxima(x);
  const __mmask16 some = _mm512_cmp_ps_mask(amax, _mm512_set1_ps(kQ8SmallestAmax), _CMP_GE_OQ);
  const __m512 d = _mm512_maskz_div_ps(some, amax, _mm512_set1_ps(127.0f));
  alignas(64) float inverse[16];
  _mm512_store_ps(inverse, _mm512_maskz_div_ps(some, _mm512_set1_ps(127.0f), amax));
  for (int b = 0; b < 16; ++b) {
    // A NaN becomes 0x80000000, of which the low byte, 0, is kept.
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * b), _mm512_set1_ps(inverse[b])));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.q + 16 * b), _mm512_cvtepi32_epi8(q));
  }
  const __m512i sums = block_sums(out.q);
  const __m512 f = _mm512_cvtepi32_ps(sums);
  const __m512 s = _mm512_fmadd_ps(_mm512_movehdup_ps(d), _mm512_movehdup_ps(f), _mm512_mul_ps(d, f));  // even lanes count
  _mm512_storeu_ps(out.d, d);
  _mm512_storeu_si512(out.n, _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, 7)));
  _mm256_storeu_ps(out.s, _mm512_castps512_ps256(_mm512_maskz_compress_ps(0x5555, s)));
}

// The last, shorter chunk by way of copies padded with zeros.
void quantize_rest(const float* x, uint64_t k, const Out& out) {
  alignas(64) float padded[kChunk] = {}, d[kChunk / 16], s[kChunk / 32];
  alignas(64) int8_t q[kChunk];
  alignas(64) int32_t n[kChunk / 16];
  std::memcpy(padded, x, k * sizeof(float));
  quantize_chunk(padded, {q, d, s, n});
  std::memcpy(out.q, q, k);
  std::memcpy(out.d, d, k / 16 * 4);
  std::memcpy(out.s, s, k / 32 * 4);
  std::memcpy(out.n, n, k / 16 * 4);
}

}  // namespace

void quantize_avx512(const QuantizeArgs& args) {
  const QuantizedRowLayout layout = quantized_row_layout(args.k);
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* x = args.x + row * args.x_stride;
    uint8_t* to = args.out + row * args.out_stride;
    Out out{reinterpret_cast<int8_t*>(to + layout.q_offset), reinterpret_cast<float*>(to + layout.d_offset),
            reinterpret_cast<float*>(to + layout.s_offset), reinterpret_cast<int32_t*>(to + layout.n_offset)};
    uint64_t k = args.k;
    for (; k >= kChunk; k -= kChunk, x += kChunk) {
      quantize_chunk(x, out);
      out = {out.q + kChunk, out.d + kChunk / 16, out.s + kChunk / 32, out.n + kChunk / 16};
    }
    if (k > 0) quantize_rest(x, k, out);
  }
}

}  // namespace sluice::kernels
