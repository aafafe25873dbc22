#include "platform/thread_pool.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "base/limits.h"
#include "platform/clock.h"
#include "platform/cpu.h"

namespace sluice::platform {
namespace {

std::unique_ptr<ThreadPool> make_pool(uint32_t n) {
  auto pool = ThreadPool::create(n);
  SLUICE_CHECK(pool.ok());
  return std::move(pool).value();
}

TEST(ThreadPool, EveryThreadIsCalledOnceAndTheCallerIsThreadZero) {
  for (const uint32_t n : {1u, 2u, 3u, 7u}) {
    const auto pool = make_pool(n);
    struct Seen {
      std::vector<int> calls;
      std::vector<std::thread::id> ids;
    } seen{std::vector<int>(n), std::vector<std::thread::id>(n)};
    pool->run(
        [](void* context, uint32_t thread) {
          Seen& s = *static_cast<Seen*>(context);
          ++s.calls[thread];
          s.ids[thread] = std::this_thread::get_id();
        },
        &seen);
    EXPECT_EQ(seen.calls, std::vector<int>(n, 1));
    EXPECT_EQ(seen.ids[0], std::this_thread::get_id());
    EXPECT_EQ(std::set<std::thread::id>(seen.ids.begin(), seen.ids.end()).size(), n);
  }
}

// Plain (not atomic) memory: what a run wrote is visible after it, and what the caller wrote before it is visible inside.
TEST(ThreadPool, RunOrdersMemoryInBothDirections) {
  const auto pool = make_pool(3);
  struct Numbers {
    uint64_t in = 0;
    uint64_t out[3] = {};
  } numbers;
  for (uint64_t round = 1; round <= 500; ++round) {
    numbers.in = round;
    pool->run(
        [](void* context, uint32_t thread) {
          Numbers& n = *static_cast<Numbers*>(context);
          n.out[thread] = n.in + thread;
        },
        &numbers);
    for (uint32_t t = 0; t < 3; ++t) ASSERT_EQ(numbers.out[t], round + t);
  }
}

TEST(ThreadPool, SleepingWorkersWakeUp) {
  const auto pool = make_pool(3);
  std::atomic<uint32_t> calls{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // far longer than any spin
    pool->run([](void* context, uint32_t) { static_cast<std::atomic<uint32_t>*>(context)->fetch_add(1); }, &calls);
  }
  EXPECT_EQ(calls.load(), 15u);
}

TEST(ThreadPool, ACallerThatFinishesFirstSleepsUntilTheOthersAreDone) {
  const auto pool = make_pool(2);
  int done = 0;
  pool->run(
      [](void* context, uint32_t thread) {
        if (thread == 0) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        *static_cast<int*>(context) = 1;
      },
      &done);
  EXPECT_EQ(done, 1);
}

TEST(ThreadPool, CountsOutsideTheLimitsAreRefused) {
  EXPECT_FALSE(ThreadPool::create(0).ok());
  const auto refused = ThreadPool::create(limits::kThreadsMax + 1);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message, "threads must be 1 to 64, not 65");
}

TEST(ThreadPool, StartsAndEndsWithoutBeingUsed) {
  for (int i = 0; i < 20; ++i) make_pool(4);
}

struct Walk {
  explicit Walk(uint32_t n) : barrier(n), n_threads(n), cells(n) {}
  Barrier barrier;
  uint32_t n_threads;
  std::vector<uint64_t> cells;
  uint32_t ops = 0;
};

// Each op reads what all threads wrote in the op before: a barrier that lets one thread through early gives a wrong sum.
void walk(void* context, uint32_t thread) {
  Walk& w = *static_cast<Walk*>(context);
  for (uint32_t op = 0; op < w.ops; ++op) {
    uint64_t sum = 1;
    for (const uint64_t cell : w.cells) sum = sum * 31 + cell;
    w.barrier.wait();
    w.cells[thread] = sum + thread;
    w.barrier.wait();
  }
}

std::vector<uint64_t> walk_alone(uint32_t n, uint32_t ops) {
  std::vector<uint64_t> cells(n);
  for (uint32_t op = 0; op < ops; ++op) {
    uint64_t sum = 1;
    for (const uint64_t cell : cells) sum = sum * 31 + cell;
    for (uint32_t t = 0; t < n; ++t) cells[t] = sum + t;
  }
  return cells;
}

TEST(Barrier, OrdersTheOpsOfAStep) {
  for (const uint32_t n : {1u, 2u, 3u, 5u}) {
    const auto pool = make_pool(n);
    Walk w(n);
    w.ops = 100;
    for (int step = 0; step < 3; ++step) pool->run(walk, &w);
    EXPECT_EQ(w.cells, walk_alone(n, 300)) << n << " threads";
  }
}

// Many more threads than CPUs: every barrier needs the scheduler, but none may wait out a time slice of spinning neighbours (4 ms and
// more each; 160 barriers x 16 threads of that would be 10 s and more on an idle machine, and the bound leaves room for busy ones).
TEST(Barrier, DoesNotCollapseWhenCoresAreOversubscribed) {
  const auto pool = make_pool(16);
  Walk w(16);
  w.ops = 80;
  const uint64_t start = now_ns();
  pool->run(walk, &w);
  EXPECT_EQ(w.cells, walk_alone(16, 80));
  EXPECT_LT(now_ns() - start, 30'000'000'000u);
}

}  // namespace
}  // namespace sluice::platform
