// The small ops at Jamba 3B's widths, one thread, 64 rows that stay in L2: values a second, and bytes read and written a second.
#include "kernels/conv1d/conv1d.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/glu/glu.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/vec/kernel_benching.h"

namespace sluice::kernels {
namespace {

constexpr size_t kRows = 64;

void report(benchmark::State& state, Isa isa, size_t values, size_t floats_moved, const std::function<void()>& work) {
  if (!machine_has(isa)) return state.SkipWithError("not on this machine");
  double smallest = 1e30;
  for (auto _ : state) smallest = std::min(smallest, smallest_round(1, 20, [&](size_t) { work(); }));
  state.counters["Gvalues_per_s"] = static_cast<double>(values) / smallest * 1e-9;
  state.counters["GB_per_s"] = static_cast<double>(floats_moved * sizeof(float)) / smallest * 1e-9;
}

void norm(benchmark::State& state, Isa isa) {
  constexpr size_t kWidth = 2560;
  const std::vector<float> x = random_floats(kRows * kWidth, 1), weight = random_floats(kWidth, 1);
  std::vector<float> out(kRows * kWidth);
  report(state, isa, kRows * kWidth, 3 * kRows * kWidth,
         [&] { rmsnorm_for(isa)({x.data(), kWidth, weight.data(), out.data(), kWidth, kWidth, 1, 1e-6f, 0, kRows}); });
}

void gated(benchmark::State& state, Isa isa, Activation activation) {
  constexpr size_t kWidth = 2048;
  const std::vector<float> gate = random_floats(kRows * kWidth, 2), up = random_floats(kRows * kWidth, 1);
  std::vector<float> out(kRows * kWidth);
  report(state, isa, kRows * kWidth, 3 * kRows * kWidth,
         [&] { glu_for(activation, isa)({gate.data(), kWidth, up.data(), kWidth, out.data(), kWidth, kWidth, 0, kRows}); });
}

void add(benchmark::State& state, Isa isa) {
  constexpr size_t kWidth = 2560;
  const std::vector<float> a = random_floats(kRows * kWidth, 1), b = random_floats(kRows * kWidth, 1);
  std::vector<float> out(kRows * kWidth);
  report(state, isa, kRows * kWidth, 3 * kRows * kWidth,
         [&] { elementwise_for(Elementwise::kAdd, isa)({a.data(), kWidth, b.data(), kWidth, out.data(), kWidth, 0, kWidth, 0, kRows}); });
}

void convolution(benchmark::State& state, Isa isa) {
  constexpr size_t kChannels = 2560;
  const std::vector<float> x = random_floats(kRows * kChannels, 1), weight = random_floats(4 * kChannels, 1), bias = random_floats(kChannels, 1);
  std::vector<float> out(kRows * kChannels), history(3 * kChannels);
  const StateSegment segment{0, kRows, history.data()};
  report(state, isa, kRows * kChannels, 2 * kRows * kChannels, [&] {
    conv1d_for(isa)({x.data(), kChannels, weight.data(), bias.data(), out.data(), kChannels, 4, kChannels, true, &segment, 1, 0, kChannels});
  });
}

void rotation(benchmark::State& state, Isa isa, bool interleaved) {
  constexpr size_t kHeads = 32, kDim = 64;
  std::vector<float> x = random_floats(kRows * kHeads * kDim, 1);
  std::vector<float> table(kRows * kDim);
  for (size_t i = 0; i < table.size(); ++i) table[i] = i % kDim < kDim / 2 ? 1.0f : 0.0f;  // no rotation: the values stay what they are
  report(state, isa, x.size(), 2 * x.size(),
         [&] { rope_for(isa)({x.data(), kHeads * kDim, table.data(), kDim, kDim / 2, kHeads, kDim, interleaved, 0, kRows}); });
}

#define EACH_ISA(function, ...)                                                                                             \
  BENCHMARK_CAPTURE(function, baseline, Isa::kBaseline __VA_OPT__(, ) __VA_ARGS__);                                         \
  BENCHMARK_CAPTURE(function, avx2, Isa::kAvx2 __VA_OPT__(, ) __VA_ARGS__);                                                 \
  BENCHMARK_CAPTURE(function, avx512, Isa::kAvx512 __VA_OPT__(, ) __VA_ARGS__)
EACH_ISA(norm);
EACH_ISA(gated, Activation::kSilu);
EACH_ISA(add);
EACH_ISA(convolution);
EACH_ISA(rotation, false);
#undef EACH_ISA

}  // namespace
}  // namespace sluice::kernels
