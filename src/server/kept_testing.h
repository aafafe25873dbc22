// A test server that keeps things: files, batches, responses, conversations.
#pragma once

#include "server/batch_runner.h"
#include "server/routes.h"
#include "server/server_testing.h"
#include "server/state_routes.h"

namespace sluice::server::testing {

class KeptServer {
 public:
  explicit KeptServer(KeptOptions options = {}, const std::string& chat_template = kChatMl)
      : tokenizer(byte_tokenizer(chat_template)), backend(tokenizer, {.context = 4096, .sequences_max = 8, .queue_requests_max = 64}) {
    auto made = Api::create(backend, gate, tokenizer, {.id = "test-model", .aliases = {"gpt-4o"}, .fingerprint = "sluice-test", .created = 1});
    SLUICE_CHECK(made.ok());
    api = std::move(*made);
    auto opened = Kept::open(std::move(options));
    if (!opened.ok()) fmt::print(stderr, "{}\n", opened.error().message);
    SLUICE_CHECK(opened.ok());
    kept = std::move(*opened);
    add_routes(router, *api, kept.get(), {});
    router.add(state_routes(*api, *kept, 0));
    auto started = HttpServer::start({.listen = {{.port = 0}}}, router, gate, nullptr);
    SLUICE_CHECK(started.ok());
    http = std::move(*started);
    batches = std::make_unique<BatchRunner>(*api, *kept, router, [this](uint32_t tenant, uint32_t key) {
      Identity out{.tenant = tenant, .key = key, .limits = {}};
      return revoked ? std::nullopt : std::optional(out);
    });
    batches->start();
  }
  ~KeptServer() {
    batches.reset();
    http.reset();
    backend.stop();  // before the routes' tables go
  }

  const std::string& address() const { return http->addresses().at(0); }
  Reply get(std::string_view path, std::string_view headers = {}) const { return Client(address()).request("GET", path, {}, headers); }
  Reply post(std::string_view path, std::string_view body, std::string_view headers = {}) const {
    return Client(address()).request("POST", path, body, headers);
  }
  Reply remove(std::string_view path) const { return Client(address()).request("DELETE", path); }
  Reply chat(std::string_view body) const { return post("/v1/chat/completions", body); }

  std::atomic<bool> revoked{false};
  text::Tokenizer tokenizer;
  TestGate gate;
  FakeBackend backend;
  std::unique_ptr<Api> api;
  std::unique_ptr<Kept> kept;
  Router router;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<BatchRunner> batches;
};

}  // namespace sluice::server::testing
