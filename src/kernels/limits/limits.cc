#include "kernels/limits/limits.h"

#include "kernels/limits/limits_isa.h"

namespace sluice::kernels {

LimitLoops limit_loops_for(Isa isa) {
  constexpr LimitLoops kTable[] = {
      {int8_multiply_adds_reference, read_reference},
      {int8_multiply_adds_avx2, read_avx2},
      {int8_multiply_adds_avx512, read_avx512},
  };
  return kTable[static_cast<size_t>(isa)];
}

uint64_t int8_multiply_adds_reference(uint64_t rounds, int32_t* sink) {
  int32_t sum = 0;
  for (uint64_t i = 0; i < rounds; ++i) sum += static_cast<int8_t>(i) * static_cast<int8_t>(i >> 3);
  *sink += sum;
  return 2 * rounds;
}

void read_reference(const uint8_t* data, size_t bytes, uint64_t* sink) {
  const uint64_t* words = reinterpret_cast<const uint64_t*>(data);
  uint64_t sums[4] = {};
  for (size_t i = 0; i + 4 <= bytes / 8; i += 4) {
    for (size_t j = 0; j < 4; ++j) sums[j] += words[i + j];
  }
  *sink += sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace sluice::kernels
