// matmul of F32, F16 and BF16 weights in AVX2: two registers hold the 16 partial sums of one output and row. Many rows are taken in two passes, over the
// lower and the upper 8 partial sums, so that a tile of 4 outputs x 3 rows fits into the registers. Same bits as matmul_reference.cc.
#include <immintrin.h>

#include "kernels/matmul/matmul_isa.h"
#include "kernels/matmul/unroll-inl.h"

namespace sluice::kernels {
namespace {

template <DType kType>
__m256 load_weights(const uint8_t* p) {
  if constexpr (kType == DType::kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  if constexpr (kType == DType::kF16) return _mm256_cvtph_ps(bits);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

// Lane o = sum of v[o] (the first step of the tree, s[i] + s[i + 8], is done).
__m256 sums_of_8(__m256 (&v)[8]) {
  unroll<4>([&](auto i) SLUICE_INLINE {
    v[i] = _mm256_add_ps(_mm256_permute2f128_ps(v[i], v[i + 4], 0x20), _mm256_permute2f128_ps(v[i], v[i + 4], 0x31));
  });
  unroll<2>([&](auto i) SLUICE_INLINE {
    const __m256d a = _mm256_castps_pd(v[i]), b = _mm256_castps_pd(v[i + 2]);
    v[i] = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
  });
  const __m256 sums = _mm256_add_ps(_mm256_shuffle_ps(v[0], v[1], 0x88), _mm256_shuffle_ps(v[0], v[1], 0xDD));
  return _mm256_permute_ps(sums, 0xD8);
}

// One quad of outputs, kCount rows, halves kFirst .. kFirst + kHalves - 1 of the partial sums.
template <DType kType, size_t kCount, size_t kFirst, size_t kHalves>
void quad_rows(const uint8_t* w, uint64_t steps, const float* const* x, size_t quad, __m256 (*partial)[2][16]) {
  constexpr uint64_t kElement = kType == DType::kF32 ? 4 : 2;
  __m256 acc[kCount][kHalves][4];
  constexpr size_t kSums = kCount * kHalves * 4;
  unroll<kSums>([&](auto i) SLUICE_INLINE { acc[i / 4 / kHalves][i / 4 % kHalves][i % 4] = _mm256_setzero_ps(); });
  for (uint64_t step = 0; step < steps; ++step, w += 64 * kElement) {
    unroll<kElement>([&](auto line) SLUICE_INLINE { _mm_prefetch(w + 4096 + 64 * line, _MM_HINT_T0); });
    unroll<kHalves>([&](auto h) SLUICE_INLINE {
      constexpr size_t kAt = 8 * (kFirst + decltype(h)::value);
      __m256 v[kCount];
      unroll<kCount>([&](auto r) SLUICE_INLINE { v[r] = _mm256_loadu_ps(x[r] + 16 * step + kAt); });
      unroll<4>([&](auto o) SLUICE_INLINE {
        const __m256 weights = load_weights<kType>(w + (o * 16 + kAt) * kElement);
        unroll<kCount>([&](auto r) SLUICE_INLINE { acc[r][h][o] = _mm256_fmadd_ps(v[r], weights, acc[r][h][o]); });
      });
    });
  }
  unroll<kSums>([&](auto i) SLUICE_INLINE {
    partial[i / 4 / kHalves][kFirst + i / 4 % kHalves][4 * quad + i % 4] = acc[i / 4 / kHalves][i / 4 % kHalves][i % 4];
  });
}

template <DType kType, size_t kCount>
void strip_rows(const MatmulArgs& args, size_t strip, size_t first) {
  const uint64_t steps = (args.k + 15) / 16, quad_bytes = steps * 64 * (kType == DType::kF32 ? 4 : 2);
  const float* x[kCount];
  for (size_t r = 0; r < kCount; ++r) {
    const size_t row = args.in_rows != nullptr ? static_cast<size_t>(args.in_rows[first + r]) : first + r;
    x[r] = reinterpret_cast<const float*>(args.activations + row * args.activation_stride);
  }
  __m256 partial[kCount][2][16];
  for (size_t quad = 0; quad < 4; ++quad) {
    const uint8_t* w = args.weights + (strip * 4 + quad) * quad_bytes;
    if constexpr (kCount == 1) {
      quad_rows<kType, 1, 0, 2>(w, steps, x, quad, partial);
    } else {
      quad_rows<kType, kCount, 0, 1>(w, steps, x, quad, partial);
      quad_rows<kType, kCount, 1, 1>(w, steps, x, quad, partial);
    }
  }
  for (size_t r = 0; r < kCount; ++r) {
    const size_t row = args.out_rows != nullptr ? static_cast<size_t>(args.out_rows[first + r]) : first + r;
    for (size_t half = 0; half < 16; half += 8) {
      __m256 v[8];
      for (size_t o = 0; o < 8; ++o) v[o] = _mm256_add_ps(partial[r][0][half + o], partial[r][1][half + o]);
      float* out = args.out + row * args.out_stride + 16 * strip + half;
      __m256 value = sums_of_8(v);
      if (args.bias != nullptr) value = _mm256_add_ps(value, _mm256_loadu_ps(args.bias + 16 * strip + half));
      if (args.accumulate) value = _mm256_add_ps(value, _mm256_loadu_ps(out));
      _mm256_storeu_ps(out, value);
    }
  }
}

template <DType kType>
void matmul(const MatmulArgs& args) {
  for (size_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
    size_t row = 0;
    for (; row + 3 <= args.rows; row += 3) strip_rows<kType, 3>(args, strip, row);
    for (; row < args.rows; ++row) strip_rows<kType, 1>(args, strip, row);
  }
}

}  // namespace

MatmulFn matmul_float_avx2_for(DType weight) {
  if (weight == DType::kF32) return matmul<DType::kF32>;
  if (weight == DType::kF16) return matmul<DType::kF16>;
  if (weight == DType::kBF16) return matmul<DType::kBF16>;
  return nullptr;
}

}  // namespace sluice::kernels
