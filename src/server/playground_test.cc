// The playground: one page that asks nothing of anybody else, and runs only the script it carries.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/server_testing.h"
#include "server/status_route.h"

namespace sluice::server {
namespace {

using namespace testing;

TEST(Playground, IsOnePageThatLoadsNothingFromElsewhere) {
  TestServer server;
  const Reply reply = server.get("/");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.body.find("<title>Sluice playground</title>"), std::string::npos);
  for (const char* part : {"src=\"http", "href=\"http", "//cdn", "@import", "url(http"}) EXPECT_EQ(reply.body.find(part), std::string::npos) << part;
}

TEST(Playground, WithKeysTheRefusalCarriesThePageSoThatItCanAskForOne) {
  TestServer server;
  server.gate.has_keys = true;
  const Reply refused = server.get("/");
  EXPECT_EQ(refused.status, 401);
  EXPECT_NE(refused.body.find("API key"), std::string::npos);
  EXPECT_EQ(server.get("/", "Authorization: Bearer sk-good\r\n").status, 200);
}

TEST(Playground, TheStatusOfItsBarsAddsUp) {
  engine::EngineStatistics now;
  now.running_sequences = 3;
  now.queued_requests = 5;
  now.store.state_bytes = 100;
  now.store.page_bytes = 20;
  now.store.tree_bytes = 3;
  TestServer::Setup setup;
  setup.more_routes = {status_route({.weights = 1000, .conversations = 400, .kept = 200, .activations = 50}, 4,
      {.read_bytes_per_s = 3000, .step_bytes = 900, .conversation_bytes = 100, .position_bytes = 2}, [now] { return now; })};
  TestServer server(std::move(setup));
  const auto json = nlohmann::ordered_json::parse(server.get("/status").body);
  EXPECT_EQ(json["memory"]["planned"], 1650);
  EXPECT_GT(json["memory"]["resident"], 1 << 20);
  uint64_t planned = 0;
  for (const auto& part : json["memory"]["parts"]) planned += part["planned"].get<uint64_t>();
  EXPECT_EQ(planned, 1650u);
  EXPECT_EQ(json["memory"]["parts"][1]["used"], 300);
  EXPECT_EQ(json["memory"]["parts"][2]["used"], 123);
  EXPECT_EQ(json["running"], 3);
  EXPECT_EQ(json["queued"], 5);
  EXPECT_EQ(json["decode"]["step_bytes"], 900);
  EXPECT_EQ(json["decode"]["tokens_per_s_max"], 3.0);  // 3000 bytes a second, 1000 of them a token
  server.gate.has_keys = true;
  EXPECT_EQ(server.get("/status").status, 401);
}

}  // namespace
}  // namespace sluice::server
