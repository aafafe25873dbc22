// The limits of this machine with these threads, now: they move with whatever else the host does, so they are measured around every figure.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/isa.h"
#include "base/result.h"
#include "kernels/limits/limits.h"
#include "platform/memory.h"
#include "platform/thread_pool.h"

namespace sluice::cli {

// A rate by the wall, and the same by CPU time: what the threads would reach if no other process took a CPU.
struct Rate {
  double wall = 0, cpu = 0;  // per second
};

struct Limits {
  Rate int8;   // operations (a multiply and an add are two): kernels/limits
  Rate fma;    // float operations, likewise
  Rate bytes;  // read from memory
};
Limits between(const Limits& before, const Limits& after);  // the mean of two

class LimitMeter {
 public:
  static constexpr uint64_t kReadBytes = 512ull << 20;  // far beyond any cache
  static Result<std::unique_ptr<LimitMeter>> create(uint32_t threads, Isa isa);
  // Reads this memory, which is there already, instead of its own.
  static Result<std::unique_ptr<LimitMeter>> over(std::span<const std::byte> memory, uint32_t threads, Isa isa);
  Limits measure();  // about 0.1 s: the best of three rounds
  Rate measure_reading();

 private:
  explicit LimitMeter(Isa isa);
  void count(uint64_t done, uint64_t begin_cpu);
  void multiply();
  void multiply_floats();
  void read(uint32_t thread);
  template <typename Work>
  Rate rate(Work work);

  Isa isa_;
  kernels::LimitLoops loops_;
  std::unique_ptr<platform::ThreadPool> pool_;
  platform::AnonymousMapping memory_;
  std::span<const std::byte> read_from_;
  std::atomic<uint64_t> done_{0};
  std::atomic<uint64_t> cpu_ns_{0};
};

}  // namespace sluice::cli
