#include <immintrin.h>

#include "kernels/limits/limits_isa.h"

namespace sluice::kernels {

uint64_t int8_multiply_adds_avx512(uint64_t rounds, int32_t* sink) {
  constexpr int kChains = 12;
  __m512i acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_epi32(i);
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
  for (uint64_t r = 0; r < rounds; ++r) {
    __asm__ volatile("" : "+v"(a), "+v"(b));  // so that nothing is hoisted
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_dpbusd_epi32(acc[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) acc[0] = _mm512_add_epi32(acc[0], acc[i]);
  *sink += _mm512_reduce_add_epi32(acc[0]);
  return rounds * kChains * 64 * 2;
}

void read_avx512(const uint8_t* data, size_t bytes, uint64_t* sink) {
  __m512i sums[4] = {};
  for (size_t i = 0; i < bytes; i += 256) {
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) sums[j] = _mm512_xor_si512(sums[j], _mm512_loadu_si512(data + i + 64 * j));
  }
  const __m512i sum = _mm512_xor_si512(_mm512_xor_si512(sums[0], sums[1]), _mm512_xor_si512(sums[2], sums[3]));
  *sink += static_cast<uint64_t>(_mm512_reduce_add_epi64(sum));
}

}  // namespace sluice::kernels
