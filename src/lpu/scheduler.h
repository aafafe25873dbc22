// One schedule for one partition: places every value, lowers every op to slots, and starts each slot as soon as its operands, its unit, its place and its
// ports of the SRAM allow. Used by the search in schedule.cc.
#pragma once

#include <cmath>
#include <vector>

#include "lpu/schedule.h"

namespace sluice::lpu {

inline uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
inline uint64_t cycles_of(double x) { return static_cast<uint64_t>(std::ceil(x - 1e-9)); }

// `widths`: chips of each stage. What does not fit is scheduled all the same: Stage::lines says so.
Schedule schedule_on(const Workload& work, const Chip& chip, const Latencies& latencies, const std::vector<uint32_t>& stage_of_layer,
                     const std::vector<uint64_t>& widths);

}  // namespace sluice::lpu
