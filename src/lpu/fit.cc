#include "lpu/fit.h"

#include <algorithm>
#include <cmath>

namespace sluice::lpu {
namespace {

// Row 2: [2304 x 4096] x [4096 x N], fp16, N = 1376..3500; the curve reads 0.9 to 1.0.
constexpr uint64_t kRow2M = 2304, kRow2K = 4096, kRow2First = 1376, kRow2Last = 3500;
constexpr double kRow2Mean = 0.95;
constexpr uint64_t kTileOverheadMax = 64;

// Row 3: BERT-base, batch 1, one chip. 128 tokens and 8-bit matrices are our reading: the source we have names neither.
constexpr EncoderShape kRow3Shape = {.layers = 12, .hidden = 768, .inner = 3072, .heads = 12, .tokens = 128};
constexpr double kRow3Seconds = 130e-6;
constexpr uint64_t kChainMax = 1 << 14;

}  // namespace

const Latencies kFitted = {.tile_overhead = 0, .chain = 388};

Row2 row2_utilisation(const Chip& v1, const Latencies& latencies) {
  Row2 out{1, 0};
  uint64_t count = 0;
  for (uint64_t n = kRow2First; n <= kRow2Last; n += 4, ++count) {
    const double ideal = static_cast<double>(kRow2M * kRow2K * n) / (v1.ops_16bit_per_s / 2 / v1.clock_hz);
    const double cycles = static_cast<double>(matmul_cycles(v1, latencies, 16, kRow2M, kRow2K, n, 1)) + v1.fill_cycles + static_cast<double>(latencies.chain);
    out.lowest = std::min(out.lowest, ideal / cycles);
    out.mean += ideal / cycles;
  }
  out.mean /= static_cast<double>(count);
  return out;
}

Result<double> row3_seconds(const Chip& v1, const Latencies& latencies) {
  SLUICE_TRY(const Schedule schedule, make_schedule(encoder_workload(kRow3Shape, 8), v1, latencies, {.chips = 1, .split_max = 1, .stages = 1, .check = false}));
  return static_cast<double>(schedule.cycles) / v1.clock_hz;
}

Result<Latencies> fit(const Chip& v1) {
  Latencies best;
  double distance = 1e9;
  for (uint64_t overhead = 0; overhead <= kTileOverheadMax; ++overhead) {
    const double now = std::abs(row2_utilisation(v1, {overhead, 0}).mean - kRow2Mean);
    if (now < distance) best.tile_overhead = overhead;
    distance = std::min(distance, now);
  }
  uint64_t low = 0, high = kChainMax;  // time grows with the latency: the largest that does not exceed row 3
  while (low < high) {
    const uint64_t middle = (low + high + 1) / 2;
    SLUICE_TRY(const double seconds, row3_seconds(v1, {best.tile_overhead, middle}));
    if (seconds <= kRow3Seconds) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  best.chain = low;
  return best;
}

}  // namespace sluice::lpu
