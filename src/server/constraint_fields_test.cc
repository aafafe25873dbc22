// Rows G1 to G7 of the reliability list at the server's border: what a request asks of the output is enforced, or refused by name; never ignored.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "server/server_testing.h"

namespace sluice::server {
namespace {

using namespace testing;
using Json = nlohmann::ordered_json;

std::string body(std::string_view fields) { return fmt::format(R"({{"messages":[{{"role":"user","content":"hi"}}],{}}})", fields); }

// The error's param and message, or "" if it was not a 400.
std::string refusal(TestServer& server, std::string_view fields) {
  const Reply reply = server.chat(body(fields));
  if (reply.status != 400) return "";
  const Json error = Json::parse(reply.body)["error"];
  return (error["param"].is_string() ? error["param"].get<std::string>() : "") + ": " + error["message"].get<std::string>();
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// A misspelt or renamed field was answered with HTTP 200 and free text elsewhere.
TEST(ConstraintFields, UnknownOnesAreA400ThatNamesThem) {
  TestServer server;
  EXPECT_TRUE(contains(refusal(server, R"("guided_jsn":{"type":"object"})"), "guided_jsn"));
  EXPECT_TRUE(contains(refusal(server, R"("structured_output":{"json":{}})"), "structured_output"));
  EXPECT_TRUE(contains(refusal(server, R"("structured_outputs":{"jsn":{}})"), "jsn"));
  EXPECT_TRUE(contains(refusal(server, R"("response_format":{"type":"xml"})"), "response_format.type"));
  EXPECT_TRUE(contains(refusal(server, R"("response_format":{"type":"json_schema","json_schema":{"schemas":{}}})"), "response_format.json_schema"));
  EXPECT_TRUE(contains(refusal(server, R"("response_format":{"type":"json_object","strict":1})"), "response_format.strict"));
}

// A constraint that is named and then missing must not be an answer without one.
TEST(ConstraintFields, NamedButMissingOnesAreRefused) {
  TestServer server;
  EXPECT_TRUE(contains(refusal(server, R"("response_format":{"type":"regex"})"), "response_format.pattern"));
  EXPECT_TRUE(contains(refusal(server, R"("response_format":{"type":"grammar"})"), "response_format.grammar"));
  EXPECT_TRUE(contains(refusal(server, R"("response_format":{"type":"json_schema"})"), "response_format.json_schema"));
  EXPECT_TRUE(contains(refusal(server, R"("response_format":{"type":"structural_tag"})"), "structures"));
  EXPECT_TRUE(contains(refusal(server, R"("structured_outputs":{})"), "structured_outputs asks for nothing"));
  EXPECT_TRUE(contains(refusal(server, R"("structured_outputs":{"json_object":false})"), "structured_outputs asks for nothing"));
}

TEST(ConstraintFields, UnsupportedKeywordsAreA400ThatNamesThemAndTheField) {
  TestServer server;
  const std::string schema = refusal(server, R"("guided_json":{"type":"array","uniqueItems":true})");
  EXPECT_TRUE(contains(schema, "guided_json") && contains(schema, "'uniqueItems'")) << schema;
  const std::string inner = refusal(server, R"("response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"a":{"contains":{}}}}}})");
  EXPECT_TRUE(contains(inner, "response_format.json_schema.schema") && contains(inner, "'contains'")) << inner;
  const std::string regex = refusal(server, R"x("guided_regex":"a(?=b)")x");
  EXPECT_TRUE(contains(regex, "guided_regex") && contains(regex, "lookahead")) << regex;
  const std::string grammar = refusal(server, R"("grammar":"root ::= other")");
  EXPECT_TRUE(contains(grammar, "grammar") && contains(grammar, "other")) << grammar;
  const std::string tags = refusal(server, R"("structured_outputs":{"structural_tag":"{\"structure\":[]}"})");
  EXPECT_TRUE(contains(tags, "structured_outputs.structural_tag")) << tags;
  const std::string two = refusal(server, R"("guided_regex":"a","guided_choice":["a"])");
  EXPECT_TRUE(contains(two, "guided_regex and guided_choice")) << two;
}

// Deep nesting and expensive patterns end in a sentence, not in a crash or a hang.
TEST(ConstraintFields, HostileOnesAreRefusedWithinTheBudget) {
  TestServer server;
  std::string deep = "a";
  for (int i = 0; i < 200; ++i) deep = "(" + deep + ")*";
  EXPECT_NE(refusal(server, fmt::format(R"("guided_regex":"{}")", deep)), "");
  EXPECT_TRUE(contains(refusal(server, R"("guided_regex":"(a|b)*a(a|b){60}")"), "guided_regex"));
  std::string nested = "{}";
  for (int i = 0; i < 100; ++i) nested = R"({"items":)" + nested + "}";
  EXPECT_NE(refusal(server, fmt::format(R"("guided_json":{})", nested)), "");
}

TEST(ConstraintFields, ToolsThatCannotBeEnforcedAreNamed) {
  TestServer server;
  const auto tool = [](const std::string& strict) {
    return R"("tools":[{"type":"function","function":{"name":"f","strict":)" + strict +
           R"(,"parameters":{"type":"object","properties":{"x":{"uniqueItems":true}}}}}])";
  };
  const std::string strict = refusal(server, tool("true"));
  EXPECT_TRUE(contains(strict, "tools") && contains(strict, "'f'") && contains(strict, "'uniqueItems'")) << strict;
  EXPECT_EQ(server.chat(body(tool("false"))).status, 200);
  EXPECT_TRUE(server.backend.last().constraint);
}

}  // namespace
}  // namespace sluice::server
