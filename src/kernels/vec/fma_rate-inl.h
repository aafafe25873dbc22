// Twelve independent chains of one register each: enough for two units of latency 4 to 6. Contract: fma_rate.h.
#pragma once

#include "kernels/vec/fma_rate.h"

namespace sluice::kernels {
namespace {

float fma_rate(uint64_t rounds) {
  constexpr size_t kChains = 12;
  const uint64_t total = rounds * kFmaRateStep / (kChains * kLanes);
  const F half = set<F>(0.5f);
  const F one = set<F>(1.0f);
  F chain[kChains];
  SLUICE_UNROLL
  for (size_t c = 0; c < kChains; ++c) chain[c] = set<F>(static_cast<float>(c));
  for (uint64_t i = 0; i < total; ++i) {
    SLUICE_UNROLL
    for (size_t c = 0; c < kChains; ++c) chain[c] = fma(chain[c], half, one);
  }
  F sum = chain[0];
  SLUICE_UNROLL
  for (size_t c = 1; c < kChains; ++c) sum = add(sum, chain[c]);
  float lanes[kLanes];
  store(lanes, sum);
  return lanes[0];
}

}  // namespace
}  // namespace sluice::kernels
