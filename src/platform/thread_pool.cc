// Futex waiting after Drepper, "Futexes Are Tricky"; the sleeper count makes the common case free of system calls.
#include "platform/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <string>
#include <system_error>

#include "base/check.h"
#include "base/limits.h"
#include "platform/cpu.h"

namespace sluice::platform {
namespace {

// 2000 pauses are about 30 us on Zen 4 and 90 us on Skylake-X: longer than the skew of a well-split op, shorter than a scheduler slice.
// With more threads than CPUs a spinner holds the CPU that the others need, so it gives up almost at once.
constexpr uint32_t kSpins = 2000;
constexpr uint32_t kSpinsCrowded = 50;

uint32_t spins_for(uint32_t n_threads) { return n_threads <= usable_cpus() ? kSpins : kSpinsCrowded; }

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);  // EAGAIN, EINTR: the caller looks again
}

void futex_wake_all(std::atomic<uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace

// advance() writes value_ and then reads sleepers_; wait_while() writes sleepers_ and then reads value_. Both in seq_cst order, so at least
// one of them sees the other and no wake-up is lost.
void Gate::advance() {
  value_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) != 0) futex_wake_all(value_);
}

void Gate::wait_while(uint32_t seen, uint32_t spins) {
  for (uint32_t i = 0; i < spins; ++i) {
    if (value_.load(std::memory_order_acquire) != seen) return;
    pause();
  }
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  while (value_.load(std::memory_order_seq_cst) == seen) futex_wait(value_, seen);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

Barrier::Barrier(uint32_t n) : n_(n), spins_(spins_for(n)) { SLUICE_CHECK(n >= 1); }

void Barrier::wait_for_others() {
  // Read before arriving: the gate cannot move until this thread has arrived.
  const uint32_t seen = gate_.value();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_) {
    arrived_.store(0, std::memory_order_relaxed);  // ordered by the gate: nobody arrives again before it opens
    gate_.advance();
  } else {
    gate_.wait_while(seen, spins_);
  }
}

ThreadPool::ThreadPool(uint32_t n_threads) : n_threads_(n_threads), spins_(spins_for(n_threads)) {}

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(uint32_t n_threads) {
  if (n_threads < 1 || n_threads > limits::kThreadsMax) {
    return Error{"threads must be 1 to " + std::to_string(limits::kThreadsMax) + ", not " + std::to_string(n_threads)};
  }
  std::unique_ptr<ThreadPool> pool(new ThreadPool(n_threads));
  pool->threads_.reserve(n_threads - 1);
  // Signals (Ctrl-C) are for the threads of the program, never for a worker.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Status status;
  for (uint32_t i = 1; i < n_threads && status.ok(); ++i) {
    try {
      pool->threads_.emplace_back([p = pool.get(), i] { p->work(i); });
    } catch (const std::system_error& error) {
      status = Error{"the system refused thread " + std::to_string(i + 1) + " of " + std::to_string(n_threads) + ": " + error.what()};
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!status.ok()) return status.error();
  return pool;
}

ThreadPool::~ThreadPool() {
  function_ = nullptr;
  start_.advance();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run(Function function, void* context) {
  SLUICE_DCHECK(function != nullptr);
  if (n_threads_ == 1) {
    function(context, 0);
    return;
  }
  const uint32_t done_before = done_.value();
  function_ = function;
  context_ = context;
  remaining_.store(n_threads_ - 1, std::memory_order_relaxed);
  start_.advance();
  function(context, 0);
  done_.wait_while(done_before, spins_);
}

void ThreadPool::work(uint32_t thread_index) {
  const std::string name = "sluice-" + std::to_string(thread_index);
  pthread_setname_np(pthread_self(), name.c_str());
  for (uint32_t seen = 0;; ++seen) {  // every advance of start_ is seen by every worker: the next one waits for all of them
    start_.wait_while(seen, spins_);
    if (function_ == nullptr) return;
    function_(context_, thread_index);
    if (remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) done_.advance();
  }
}

}  // namespace sluice::platform
