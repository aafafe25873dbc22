// The playground: one page that asks nothing of anybody else, and runs only the script it carries.
#include <gtest/gtest.h>

#include "server/server_testing.h"

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

}  // namespace
}  // namespace sluice::server
