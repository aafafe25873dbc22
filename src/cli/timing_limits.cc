#include "cli/timing_limits.h"

#include <algorithm>

#include "kernels/vec/fma_rate.h"
#include "platform/clock.h"

namespace sluice::cli {
namespace {

constexpr uint64_t kShortBytes = 64ull << 20;

Rate mean(Rate a, Rate b) { return {(a.wall + b.wall) / 2, (a.cpu + b.cpu) / 2}; }
Rate best(Rate a, Rate b) { return {std::max(a.wall, b.wall), std::max(a.cpu, b.cpu)}; }

}  // namespace

Limits between(const Limits& before, const Limits& after) {
  return {mean(before.int8, after.int8), mean(before.fma, after.fma), mean(before.bytes, after.bytes)};
}

LimitMeter::LimitMeter(Isa isa) : isa_(isa), loops_(kernels::limit_loops_for(isa)) {}

Result<std::unique_ptr<LimitMeter>> LimitMeter::create(uint32_t threads, Isa isa) {
  SLUICE_TRY(platform::AnonymousMapping memory, platform::AnonymousMapping::map(kReadBytes, platform::AnonymousMapping::Pages::kHuge));
  memory.touch();
  SLUICE_TRY(std::unique_ptr<LimitMeter> meter, over(memory.bytes(), threads, isa));
  meter->memory_ = std::move(memory);
  return meter;
}

Result<std::unique_ptr<LimitMeter>> LimitMeter::over(std::span<const std::byte> memory, uint32_t threads, Isa isa) {
  std::unique_ptr<LimitMeter> meter(new LimitMeter(isa));
  SLUICE_TRY(meter->pool_, platform::ThreadPool::create(threads));
  meter->read_from_ = memory;
  return meter;
}

template <typename Work>
Rate LimitMeter::rate(Work work) {
  done_ = 0;
  cpu_ns_ = 0;
  const uint64_t begin = platform::now_ns();
  pool_->run(work, this);
  const double wall_s = 1e-9 * static_cast<double>(platform::now_ns() - begin), cpu_s = 1e-9 * static_cast<double>(cpu_ns_.load());
  const double done = static_cast<double>(done_.load());
  return {done / wall_s, done * pool_->size() / cpu_s};
}

Limits LimitMeter::measure() {
  Limits out;
  for (int round = 0; round < 3; ++round) {
    out.int8 = best(out.int8, rate([](void* self, uint32_t) { static_cast<LimitMeter*>(self)->multiply(); }));
    out.fma = best(out.fma, rate([](void* self, uint32_t) { static_cast<LimitMeter*>(self)->multiply_floats(); }));
    out.bytes = best(out.bytes, rate([](void* self, uint32_t thread) { static_cast<LimitMeter*>(self)->read(thread); }));
  }
  return out;
}

Rate LimitMeter::measure_reading() {
  Rate out;
  for (int round = 0; round < 3; ++round) out = best(out, rate([](void* self, uint32_t thread) { static_cast<LimitMeter*>(self)->read(thread); }));
  return out;
}

// The process's clock lags by up to a tick on threads that still run, which is as long as these loops: each thread reads its own.
void LimitMeter::count(uint64_t done, uint64_t begin_cpu) {
  done_ += done;
  cpu_ns_ += platform::thread_cpu_ns() - begin_cpu;
}

void LimitMeter::multiply() {
  const uint64_t begin = platform::thread_cpu_ns();
  int32_t sink = 0;
  count(loops_.int8_multiply_adds(1'000'000, &sink), begin);
}

void LimitMeter::multiply_floats() {
  const uint64_t begin = platform::thread_cpu_ns();
  const uint64_t rounds = isa_ == Isa::kBaseline ? 2'000 : 200'000;
  volatile float sink = kernels::fma_rate_for(isa_)(rounds);
  static_cast<void>(sink);
  count(2 * rounds * kernels::kFmaRateStep, begin);
}

void LimitMeter::read(uint32_t thread) {
  const uint64_t begin = platform::thread_cpu_ns();
  uint64_t sink = 0;
  const uint64_t part = read_from_.size() / pool_->size() / 256 * 256;
  const uint64_t passes = 1 + kShortBytes / pool_->size() / std::max<uint64_t>(1, part);  // a short memory more often: waking a thread takes time too
  const auto* from = reinterpret_cast<const uint8_t*>(read_from_.data()) + thread * part;
  for (uint64_t pass = 0; pass < passes; ++pass) loops_.read(from, part, &sink);
  count(passes * part, begin);
}

}  // namespace sluice::cli
