#include <immintrin.h>

#include "kernels/limits/limits_isa.h"

namespace sluice::kernels {

uint64_t int8_multiply_adds_avx2(uint64_t rounds, int32_t* sink) {
  constexpr int kChains = 8;
  __m256i acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_set1_epi32(i);
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-2);
  const __m256i ones = _mm256_set1_epi16(1);
  for (uint64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 8
    for (int i = 0; i < kChains; ++i) {
      __asm__ volatile("" : "+x"(a), "+x"(b));  // so that no product is hoisted or shared
      acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
    }
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm256_add_epi32(acc[0], acc[i]);
  *sink += _mm256_extract_epi32(acc[0], 0);
  return rounds * kChains * 32 * 2;
}

void read_avx2(const uint8_t* data, size_t bytes, uint64_t* sink) {
  __m256i sums[4] = {};
  for (size_t i = 0; i < bytes; i += 128) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) sums[j] = _mm256_xor_si256(sums[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j)));
  }
  const __m256i sum = _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
  *sink += static_cast<uint64_t>(_mm256_extract_epi64(sum, 0));
}

}  // namespace sluice::kernels
