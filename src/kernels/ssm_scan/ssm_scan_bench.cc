// The scan at the shape of Jamba 3B (26 layers, 5120 channels, 16 states): ms per token of all layers, prefill of 512 rows and decode with 26 states.
// Reference points (llama.cpp 3.8 to 6.1 ms): the speed issue asks for <= 0.25 ms with AVX-512 and <= 0.6 ms with AVX2 on two threads.
#include "kernels/ssm_scan/ssm_scan.h"

#include <cmath>

#include "kernels/vec/kernel_benching.h"

namespace sluice::kernels {
namespace {

constexpr size_t kLayers = 26, kChannels = 5120, kStates = 16;

void scan(benchmark::State& state, Isa isa, size_t rows, size_t threads) {
  if (!machine_has(isa)) return state.SkipWithError("not on this machine");
  std::vector<float> x = random_floats(rows * kChannels, 1), dt = random_floats(rows * kChannels, 2, 2), z = random_floats(rows * kChannels, 1, 3);
  std::vector<float> b = random_floats(rows * kStates, 1, 4), c = random_floats(rows * kStates, 1, 5), d = random_floats(kChannels, 1, 6);
  std::vector<float> a = random_floats(kLayers * kChannels * kStates, 1, 7), h(kLayers * kChannels * kStates), out(rows * kChannels);
  for (float& value : a) value = -std::exp(value);
  const size_t layers = rows == 1 ? kLayers : 1;  // in prefill one layer's rows run before the next layer's
  const auto work = [&](size_t thread) {
    for (size_t layer = 0; layer < layers; ++layer) {
      const StateSegment segment{0, rows, h.data() + layer * kChannels * kStates};
      ssm_scan_for(isa)({x.data(), kChannels, dt.data(), kChannels, b.data(), kStates, c.data(), kStates, z.data(), kChannels,
                         a.data() + layer * kChannels * kStates, d.data(), out.data(), kChannels, kStates, &segment, 1,
                         kChannels / threads * thread, kChannels / threads * (thread + 1)});
    }
  };
  double smallest = 1e30;
  double limit = 0;
  for (auto _ : state) {
    smallest = std::min(smallest, smallest_round(threads, 10, work));
    limit = std::max(limit, fma_limit(isa, threads));
  }
  const double per_token = smallest / static_cast<double>(rows) * static_cast<double>(kLayers / layers);
  state.counters["ms_per_token"] = per_token * 1e3;
  // The multiply unit's share: 9 multiplies or multiply-adds a state (decay 1 + 5, input 1, state 1, output 1).
  state.counters["share_of_fma"] = static_cast<double>(kLayers * kChannels * kStates * 9) / per_token / limit;
}

BENCHMARK_CAPTURE(scan, avx2_prefill512_1t, Isa::kAvx2, 512, 1);
BENCHMARK_CAPTURE(scan, avx2_prefill512_2t, Isa::kAvx2, 512, 2);
BENCHMARK_CAPTURE(scan, avx512_prefill512_1t, Isa::kAvx512, 512, 1);
BENCHMARK_CAPTURE(scan, avx512_prefill512_2t, Isa::kAvx512, 512, 2);
BENCHMARK_CAPTURE(scan, avx2_decode_1t, Isa::kAvx2, 1, 1);
BENCHMARK_CAPTURE(scan, avx2_decode_2t, Isa::kAvx2, 1, 2);
BENCHMARK_CAPTURE(scan, avx512_decode_1t, Isa::kAvx512, 1, 1);
BENCHMARK_CAPTURE(scan, avx512_decode_2t, Isa::kAvx512, 1, 2);

}  // namespace
}  // namespace sluice::kernels
