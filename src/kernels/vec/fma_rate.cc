// The table of fma_rate's forms. The baseline has no instruction for it, so its figure is that of the emulated one. Contract: fma_rate.h.
#include "kernels/vec/fma_rate.h"

#include "kernels/vec/fma.h"

namespace sluice::kernels {
namespace {

float fma_rate_reference(uint64_t rounds) {
  float sum[16] = {};
  for (uint64_t i = 0; i < rounds; ++i) {
    for (size_t j = 0; j < kFmaRateStep; ++j) sum[j % 16] = fma_exact(sum[j % 16], 0.5f, 1.0f);
  }
  float total = 0;
  for (const float s : sum) total += s;
  return total;
}

}  // namespace

float fma_rate_avx2(uint64_t rounds);
float fma_rate_avx512(uint64_t rounds);

FmaRateFn fma_rate_for(Isa isa) {
  static constexpr FmaRateFn kTable[kIsaCount] = {fma_rate_reference, fma_rate_avx2, fma_rate_avx512};
  return kTable[static_cast<size_t>(isa)];
}

}  // namespace sluice::kernels
