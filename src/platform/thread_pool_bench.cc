// What one barrier and one run() cost. Arguments: threads. Oversubscribed counts are there on purpose.
#include <benchmark/benchmark.h>

#include "base/check.h"
#include "platform/thread_pool.h"

namespace sluice::platform {
namespace {

constexpr uint32_t kOps = 1000;

void barrier_cost(benchmark::State& state) {
  const auto pool = ThreadPool::create(static_cast<uint32_t>(state.range(0)));
  SLUICE_CHECK(pool.ok());
  Barrier barrier((*pool)->size());
  for (auto _ : state) {
    (*pool)->run(
        [](void* context, uint32_t) {
          for (uint32_t i = 0; i < kOps; ++i) static_cast<Barrier*>(context)->wait();
        },
        &barrier);
  }
  state.SetItemsProcessed(state.iterations() * kOps);
}
BENCHMARK(barrier_cost)->Arg(1)->Arg(2)->Arg(3)->Arg(4)->Arg(8)->UseRealTime();

void run_cost(benchmark::State& state) {
  const auto pool = ThreadPool::create(static_cast<uint32_t>(state.range(0)));
  SLUICE_CHECK(pool.ok());
  for (auto _ : state) (*pool)->run([](void*, uint32_t) {}, nullptr);
}
BENCHMARK(run_cost)->Arg(1)->Arg(2)->Arg(4)->UseRealTime();

}  // namespace
}  // namespace sluice::platform
