// For benches of kernels only: two threads that start together, the smallest of many repeats, and the multiply-add rate measured beside each figure.
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/isa.h"
#include "kernels/vec/fma_rate.h"

namespace sluice::kernels {

inline bool machine_has(Isa isa) {
  switch (isa) {
    case Isa::kBaseline: return true;
    case Isa::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kAvx512: return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
  return false;
}

inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Runs work(thread) on `threads` threads that start together, `rounds` times; the smallest over the rounds of the longest processor time of a thread.
// Processor time, because a neighbour's load would otherwise be measured; on a quiet machine it is the wall clock's.
inline double smallest_round(size_t threads, size_t rounds, const std::function<void(size_t)>& work) {
  std::atomic<size_t> arrived{0};
  std::vector<std::vector<double>> times(threads, std::vector<double>(rounds));
  const auto body = [&](size_t thread) {
    for (size_t round = 0; round < rounds; ++round) {
      arrived.fetch_add(1);
      while (arrived.load() < threads * (round + 1)) std::this_thread::yield();
      const double begin = thread_seconds();
      work(thread);
      times[thread][round] = thread_seconds() - begin;
    }
  };
  std::vector<std::thread> others;
  for (size_t thread = 1; thread < threads; ++thread) others.emplace_back(body, thread);
  body(0);
  for (std::thread& other : others) other.join();
  double smallest = 1e30;
  for (size_t round = 0; round < rounds; ++round) {
    double longest = 0;
    for (size_t thread = 0; thread < threads; ++thread) longest = std::max(longest, times[thread][round]);
    smallest = std::min(smallest, longest);
  }
  return smallest;
}

// Float multiply-adds a second of `threads` threads together; the best of some short tries.
inline double fma_limit(Isa isa, size_t threads) {
  constexpr uint64_t kRounds = 40000;
  const double smallest = smallest_round(threads, 10, [&](size_t) { benchmark::DoNotOptimize(fma_rate_for(isa)(kRounds)); });
  return static_cast<double>(kRounds * kFmaRateStep * threads) / smallest;
}

inline std::vector<float> random_floats(size_t size, float scale, uint32_t seed = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> result(size);
  for (float& x : result) x = scale * normal(engine);
  return result;
}

}  // namespace sluice::kernels
