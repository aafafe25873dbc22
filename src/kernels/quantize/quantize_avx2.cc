// quantize in AVX2: 8 blocks at a time, their maxima and sums by transposing trees. Same bits as quantize_reference.cc.
#include <immintrin.h>

#include <cstring>

#include "kernels/quantize/quantize_isa.h"

namespace sluice::kernels {
namespace {

constexpr uint64_t kChunk = 128;

struct Out {
  int8_t* q;
  float* d;
  float* s;
  int32_t* n;
};

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

// Lane b = sum of the 16 q of block b. |1 * q + 1 * q| <= 254: nothing saturates.
__m256i block_sums(const int8_t* q) {
  __m256i v[4];
  for (int c = 0; c < 4; ++c) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + 32 * c));
    v[c] = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
  }
  const __m256 a = _mm256_castsi256_ps(sum_of_pairs(v[0], v[2])), b = _mm256_castsi256_ps(sum_of_pairs(v[1], v[3]));
  const __m256i sums = _mm256_add_epi32(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD)));
  return _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7));
}

// 8 elements as i32; NaN gives 0.
__m256i nearest(const float* x, __m256 inverse) {
  const __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x), inverse);
  return _mm256_cvtps_epi32(_mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q)));
}

void quantize_chunk(const float* x, const Out& out) {
  const __m256 amax = block_maxima(x), scale = _mm256_set1_ps(127.0f);
  const __m256 some = _mm256_cmp_ps(amax, _mm256_set1_ps(kQ8SmallestAmax), _CMP_GE_OQ);
  const __m256 d = _mm256_and_ps(some, _mm256_div_ps(amax, scale));
  alignas(32) float inverse[8];
  _mm256_store_ps(inverse, _mm256_and_ps(some, _mm256_div_ps(scale, amax)));
  for (int b = 0; b < 8; b += 2) {
    const __m256 first = _mm256_set1_ps(inverse[b]), second = _mm256_set1_ps(inverse[b + 1]);
    const float* p = x + 16 * b;
    // |q| <= 127: the packs do not saturate.
    const __m256i low = _mm256_packs_epi32(nearest(p, first), nearest(p + 8, first));
    const __m256i high = _mm256_packs_epi32(nearest(p + 16, second), nearest(p + 24, second));
    const __m256i q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.q + 16 * b), q);
  }
  const __m256i sums = block_sums(out.q);
  const __m256 f = _mm256_cvtepi32_ps(sums);
  const __m256 s = _mm256_fmadd_ps(_mm256_movehdup_ps(d), _mm256_movehdup_ps(f), _mm256_mul_ps(d, f));  // even lanes count
  _mm256_storeu_ps(out.d, d);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.n), _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sums, 7)));
  _mm_storeu_ps(out.s, _mm256_castps256_ps128(_mm256_permutevar8x32_ps(s, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7))));
}

// The last, shorter chunk by way of copies padded with zeros.
void quantize_rest(const float* x, uint64_t k, const Out& out) {
  alignas(32) float padded[kChunk] = {}, d[kChunk / 16], s[kChunk / 32];
  alignas(32) int8_t q[kChunk];
  alignas(32) int32_t n[kChunk / 16];
  std::memcpy(padded, x, k * sizeof(float));
  quantize_chunk(padded, {q, d, s, n});
  std::memcpy(out.q, q, k);
  std::memcpy(out.d, d, k / 16 * 4);
  std::memcpy(out.s, s, k / 32 * 4);
  std::memcpy(out.n, n, k / 16 * 4);
}

}  // namespace

void quantize_avx2(const QuantizeArgs& args) {
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
