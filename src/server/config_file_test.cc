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
  EXPECT_NE(error_of("[[port]]\n").find("there are no sections"), std::string::npos);
  for (const char* value : {"2026-01-01", "07:32:00", "[[1]]", "{a = 1}", "4G", "inf", "nan", "0xg", "1__0", "_1", "1_", "01", "1.", ".5", "0x-1", "1e",
                            "--1", "+-1", "-.5", "tru", "1e999", "9223372036854775808x"}) {
    EXPECT_NE(error_of("port = " + std::string(value)).find("must be a text in quotes, a number"), std::string::npos) << value;
  }
  EXPECT_NE(error_of("host-allowed = [\"a\"]\nhost_allowed = [\"b\"]").find("set twice"), std::string::npos);
}

TEST(ConfigFile, NumbersAndTextsAreTomls) {
  const auto value = [](std::string_view text) {
    const Result<std::vector<Setting>> settings = parse_config("port = " + std::string(text), "x", kNames);
    return settings.ok() ? (*settings)[0].values[0] : settings.error().message;
  };
  EXPECT_EQ(value("0"), "0");
  EXPECT_EQ(value("-17"), "-17");
  EXPECT_EQ(value("+5"), "5");
  EXPECT_EQ(value("0x1F"), "31");
  EXPECT_EQ(value("0o17"), "15");
  EXPECT_EQ(value("0b101"), "5");
  EXPECT_EQ(value("1_000_000"), "1000000");
  EXPECT_EQ(value("2.5"), "2.5");
  EXPECT_EQ(value("1e-3"), "0.001");
  EXPECT_EQ(value(R"("a\tb \"q\" \u00e9 \U0001F600")"), "a\tb \"q\" \xc3\xa9 \xf0\x9f\x98\x80");
  EXPECT_EQ(value(R"('C:\new # not a comment')"), "C:\\new # not a comment");
  EXPECT_EQ(value("\"x\" # a comment"), "x");
  EXPECT_EQ(parse_config("\"port\" = [1,\r\n 2, # two\n 3,\n]\r\n", "x", kNames)->at(0).values, (std::vector<std::string>{"1", "2", "3"}));
}

TEST(ConfigFile, BrokenTomlSaysTheLine) {
  EXPECT_EQ(error_of("port = 1\nmemory = 4G\n").rfind("sluice.toml:2: ", 0), 0u) << error_of("port = 1\nmemory = 4G\n");
  EXPECT_EQ(error_of("port = 1\nport = 2\n").rfind("sluice.toml:2: ", 0), 0u);
  for (const char* bad : {"port", "port =", "= 1", "port = \"x", "port = 'x\n'", "\xff\xfe", "a = {b = {c = 1}", "port = 1 2", "port = \"\\q\"",
                          "port = \"\\ud800\"", "port = \"\\u0000\"", "port = [1 2]", "port = [1", "port = [,]", "port = 1 = 2",
                          "# \xc0\x80", "port = \"\x01\"", "[/]"}) {
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
