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

// A conversation whose answer the client has begun.
std::string begun(std::string_view text, std::string_view fields) {
  Json request = Json::parse(fmt::format("{{{}}}", fields));
  request["messages"] = {{{"role", "user"}, {"content", "hi"}}, {{"role", "assistant"}, {"content", text}}};
  return request.dump();
}

// What must come next of the answer, after the client's beginning of it.
std::string forced_after(TestServer& server, std::string_view text, std::string_view fields) {
  const Reply reply = server.chat(begun(text, fields));
  EXPECT_EQ(reply.status, 200) << reply.body;
  const auto state = server.backend.last().constraint_begun;
  return state ? text::ConstraintState(*state).jump_ahead() : "not begun";
}

TEST(ConstraintFields, APrefillIsReadByTheConstraintFirst) {
  TestServer server;
  EXPECT_EQ(forced_after(server, "apple t", R"("guided_choice":["apple pie","apple tart"])"), "art");
  EXPECT_EQ(forced_after(server, "ab", R"("guided_regex":"abcd[0-9]")"), "cd");
  EXPECT_EQ(forced_after(server, "no", R"("grammar":"root ::= \"no\" \" thanks\"")"), " thanks");
  const char* schema = R"("response_format":{"type":"json_schema","json_schema":{"schema":
      {"type":"object","properties":{"city":{"enum":["Oslo"]}},"required":["city"],"additionalProperties":false}}})";
  EXPECT_EQ(forced_after(server, R"({"ci)", schema), R"(ty": "Oslo"})");
  // White space as the client writes it.
  EXPECT_EQ(forced_after(server, R"({"city":"Os)", schema), "lo\"");
  EXPECT_EQ(forced_after(server, "{\n  \"city\": \"", schema), "Oslo\"");
  // Done already: nothing but the end can come.
  EXPECT_EQ(forced_after(server, "apple pie", R"("guided_choice":["apple pie"])"), "");
  EXPECT_TRUE(server.backend.last().constraint_begun->must_end());
  // A message that is not gone on with is none of the constraint's.
  EXPECT_EQ(forced_after(server, "apple", R"("guided_choice":["pear"],"continue_final_message":false)"), "not begun");
}

TEST(ConstraintFields, APrefillThatTheConstraintCannotBeginWithIsA400ThatNamesThePlace) {
  TestServer server;
  const auto error = [&](std::string_view text, std::string_view fields) {
    const Reply reply = server.chat(begun(text, fields));
    EXPECT_EQ(reply.status, 400) << reply.body;
    return Json::parse(reply.body)["error"];
  };
  const Json choice = error("apple cake", R"("guided_choice":["apple pie","apple tart"])");
  EXPECT_EQ(choice["param"], "messages");
  const std::string message = choice["message"];
  EXPECT_TRUE(contains(message, "guided_choice") && contains(message, "byte 6 ") && contains(message, "'cake'")) << message;
  EXPECT_TRUE(contains(error("Sure: {", R"("response_format":{"type":"json_object"})")["message"], "byte 0 "));
  EXPECT_TRUE(contains(error(R"({"a": 1}, )", R"("response_format":{"type":"json_object"})")["message"], "byte 8 "));
}

TEST(ConstraintFields, APrefillThatBeginsACallIsToldWithTheRestOfIt) {
  TestServer server;
  const char* tools = R"("tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{"at":{"type":"string"}},
      "required":["at"],"additionalProperties":false}}}])";
  server.backend.answer = [](const engine::Request&, uint32_t) { return "e\"}}\n</tool_call>"; };
  const Json called = Json::parse(server.chat(begun("One moment.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {\"at\": \"th", tools)).body);
  const Json& message = called["choices"][0]["message"];
  ASSERT_EQ(message["tool_calls"].size(), 1u) << called.dump();
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], R"({"at": "the"})");
  EXPECT_TRUE(message["content"].is_null() || message["content"] == "") << message.dump();  // the client has its own words already
  EXPECT_EQ(called["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_TRUE(server.backend.last().constraint_begun);

  // What might have begun a call and is a text after all: the answer's part of it alone.
  server.backend.answer = [](const engine::Request&, uint32_t) { return "x> is a tag."; };
  EXPECT_EQ(Json::parse(server.chat(begun("See <to", tools)).body)["choices"][0]["message"]["content"], "x> is a tag.");

  const Reply other = server.chat(begun("<tool_call>\n{\"name\": \"fly", tools));
  EXPECT_EQ(other.status, 400) << other.body;
  EXPECT_TRUE(contains(other.body, "tools does not allow")) << other.body;
}

}  // namespace
}  // namespace sluice::server
