// Sockets: keep-alive, limits of time, slow and vanished clients, draining, Unix sockets.
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "server/json_fields.h"
#include "server/server_testing.h"

namespace sluice::server {
namespace {

using namespace testing;
using Clock = std::chrono::steady_clock;

constexpr const char* kHello = R"({"messages":[{"role":"user","content":"hello"}],"max_tokens":20)";

template <class Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

TEST(Http, KeepAliveHeadAndUnknownPaths) {
  TestServer server;
  Client client(server.address());
  for (int i = 0; i < 3; ++i) {
    const Reply reply = client.request("GET", "/health");
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, R"({"status":"ok"})");
    EXPECT_EQ(reply.header("connection"), "keep-alive");
    EXPECT_TRUE(reply.header("x-request-id").starts_with("req_"));
  }
  const Reply head = client.request("HEAD", "/health");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), "15");
  EXPECT_EQ(client.request("GET", "/nothing").status, 404);
  const Reply wrong = client.request("GET", "/v1/chat/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_NE(wrong.body.find("POST"), std::string::npos);
  EXPECT_EQ(wrong.header("allow"), "POST");
  EXPECT_EQ(Client(server.address()).request("POST", "/health", "{}").header("allow"), "GET, HEAD");
  EXPECT_EQ(client.request("GET", "/v1/models/gpt-4o").status, 200);
  EXPECT_EQ(client.request("GET", "/openai/v1/models/none").status, 404);
  EXPECT_EQ(client.request("GET", "/health", {}, "Connection: close\r\n").status, 200);
  EXPECT_TRUE(client.ended());
  Client old(server.address());
  old.send("GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(old.read_reply().status, 200);
  EXPECT_TRUE(old.ended());
}

TEST(Http, ExpectContinue) {
  const TestServer server;
  Client client(server.address());
  const std::string body = std::string(kHello) + "}";
  client.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.size()));
  EXPECT_TRUE(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 100"));
  client.send(body);
  EXPECT_EQ(client.read_reply().status, 200);
}

TEST(Http, UnixSocket) {
  const std::string path = fmt::format("{}/sluice-{}.sock", std::filesystem::temp_directory_path().string(), ::getpid());
  TestServer::Setup setup;
  setup.http.listen = {{.unix_path = path}};
  {
    const TestServer server(std::move(setup));
    EXPECT_EQ(server.address(), "unix:" + path);
    EXPECT_EQ(server.get("/health").status, 200);
    EXPECT_EQ(server.chat(std::string(kHello) + "}").status, 200);
    EXPECT_EQ((std::filesystem::status(path).permissions() & std::filesystem::perms::others_all), std::filesystem::perms::none);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TestServer::Setup impatient() {
  TestServer::Setup setup;
  setup.http.header_timeout_ms = 200;
  setup.http.idle_timeout_ms = 400;
  setup.http.body_grace_ms = 200;
  setup.http.body_bytes_per_s_min = 1000;
  setup.http.write_stall_ms = 300;
  return setup;
}

TEST(Http, SlowHeadersBodiesAndIdleConnectionsEnd) {
  const TestServer server(impatient());
  Client header(server.address()), body(server.address()), idle(server.address());
  header.send("GET /health HTT");
  body.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{");
  const auto begun = Clock::now();
  EXPECT_EQ(header.read_reply().status, 408);
  EXPECT_EQ(body.read_reply().status, 408);
  EXPECT_TRUE(idle.ended());
  EXPECT_LT(Clock::now() - begun, std::chrono::seconds(5));
  EXPECT_TRUE(soon([&] { return server.http->connections() == 0; }));
}

TEST(Http, ThousandStalledSocketsLeaveTheServerFree) {
  const TestServer server;
  std::vector<std::unique_ptr<Client>> stalled;
  for (int i = 0; i < 1000; ++i) {
    stalled.push_back(std::make_unique<Client>(server.address()));
    ASSERT_TRUE(stalled.back()->connected());
    stalled.back()->send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Le");
  }
  EXPECT_TRUE(soon([&] { return server.http->connections() == 1000; }));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(server.get("/health").status, 200);
  EXPECT_EQ(server.chat(std::string(kHello) + "}").status, 200);
}

TEST(Http, ConnectionsAreCappedInTotalAndPerAddress) {
  TestServer::Setup setup;
  setup.http.connections_per_address_max = 3;
  const TestServer server(std::move(setup));
  std::vector<std::unique_ptr<Client>> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(std::make_unique<Client>(server.address()));
    EXPECT_EQ(held.back()->request("GET", "/health").status, 200);
  }
  const Reply refused = Client(server.address()).read_reply();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.header("retry-after"), "1");
  EXPECT_NE(refused.body.find("too many connections"), std::string::npos);
  held.pop_back();
  EXPECT_TRUE(soon([&] { return server.get("/health").status == 200; }));
}

TEST(Http, AClientThatLeavesCancelsItsRequest) {
  for (const bool stream : {true, false}) {
    for (const bool reset : {true, false}) {
      TestServer server;
      server.backend.answer = [](const engine::Request&, uint32_t) { return std::string(100'000, 'x'); };
      server.backend.token_us = 1000;
      Client client(server.address());
      const std::string body = fmt::format(R"({{"messages":[{{"role":"user","content":"hi"}}],"stream":{}}})", stream);
      client.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
      EXPECT_TRUE(soon([&] { return server.backend.tokens.load() > 3; }));
      if (reset) {
        const linger now{1, 0};
        ::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        client.close();
      } else {
        ::shutdown(client.fd(), SHUT_WR);
      }
      EXPECT_TRUE(soon([&] { return server.backend.cancelled.load() == 1; })) << stream << reset;
      EXPECT_TRUE(soon([&] { return server.gate.finishes.load() == 1; }));
      EXPECT_TRUE(soon([&] { return server.http->connections() == 0; }));
      EXPECT_LT(server.backend.tokens.load(), 10'000u);
    }
  }
}

TEST(Http, AReaderThatDoesNotReadIsBounded) {
  TestServer server(impatient());
  server.backend.answer = [](const engine::Request&, uint32_t) { return std::string(4000, 'x'); };
  server.backend.token_us = 20;
  Client client(server.address());
  const int small = 4096;
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  const std::string body = R"({"messages":[{"role":"user","content":"hi"}],"stream":true,"logprobs":true,"top_logprobs":20})";
  client.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  EXPECT_TRUE(soon([&] { return server.http->connections() == 0; }));
  EXPECT_TRUE(soon([&] { return server.gate.finishes.load() == 1; }));
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Http, DrainLetsAnswersEndAndRefusesNewOnes) {
  TestServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return std::string(100, 'x'); };
  server.backend.token_us = 5000;
  Client busy(server.address()), kept(server.address());
  EXPECT_EQ(kept.request("GET", "/health").status, 200);
  const std::string body = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";
  busy.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  EXPECT_TRUE(soon([&] { return server.backend.tokens.load() > 0; }));
  server.http->drain();
  EXPECT_TRUE(soon([&] { return server.get("/health").status == 503; }));
  EXPECT_EQ(server.chat(body).status, 503);
  EXPECT_TRUE(kept.ended());
  const Reply reply = busy.read_reply();
  EXPECT_EQ(events_of(reply.body).back(), "[DONE]");
  EXPECT_EQ(reply.body.find("error"), std::string::npos);
  EXPECT_TRUE(server.http->wait_for(5000));
}

TEST(Http, DrainEndsWhatTakesTooLongWithAnError) {
  TestServer::Setup setup;
  setup.http.drain_ms = 100;
  TestServer server(std::move(setup));
  server.backend.answer = [](const engine::Request&, uint32_t) { return std::string(100'000, 'x'); };
  server.backend.token_us = 1000;
  Client busy(server.address());
  const std::string body = R"({"messages":[{"role":"user","content":"hi"}],"stream":true})";
  busy.send(fmt::format("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  EXPECT_TRUE(soon([&] { return server.backend.tokens.load() > 0; }));
  server.http->drain();
  const Reply reply = busy.read_reply();
  EXPECT_NE(reply.body.find("server_draining"), std::string::npos);
  EXPECT_EQ(events_of(reply.body).back(), "[DONE]");
  EXPECT_TRUE(server.http->wait_for(8000));
}

TEST(Http, OpenApiDescribesEveryRoute) {
  const TestServer server;
  const Json api = Json::parse(server.get("/openapi.json").body);
  size_t operations = 0;
  for (const auto& [path, methods] : api["paths"].items()) operations += methods.size();
  size_t routes = 0;
  for (const Route& route : server.router.routes()) {
    routes += route.access == Access::kAdmin ? 0 : 1;
    if (!route.request_schema.empty()) {
      EXPECT_TRUE(Json::accept(route.request_schema)) << route.pattern;
    }
  }
  EXPECT_EQ(operations, routes);
}

}  // namespace
}  // namespace sluice::server
