// What the bit rules cost: the inner loops of a 4-bit matmul with a minimum (Q4_K's) in AVX-512, as the rules have it (one sum a row and output, group after
// group) and in the fastest order-free form found (scales and minimums, odd and even groups summed apart, added at the end). Same loads, same products.
//   ./dev bench kernels --benchmark_filter=BitRules
// Tile: 8 rows from L1, as in prefill. Stream: one row and 256 MB of unpacked weights, as in decode; there both wait for memory.
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernels/quantize/quantize.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12's own AVX-512 headers read an undefined vector on purpose
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define SLUICE_VNNI [[gnu::target("avx512f,avx512bw,avx512vl,avx512vnni")]]

namespace sluice::kernels {
namespace {

struct alignas(64) Group {
  uint8_t codes[8][64];
  float dw[16], mw[16];
};

struct FreeAligned {
  void operator()(void* p) const { std::free(p); }
};
template <typename T>
std::unique_ptr<T[], FreeAligned> aligned(size_t count) {
  void* memory = std::aligned_alloc(64, count * sizeof(T));
  std::memset(memory, 1, count * sizeof(T));
  return std::unique_ptr<T[], FreeAligned>(static_cast<T*>(memory));
}

SLUICE_VNNI inline __m512 products(const Group& w, const QuantizedGroup& x) {
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  for (int quad = 0; quad < 4; ++quad) {
    int32_t q[2];
    std::memcpy(&q[0], x.q + 4 * quad, 4);
    std::memcpy(&q[1], x.q + 16 + 4 * quad, 4);
    sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_load_si512(w.codes[quad]), _mm512_set1_epi32(q[0]));
    sums[1] = _mm512_dpbusd_epi32(sums[1], _mm512_load_si512(w.codes[quad + 4]), _mm512_set1_epi32(q[1]));
  }
  const __m512 first = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[0]), _mm512_set1_ps(x.d[0]));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[1]), _mm512_set1_ps(x.d[1]), first);
}

template <bool kOrdered, int kRows>
SLUICE_VNNI void add(const Group* w, size_t groups, const QuantizedGroup* x, size_t stride, float* out) {
  constexpr int kSums = kOrdered ? 1 : kRows == 1 ? 4 : 2;
  __m512 acc[kRows][kSums];
  for (auto& row : acc) {
    for (auto& sum : row) sum = _mm512_setzero_ps();
  }
  for (size_t g = 0; g < groups; g += 2) {
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; ++i) {
      const Group& group = w[g + i];
      const __m512 dw = _mm512_load_ps(group.dw), mw = _mm512_load_ps(group.mw);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const QuantizedGroup& row = x[static_cast<size_t>(r) * stride + g + i];
        __m512& a = acc[r][kSums == 4 ? 2 * i : 0];
        a = _mm512_fmadd_ps(dw, products(group, row), a);
        __m512& m = acc[r][kSums == 4 ? 2 * i + 1 : kSums - 1];
        m = _mm512_fmadd_ps(mw, _mm512_set1_ps(row.s), m);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int s = 1; s < kSums; ++s) acc[r][0] = _mm512_add_ps(acc[r][0], acc[r][s]);
    _mm512_storeu_ps(out + 16 * r, acc[r][0]);
  }
}

constexpr size_t kRowGroups = 80;  // k = 2560

template <bool kOrdered>
void tile(benchmark::State& state) {
  if (!__builtin_cpu_supports("avx512vnni")) return state.SkipWithError("no AVX-512 VNNI");
  constexpr size_t kGroups = 8;  // what the kernel unpacks at once
  const auto w = aligned<Group>(kGroups);
  const auto x = aligned<QuantizedGroup>(8 * (kRowGroups | 1));
  float out[8 * 16];
  for (auto _ : state) {
    add<kOrdered, 8>(w.get(), kGroups, x.get(), kRowGroups | 1, out);
    benchmark::DoNotOptimize(out);
  }
  state.counters["GOP/s"] = benchmark::Counter(2e-9 * 8 * 16 * 32 * kGroups, benchmark::Counter::kIsIterationInvariantRate);
}

template <bool kOrdered>
void stream(benchmark::State& state) {
  if (!__builtin_cpu_supports("avx512vnni")) return state.SkipWithError("no AVX-512 VNNI");
  const size_t strips = (256u << 20) / (kRowGroups * sizeof(Group));
  const auto w = aligned<Group>(strips * kRowGroups);
  const auto x = aligned<QuantizedGroup>(kRowGroups);
  float out[16];
  for (auto _ : state) {
    for (size_t s = 0; s < strips; ++s) {
      add<kOrdered, 1>(w.get() + s * kRowGroups, kRowGroups, x.get(), 0, out);
      benchmark::DoNotOptimize(out);
    }
  }
  state.counters["GB/s"] = benchmark::Counter(1e-9 * static_cast<double>(strips * kRowGroups * sizeof(Group)), benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(tile<true>)->Name("BitRules/tile/ordered");
BENCHMARK(tile<false>)->Name("BitRules/tile/free");
BENCHMARK(stream<true>)->Name("BitRules/stream/ordered")->Unit(benchmark::kMillisecond);
BENCHMARK(stream<false>)->Name("BitRules/stream/free")->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::kernels
