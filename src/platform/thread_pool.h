// A fixed set of threads for the engine, and the barrier that orders the ops of a step. run() calls one function on every thread (thread 0
// is the caller) and returns when all are done. No allocation and no lock per call; a system call only when somebody has gone to sleep.
// Waiting is a short bounded spin and then a futex sleep, so it neither burns an idle machine nor collapses when cores are oversubscribed.
//
//   SLUICE_TRY(const auto pool, ThreadPool::create(threads));
//   struct Step { Barrier barrier; ... } step{Barrier(pool->size()), ...};
//   pool->run([](void* context, uint32_t thread) {
//     Step& s = *static_cast<Step*>(context);
//     for (const Op& op : s.ops) { work(op, thread); s.barrier.wait(); }
//   }, &step);
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/result.h"

namespace sluice::platform {

// A 32-bit number that one side advances and the others wait for. Waiters spin for a bounded number of pauses and then sleep.
class Gate {
 public:
  uint32_t value() const { return value_.load(std::memory_order_acquire); }
  // Publishes everything written before it to those whose wait_while returns.
  void advance();
  // Returns once the value is no longer `seen`.
  void wait_while(uint32_t seen, uint32_t spins);

 private:
  std::atomic<uint32_t> value_{0};
  std::atomic<uint32_t> sleepers_{0};
};

// For `n` threads that call wait() the same number of times; reusable at once. With n == 1 it is nothing.
class Barrier {
 public:
  explicit Barrier(uint32_t n);
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;

  void wait() {
    if (n_ > 1) wait_for_others();
  }

 private:
  void wait_for_others();

  const uint32_t n_;
  const uint32_t spins_;
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) Gate gate_;
};

class ThreadPool {
 public:
  using Function = void (*)(void* context, uint32_t thread_index);

  // Starts n_threads - 1 threads; 1 <= n_threads <= limits::kThreadsMax. Fails if the system refuses a thread.
  static Result<std::unique_ptr<ThreadPool>> create(uint32_t n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t size() const { return n_threads_; }

  // One caller at a time, and not from inside `function`.
  void run(Function function, void* context);

 private:
  explicit ThreadPool(uint32_t n_threads);
  void work(uint32_t thread_index);

  const uint32_t n_threads_;
  const uint32_t spins_;
  std::vector<std::thread> threads_;
  Function function_ = nullptr;  // null asks the workers to end
  void* context_ = nullptr;
  alignas(64) Gate start_;
  alignas(64) std::atomic<uint32_t> remaining_{0};
  alignas(64) Gate done_;
};

}  // namespace sluice::platform
