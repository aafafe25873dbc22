// The limit that float kernels are measured against: fused multiply-adds on registers alone, as fast as the instruction set takes them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

// Does `rounds` * kFmaRateStep multiply-adds of one float each; the result only keeps them from being removed.
inline constexpr size_t kFmaRateStep = 16 * 16;
using FmaRateFn = float (*)(uint64_t rounds);
FmaRateFn fma_rate_for(Isa isa);

}  // namespace sluice::kernels
