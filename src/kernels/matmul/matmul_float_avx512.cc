// matmul of F32, F16 and BF16 weights in AVX-512: one register holds the 16 partial sums of one output and row. Same bits as matmul_reference.cc.
#include <immintrin.h>

#include "kernels/matmul/matmul_isa.h"
#include "kernels/matmul/unroll-inl.h"

namespace sluice::kernels {
namespace {

constexpr size_t kRows = 5;  // tile: 4 outputs x 5 rows = 20 sums, 5 rows of x, 1 weight

template <DType kType>
__m512 load_weights(const uint8_t* p) {
  if constexpr (kType == DType::kF32) return _mm512_loadu_ps(p);
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  if constexpr (kType == DType::kF16) return _mm512_cvtph_ps(bits);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// Lane o = sum of v[o] by the tree of matmul.h.
__m512 sums_of_16(__m512 (&v)[16]) {
  unroll<8>([&](auto i) SLUICE_INLINE {
    v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xEE));
  });
  unroll<4>([&](auto i) SLUICE_INLINE {
    v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), _mm512_shuffle_f32x4(v[i], v[i + 4], 0xDD));
  });
  unroll<2>([&](auto i) SLUICE_INLINE {
    const __m512d a = _mm512_castps_pd(v[i]), b = _mm512_castps_pd(v[i + 2]);
    v[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  });
  const __m512 sums = _mm512_add_ps(_mm512_shuffle_ps(v[0], v[1], 0x88), _mm512_shuffle_ps(v[0], v[1], 0xDD));
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15), sums);
}

template <DType kType, size_t kCount>
void strip_rows(const MatmulArgs& args, size_t strip, size_t first) {
  constexpr uint64_t kElement = kType == DType::kF32 ? 4 : 2;
  const uint64_t steps = (args.k + 15) / 16;
  const uint8_t* w = args.weights + strip * steps * 256 * kElement;
  const float* x[kCount];
  for (size_t r = 0; r < kCount; ++r) {
    const size_t row = args.in_rows != nullptr ? static_cast<size_t>(args.in_rows[first + r]) : first + r;
    x[r] = reinterpret_cast<const float*>(args.activations + row * args.activation_stride);
  }
  __m512 partial[kCount][16];
  for (size_t quad = 0; quad < 4; ++quad) {
    __m512 acc[kCount][4];
    unroll<4 * kCount>([&](auto i) SLUICE_INLINE { acc[i / 4][i % 4] = _mm512_setzero_ps(); });
    for (uint64_t step = 0; step < steps; ++step, w += 64 * kElement) {
      unroll<kElement>([&](auto line) SLUICE_INLINE { _mm_prefetch(w + 4096 + 64 * line, _MM_HINT_T0); });
      __m512 v[kCount];
      unroll<kCount>([&](auto r) SLUICE_INLINE { v[r] = _mm512_loadu_ps(x[r] + 16 * step); });
      unroll<4>([&](auto o) SLUICE_INLINE {
        const __m512 weights = load_weights<kType>(w + o * 16 * kElement);
        unroll<kCount>([&](auto r) SLUICE_INLINE { acc[r][o] = _mm512_fmadd_ps(v[r], weights, acc[r][o]); });
      });
    }
    unroll<4 * kCount>([&](auto i) SLUICE_INLINE { partial[i / 4][4 * quad + i % 4] = acc[i / 4][i % 4]; });
  }
  for (size_t r = 0; r < kCount; ++r) {
    const size_t row = args.out_rows != nullptr ? static_cast<size_t>(args.out_rows[first + r]) : first + r;
    float* out = args.out + row * args.out_stride + 16 * strip;
    __m512 value = sums_of_16(partial[r]);
    if (args.bias != nullptr) value = _mm512_add_ps(value, _mm512_loadu_ps(args.bias + 16 * strip));
    if (args.accumulate) value = _mm512_add_ps(value, _mm512_loadu_ps(out));
    _mm512_storeu_ps(out, value);
  }
}

template <DType kType>
void matmul(const MatmulArgs& args) {
  for (size_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
    size_t row = 0;
    for (; row + kRows <= args.rows; row += kRows) strip_rows<kType, kRows>(args, strip, row);
    switch (args.rows - row) {
      case 4: strip_rows<kType, 4>(args, strip, row); break;
      case 3: strip_rows<kType, 3>(args, strip, row); break;
      case 2: strip_rows<kType, 2>(args, strip, row); break;
      case 1: strip_rows<kType, 1>(args, strip, row); break;
      default: break;
    }
  }
}

}  // namespace

MatmulFn matmul_float_avx512_for(DType weight) {
  if (weight == DType::kF32) return matmul<DType::kF32>;
  if (weight == DType::kF16) return matmul<DType::kF16>;
  if (weight == DType::kBF16) return matmul<DType::kBF16>;
  return nullptr;
}

}  // namespace sluice::kernels
