// What the server itself costs for a token of a stream: from the engine's sink to the socket, without an engine. A producer hands every stream one token and
// waits until the clients have it, as steps of a model would, so that no two tokens share a wake or a write.
// us_per_token is CPU time of the whole process without the clients' threads; write(2) and the kernel's side of TCP are in it.
//   server_bench                                                          times, by streams
//   valgrind --tool=callgrind server_bench --benchmark_filter=Stream/1    instructions
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "platform/clock.h"
#include "server/api.h"
#include "server/http.h"
#include "server/open_gate.h"
#include "server/openai_routes.h"
#include "server/testing_client.h"

namespace sluice::server {
namespace {

using namespace testing;

double thread_seconds() { return static_cast<double>(platform::thread_cpu_ns()) / 1e9; }
double process_seconds() { return static_cast<double>(platform::process_cpu_ns()) / 1e9; }

text::Tokenizer byte_tokenizer() {
  text::TokenizerSpec spec;
  for (int i = 0; i < 256; ++i) {
    spec.tokens.emplace_back(1, static_cast<char>(i));
    spec.types.push_back(text::TokenType::kNormal);
  }
  spec.chat_templates.push_back({"default", "{%- for message in messages -%}{{ message['content'] }}{%- endfor -%}"});
  return std::move(text::Tokenizer::create(std::move(spec))).value();
}

// Holds what is submitted until step() is called.
class SteppedBackend final : public Backend {
 public:
  explicit SteppedBackend(engine::EngineOptions options) : options_(std::move(options)) {}
  engine::Submitted submit(engine::Request, std::shared_ptr<engine::ResponseSink> sink) override {
    const std::lock_guard lock(mutex_);
    sinks_.push_back(std::move(sink));
    return {sinks_.size(), engine::Refusal::kNone, ""};
  }
  void cancel(engine::RequestId) override {}
  void drain() override {}
  engine::EngineStatistics statistics() const override { return {}; }
  const engine::EngineOptions& options() const override { return options_; }
  void with_store(const std::function<void(engine::StateStore&)>&) override {}
  void forget(uint32_t, std::span<const int32_t>) override {}

  size_t streams() {
    const std::lock_guard lock(mutex_);
    return sinks_.size();
  }
  void step() {
    for (const auto& sink : sinks_) sink->token({.choice = 0, .id = ' ', .text = " word"});
  }
  void end() {
    for (const auto& sink : sinks_) {
      sink->choice_done({.reason = engine::FinishReason::kLength, .tokens = 1});
      sink->done({.prompt_tokens = 1});
    }
    sinks_.clear();
  }

 private:
  const engine::EngineOptions options_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<engine::ResponseSink>> sinks_;
};

// One thread that reads all streams and counts their events.
class Reader {
 public:
  Reader(const std::string& address, size_t streams) {
    const std::string body = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";
    for (size_t i = 0; i < streams; ++i) {
      clients_.push_back(std::make_unique<Client>(address));
      clients_.back()->send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
    }
    thread_ = std::thread([this] { run(); });
  }
  ~Reader() { thread_.join(); }
  uint64_t events() const { return events_.load(std::memory_order_acquire); }
  double cpu_s() const { return cpu_s_.load(); }

 private:
  void run() {
    std::vector<pollfd> wait;
    for (const auto& client : clients_) wait.push_back({client->fd(), POLLIN, 0});
    size_t open = wait.size();
    while (open > 0 && ::poll(wait.data(), wait.size(), kPatienceMs) > 0) {
      for (pollfd& one : wait) {
        if (one.revents == 0) continue;
        char bytes[16384];
        const ssize_t n = ::recv(one.fd, bytes, sizeof(bytes), 0);
        const std::string_view text(bytes, n > 0 ? static_cast<size_t>(n) : 0);
        uint64_t found = 0;
        for (size_t at = text.find("\"content\":\" word\""); at != std::string_view::npos; at = text.find("\"content\":\" word\"", at + 1)) ++found;
        if (n <= 0 || text.find("[DONE]") != std::string_view::npos) {
          one.fd = -1;
          --open;
        }
        if (found > 0) events_.fetch_add(found, std::memory_order_release);
      }
      cpu_s_.store(thread_seconds());
    }
  }
  std::vector<std::unique_ptr<Client>> clients_;
  std::atomic<uint64_t> events_{0};
  std::atomic<double> cpu_s_{0};
  std::thread thread_;
};

void Stream(benchmark::State& state) {
  const auto streams = static_cast<size_t>(state.range(0));
  const text::Tokenizer tokenizer = byte_tokenizer();
  OpenGate gate;
  SteppedBackend backend({.context = 4096, .sequences_max = 64, .queue_requests_max = 64});
  const auto api = Api::create(backend, gate, tokenizer, {.id = "bench"});
  Router router;
  router.add(openai_routes(**api, nullptr));
  HttpOptions options;
  options.listen = {{.host = "127.0.0.1", .port = 0}};
  auto http = HttpServer::start(options, router, gate, nullptr);
  uint64_t tokens = 0;
  double server_s = 0;
  {
    Reader reader((*http)->addresses().at(0), streams);
    while (backend.streams() < streams) std::this_thread::yield();
    const auto step = [&] {
      backend.step();
      tokens += streams;
      while (reader.events() < tokens) std::this_thread::sleep_for(std::chrono::microseconds(20));
    };
    for (int warm = 0; warm < 20; ++warm) step();
    const uint64_t before = tokens;
    const double process_s = process_seconds(), reader_s = reader.cpu_s(), own_s = thread_seconds();
    double produced_s = 0;
    for (auto _ : state) {
      const double begun = thread_seconds();
      backend.step();
      produced_s += thread_seconds() - begun;
      tokens += streams;
      while (reader.events() < tokens) std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    const double all_s = process_seconds() - process_s;
    server_s = all_s - (reader.cpu_s() - reader_s) - (thread_seconds() - own_s) + produced_s;
    tokens -= before;
    backend.end();
  }
  state.counters["us_per_token"] = server_s * 1e6 / static_cast<double>(tokens);
}
BENCHMARK(Stream)->Arg(1)->Arg(8)->Iterations(4000)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace sluice::server
