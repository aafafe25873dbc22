// For tests of the server: a tokenizer of bytes, a fake engine that writes what it is told, a gate with one key, a server in this process and a client
// that sends what no decent client would.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "server/api.h"
#include "server/http.h"
#include "server/open_gate.h"
#include "server/router.h"
#include "server/testing_client.h"

namespace sluice::server::testing {

// One token a byte, then <|im_start|>, <|im_end|>, <think>; ChatML's template.
text::Tokenizer byte_tokenizer(const std::string& chat_template);
extern const char* const kChatMl;

class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(const text::Tokenizer& tokenizer, engine::EngineOptions options);
  ~FakeBackend() override;

  engine::Submitted submit(engine::Request request, std::shared_ptr<engine::ResponseSink> sink) override;
  void cancel(engine::RequestId id) override;
  void drain() override { draining_ = true; }
  void stop();  // ends what runs; its sinks are not called afterwards
  engine::EngineStatistics statistics() const override;
  const engine::EngineOptions& options() const override { return options_; }
  void with_store(const std::function<void(engine::StateStore&)>&) override {}
  void forget(uint32_t, std::span<const int32_t> state) override { forgotten.emplace_back(state.begin(), state.end()); }

  // What to write; the default repeats the prompt's last 16 bytes. Set before requests come.
  std::function<std::string(const engine::Request&, uint32_t choice)> answer;
  // Not empty: answers the whole request instead, in this backend's thread.
  std::function<void(engine::RequestId, engine::Request, std::shared_ptr<engine::ResponseSink>)> serve;
  std::atomic<uint32_t> token_us{0};       // time that a token takes
  std::atomic<uint32_t> submitted{0}, cancelled{0}, tokens{0};
  std::atomic<bool> refuse_all{false};
  std::vector<std::vector<int32_t>> forgotten;  // states; read when no request runs
  // A copy of the last request.
  engine::Request last() const;

 private:
  struct Job {
    engine::RequestId id;
    engine::Request request;
    std::shared_ptr<engine::ResponseSink> sink;
  };
  void run();
  void run_one(Job& job);

  const text::Tokenizer& tokenizer_;
  const engine::EngineOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable came_;
  std::vector<Job> queue_;
  std::set<engine::RequestId> cancelled_ids_;
  engine::Request last_;
  engine::RequestId next_ = 1;
  bool stopping_ = false, draining_ = false;
  std::thread thread_;
};

// Knows one key, "sk-good"; remembers prices; refuses when told to.
class TestGate final : public Gate {
 public:
  bool closed() const override { return has_keys; }
  Authenticated authenticate(const Credentials& credentials, bool admin_route) override;
  Admission admit(const Identity& identity, const Price& price) override;
  void finished(const Identity&, uint64_t, const Usage&) override { ++finishes; }
  std::vector<Header> headers(const Identity&) override { return {{"x-ratelimit-remaining-requests", "41"}}; }

  std::atomic<bool> has_keys{false}, full{false};
  std::atomic<uint32_t> admissions{0}, finishes{0};
  std::mutex mutex;
  Price last_price;
};

// All of it together, on a free port of the loopback address.
class TestServer {
 public:
  struct Setup {
    HttpOptions http;
    engine::EngineOptions engine{.context = 4096, .sequences_max = 8, .queue_requests_max = 64};
    std::string chat_template = kChatMl;
    std::vector<Route> more_routes;
  };
  TestServer() : TestServer(Setup{}) {}
  explicit TestServer(Setup setup);
  ~TestServer();

  const std::string& address() const { return http->addresses().at(0); }
  Reply get(std::string_view path, std::string_view headers = {}) const { return Client(address()).request("GET", path, {}, headers); }
  Reply post(std::string_view path, std::string_view body, std::string_view headers = {}) const {
    return Client(address()).request("POST", path, body, headers);
  }
  Reply chat(std::string_view body) const { return post("/v1/chat/completions", body); }

  text::Tokenizer tokenizer;
  TestGate gate;
  FakeBackend backend;
  std::unique_ptr<Api> api;
  Router router;
  std::unique_ptr<HttpServer> http;
};

}  // namespace sluice::server::testing
