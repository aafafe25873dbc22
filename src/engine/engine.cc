// The thread around the scheduler. Callers leave requests and cancellations in an inbox; the engine's thread looks at an atomic flag between steps and
// takes the lock only when something is there.
#include "engine/engine.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/scheduler.h"
#include "platform/clock.h"

namespace sluice::engine {
namespace {

constexpr auto kDeadlineWait = std::chrono::milliseconds(10);  // between looks at the deadlines of requests that wait

// A snapshot that one thread writes and others read, word by word.
class SharedStatistics {
 public:
  void write(const EngineStatistics& statistics) {
    const auto words = std::bit_cast<Words>(statistics);
    for (size_t i = 0; i < words.size(); ++i) words_[i].store(words[i], std::memory_order_relaxed);
  }
  EngineStatistics read() const {
    Words words;
    for (size_t i = 0; i < words.size(); ++i) words[i] = words_[i].load(std::memory_order_relaxed);
    return std::bit_cast<EngineStatistics>(words);
  }

 private:
  using Words = std::array<uint64_t, sizeof(EngineStatistics) / sizeof(uint64_t)>;
  static_assert(sizeof(EngineStatistics) % sizeof(uint64_t) == 0 && std::is_trivially_copyable_v<EngineStatistics>);
  std::array<std::atomic<uint64_t>, std::tuple_size_v<Words>> words_{};
};

struct Arrival {
  RequestId id;
  Request request;
  std::shared_ptr<ResponseSink> sink;
};

}  // namespace

struct Engine::Impl {
  RuntimeRunner runner;
  EngineOptions options;
  std::unique_ptr<Scheduler> scheduler;
  SharedStatistics statistics;

  // Guarded by `mutex`; `mail` says that something is there.
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<Arrival> arrivals;
  std::vector<RequestId> cancelled;
  std::vector<std::function<void()>> work;
  std::atomic<bool> mail{false};
  bool stopping = false;
  RequestId next_id = 1;
  std::atomic<bool> draining{false};

  // Requests that wait for a slot, in the inbox or in the scheduler.
  std::atomic<uint32_t> queued_requests{0};
  std::atomic<uint64_t> queued_tokens{0};
  std::thread thread;

  Impl(runtime::Runtime& runtime, const EngineOptions& given) : runner(runtime), options(given) {
    if (!options.now_us) options.now_us = [] { return platform::now_ns() / 1000; };
  }

  void loop();
  bool take_mail();
  void post(std::unique_lock<std::mutex>& lock);
  void between_steps(const std::function<void(Scheduler&)>& run);  // waits for it
};

void Engine::Impl::post(std::unique_lock<std::mutex>& lock) {
  mail.store(true, std::memory_order_release);
  lock.unlock();
  wake.notify_one();
}

// False when the engine is to stop.
bool Engine::Impl::take_mail() {
  std::vector<Arrival> new_arrivals;
  std::vector<RequestId> new_cancelled;
  std::vector<std::function<void()>> new_work;
  bool stop;
  {
    const std::lock_guard lock(mutex);
    new_arrivals.swap(arrivals);
    new_cancelled.swap(cancelled);
    new_work.swap(work);
    mail.store(false, std::memory_order_relaxed);
    stop = stopping;
  }
  for (Arrival& a : new_arrivals) scheduler->add(a.id, std::move(a.request), std::move(a.sink));
  for (const RequestId id : new_cancelled) scheduler->cancel(id);
  for (const auto& run : new_work) run();
  return !stop;
}

void Engine::Impl::loop() {
  Scheduler::Departures before;
  while (true) {
    if (mail.load(std::memory_order_acquire) && !take_mail()) break;
    const bool computed = scheduler->step();
    const Scheduler::Departures now = scheduler->departures();  // they make room at the door
    queued_requests.fetch_sub(static_cast<uint32_t>(now.requests - before.requests), std::memory_order_relaxed);
    queued_tokens.fetch_sub(now.tokens - before.tokens, std::memory_order_relaxed);
    before = now;
    statistics.write(scheduler->statistics());
    if (computed) continue;
    std::unique_lock lock(mutex);
    const auto has_mail = [&] { return mail.load(std::memory_order_relaxed); };
    if (scheduler->idle()) {
      wake.wait(lock, has_mail);
    } else {
      wake.wait_for(lock, kDeadlineWait, has_mail);
    }
  }
  scheduler->cancel_all();
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

uint64_t Engine::bytes(const runtime::Runtime& runtime, const EngineOptions& options) {
  return Scheduler::bytes(step_sizes(runtime), options);
}

Result<std::unique_ptr<Engine>> Engine::create(runtime::Runtime& runtime, const text::Tokenizer& tokenizer, uint64_t fingerprint,
                                               const EngineOptions& options) {
  auto impl = std::make_unique<Impl>(runtime, options);
  Impl* const waking = impl.get();
  impl->options.kv_type = static_cast<uint32_t>(runtime.options().kv_type);
  impl->options.disk_notify = [waking] {  // the disk has finished something: the engine's thread may be asleep
    std::unique_lock lock(waking->mutex);
    waking->post(lock);
  };
  SLUICE_TRY(impl->scheduler, Scheduler::create(impl->runner, tokenizer, fingerprint, impl->options));
  impl->statistics.write(impl->scheduler->statistics());
  Impl* const running = impl.get();
  impl->thread = std::thread([running] { running->loop(); });
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::~Engine() {
  {
    std::unique_lock lock(impl_->mutex);
    impl_->stopping = true;
    impl_->post(lock);
  }
  impl_->thread.join();
}

Submitted Engine::submit(Request request, std::shared_ptr<ResponseSink> sink) {
  Impl& e = *impl_;
  if (e.draining.load(std::memory_order_relaxed)) return {0, Refusal::kDraining, "the engine takes no new requests: it is being drained"};
  Submitted checked = e.scheduler->check(request);
  if (checked.refusal != Refusal::kNone) return checked;
  const uint64_t tokens = request.prompt.size();
  std::unique_lock lock(e.mutex);
  const uint32_t requests_waiting = e.queued_requests.load(std::memory_order_relaxed);
  const uint64_t tokens_waiting = e.queued_tokens.load(std::memory_order_relaxed);
  if (requests_waiting >= e.options.queue_requests_max) {
    return {0, Refusal::kQueueFull, fmt::format("{} requests wait: the limit is {}", requests_waiting, e.options.queue_requests_max)};
  }
  if (tokens_waiting > 0 && tokens_waiting + tokens > e.options.queue_tokens_max) {
    return {0, Refusal::kQueueFull,
            fmt::format("{} tokens wait, {} more would be beyond the limit of {}", tokens_waiting, tokens, e.options.queue_tokens_max)};
  }
  e.queued_requests.fetch_add(1, std::memory_order_relaxed);
  e.queued_tokens.fetch_add(tokens, std::memory_order_relaxed);
  checked.id = e.next_id++;
  e.arrivals.push_back({checked.id, std::move(request), std::move(sink)});
  e.post(lock);
  return checked;
}

void Engine::cancel(RequestId id) {
  std::unique_lock lock(impl_->mutex);
  impl_->cancelled.push_back(id);
  impl_->post(lock);
}

void Engine::drain() { impl_->draining.store(true, std::memory_order_relaxed); }

EngineStatistics Engine::statistics() const {
  EngineStatistics out = impl_->statistics.read();
  out.queued_requests = impl_->queued_requests.load(std::memory_order_relaxed);
  out.queued_tokens = impl_->queued_tokens.load(std::memory_order_relaxed);
  return out;
}

const EngineOptions& Engine::options() const { return impl_->options; }

void Engine::with_store(const std::function<void(StateStore&)>& run) {
  impl_->between_steps([&](Scheduler& scheduler) { run(scheduler.store()); });
}

void Engine::forget(uint32_t tenant, std::span<const int32_t> tokens) {
  impl_->between_steps([&](Scheduler& scheduler) { scheduler.forget(tenant, tokens); });
}

void Engine::Impl::between_steps(const std::function<void(Scheduler&)>& run) {
  struct Gate {
    std::mutex mutex;
    std::condition_variable done;
    bool ran = false;
  } gate;
  std::unique_lock lock(mutex);
  work.push_back([&] {
    run(*scheduler);
    const std::lock_guard hold(gate.mutex);
    gate.ran = true;
    gate.done.notify_one();
  });
  post(lock);
  std::unique_lock wait(gate.mutex);
  gate.done.wait(wait, [&] { return gate.ran; });
}

}  // namespace sluice::engine
