// Configuration files: what is taken, and the sentences for what is not.
#include "server/config_file.h"

#include <gtest/gtest.h>

namespace sluice::server {
namespace {

const std::vector<std::string> kNames = {"port", "host", "memory", "ctx", "users", "insecure", "tls-certificate", "tls-key", "host-allowed", "log-level"};

std::string error_of(std::string_view text) {
  const Result<std::vector<Setting>> settings = parse_config(text, "sluice.toml", kNames);
  return settings.ok() ? "" : settings.error().message;
}

TEST(ConfigFile, EveryKindOfValueInTheFilesOrder) {
  const std::string text = "# office server\nport = 8080\nmemory = \"4G\"\ninsecure = true\nhost_allowed = [\"a\", 'b']\nctx = 16_384 # tokens\n";
  const Result<std::vector<Setting>> settings = parse_config(text, "sluice.toml", kNames);
  ASSERT_TRUE(settings.ok()) << settings.error().message;
  ASSERT_EQ(settings->size(), 5u);
  EXPECT_EQ((*settings)[0].name, "port");
  EXPECT_EQ((*settings)[0].values, std::vector<std::string>{"8080"});
  EXPECT_EQ((*settings)[0].line, 2u);
  EXPECT_EQ((*settings)[2].values, std::vector<std::string>{"true"});
  EXPECT_EQ((*settings)[3].values, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ((*settings)[4].values, std::vector<std::string>{"16384"});
  EXPECT_TRUE(parse_config("", "x", kNames)->empty());
}

TEST(ConfigFile, AnUnknownNameIsRefusedWithItsNearestNeighbour) {
  EXPECT_EQ(error_of("port = 1\nmemroy = \"4G\"\n"), "sluice.toml:2: memroy: no such setting; did you mean memory?");
  EXPECT_EQ(error_of("tls_certificat = \"x\""), "sluice.toml:1: tls_certificat: no such setting; did you mean tls-certificate?");
  EXPECT_EQ(error_of("entirely_different = 1"), "sluice.toml:1: entirely_different: no such setting (`sluice serve --help` lists them)");
}

TEST(ConfigFile, WhatAFlagCannotBeIsRefused) {
  EXPECT_NE(error_of("[server]\nport = 1").find("there are no sections"), std::string::npos);
  EXPECT_NE(error_of("server.port = 1").find("there are no sections"), std::string::npos);
  EXPECT_NE(error_of("port = 2026-01-01").find("must be a text, a number"), std::string::npos);
  EXPECT_NE(error_of("port = [[1]]").find("must be a text, a number"), std::string::npos);
  EXPECT_NE(error_of("[[port]]\n").find("must be"), std::string::npos);
  EXPECT_NE(error_of("host-allowed = [\"a\"]\nhost_allowed = [\"b\"]").find("set twice"), std::string::npos);
}

TEST(ConfigFile, BrokenTomlSaysTheLine) {
  EXPECT_EQ(error_of("port = 1\nmemory = 4G\n").rfind("sluice.toml:2: ", 0), 0u) << error_of("port = 1\nmemory = 4G\n");
  EXPECT_EQ(error_of("port = 1\nport = 2\n").rfind("sluice.toml:2: ", 0), 0u);
  for (const char* bad : {"port", "port =", "= 1", "port = \"x", "port = 'x\n'", "\xff\xfe", "port = 99999999999999999999", "a = {b = {c = 1}", "port = 1 2"}) {
    EXPECT_NE(error_of(bad), "") << bad;
  }
  EXPECT_NE(error_of("port = " + std::string(100'000, '[')), "");
  EXPECT_NE(error_of(std::string(kConfigFileBytesMax + 1, '#')), "");
}

TEST(ConfigFile, NearestName) {
  EXPECT_EQ(nearest_name("prot", kNames), "port");
  EXPECT_EQ(nearest_name("usres", kNames), "users");
  EXPECT_EQ(nearest_name("xyzzy", kNames), "");
}

}  // namespace
}  // namespace sluice::server
