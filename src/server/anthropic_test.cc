// Anthropic's messages over a fake engine: shapes, the order of events, fields and what they become.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "server/json_fields.h"
#include "server/server_testing.h"

namespace sluice::server {
namespace {

using namespace testing;

constexpr const char* kTool =
    R"({"name":"get_weather","description":"now","input_schema":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}})";

std::string body_of(std::string_view fields) { return fmt::format(R"({{"max_tokens":500,"messages":[{{"role":"user","content":"hi"}}]{}}})", fields); }

struct Event {
  std::string name;
  Json data;
};

std::vector<Event> named_events(std::string_view body) {
  std::vector<Event> out;
  while (!body.empty()) {
    const size_t end = std::min(body.find("\n\n"), body.size());
    const std::string_view event = body.substr(0, end);
    body.remove_prefix(std::min(end + 2, body.size()));
    const size_t line = event.find('\n');
    out.push_back({std::string(event.substr(7, line - 7)), Json::parse(event.substr(line + 7))});
    EXPECT_EQ(out.back().name, out.back().data["type"]) << event;
  }
  return out;
}

TestServer::Setup thinking_setup() {
  TestServer::Setup setup;
  setup.chat_template = std::string(kChatMl) + "{#- </think> -#}";
  return setup;
}

TEST(Anthropic, WholeMessage) {
  TestServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "Hello."; };
  const Reply reply = server.post("/v1/messages", body_of(R"(,"model":"gpt-4o","system":"Be brief.","temperature":0.5,"top_k":7,"top_p":0.9,
      "stop_sequences":["x"],"metadata":{"user_id":"u"},"service_tier":"standard_only")"), "anthropic-version: 2023-06-01\r\nx-api-key: none\r\n");
  ASSERT_EQ(reply.status, 200) << reply.body;
  const Json json = Json::parse(reply.body);
  EXPECT_TRUE(json["id"].get<std::string>().starts_with("msg_"));
  EXPECT_FALSE(reply.header("request-id").empty());
  EXPECT_EQ(json["type"], "message");
  EXPECT_EQ(json["role"], "assistant");
  EXPECT_EQ(json["model"], "gpt-4o");
  EXPECT_EQ(json["content"], Json::parse(R"([{"type":"text","text":"Hello."}])"));
  EXPECT_EQ(json["stop_reason"], "end_turn");
  EXPECT_TRUE(json["stop_sequence"].is_null());
  const engine::Request request = server.backend.last();
  EXPECT_EQ(json["usage"]["input_tokens"], request.prompt.size() - 3);  // the fake engine always has three
  EXPECT_EQ(json["usage"]["cache_read_input_tokens"], 3);
  EXPECT_EQ(json["usage"]["cache_creation_input_tokens"], 0);
  EXPECT_EQ(json["usage"]["output_tokens"], 6);
  EXPECT_EQ(request.sampler.top_k, 7u);
  EXPECT_EQ(request.max_tokens, 500u);
  EXPECT_EQ(request.stop.strings, std::vector<std::string>{"x"});
  EXPECT_TRUE(request.pins.empty());
}

TEST(Anthropic, EventsInTheirOrder) {
  TestServer server(thinking_setup());
  server.backend.answer = [](const engine::Request&, uint32_t) {
    return "<think>hm</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
  };
  const Reply reply = server.post("/v1/messages",
      body_of(fmt::format(R"(,"tools":[{}],"thinking":{{"type":"enabled","budget_tokens":20}},"stream":true)", kTool)));
  ASSERT_EQ(reply.header("content-type"), "text/event-stream") << reply.body;
  std::string order, thoughts, text, input, signature;
  for (const Event& event : named_events(reply.body)) {
    std::string what = event.name;
    if (what == "content_block_start") what += ":" + event.data["content_block"]["type"].get<std::string>();
    if (what == "content_block_delta") {
      const Json& delta = event.data["delta"];
      thoughts += delta.value("thinking", "");
      text += delta.value("text", "");
      input += delta.value("partial_json", "");
      signature += delta.value("signature", "");
      what += ":" + delta["type"].get<std::string>();
    }
    if (!order.ends_with(what + " ")) order += what + " ";
    if (what == "message_start") {
      EXPECT_TRUE(event.data["message"]["content"].empty());
      EXPECT_GT(event.data["message"]["usage"]["input_tokens"], 0);
    }
    if (what == "content_block_start:tool_use") {
      EXPECT_EQ(event.data["content_block"]["name"], "get_weather");
      EXPECT_EQ(event.data["index"], 2);
    }
    if (what == "message_delta") {
      EXPECT_EQ(event.data["delta"]["stop_reason"], "tool_use");
      EXPECT_GT(event.data["usage"]["output_tokens"], 50);
    }
  }
  EXPECT_EQ(order,
            "message_start ping content_block_start:thinking content_block_delta:thinking_delta content_block_delta:signature_delta content_block_stop "
            "content_block_start:text content_block_delta:text_delta content_block_stop "
            "content_block_start:tool_use content_block_delta:input_json_delta content_block_stop message_delta message_stop ");
  EXPECT_EQ(thoughts, "hm");
  EXPECT_EQ(text, "Let me see.");
  EXPECT_EQ(Json::parse(input), Json({{"city", "Oslo"}}));
  EXPECT_FALSE(signature.empty());
  ASSERT_TRUE(server.backend.last().thinking);
  EXPECT_EQ(server.backend.last().thinking->tokens_max, 20u);
}

TEST(Anthropic, ToolsAndTheirResults) {
  TestServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) {
    return "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
  };
  const std::string tools = fmt::format(R"(,"tools":[{}])", kTool);
  const auto message = [&](std::string_view choice) { return Json::parse(server.post("/v1/messages", body_of(tools + std::string(choice))).body); };
  const Json whole = message(R"(,"tool_choice":{"type":"any"})");
  ASSERT_EQ(whole["content"].size(), 1u) << whole.dump();
  EXPECT_EQ(whole["content"][0]["type"], "tool_use");
  EXPECT_EQ(whole["content"][0]["input"], Json({{"city", "Oslo"}}));
  EXPECT_EQ(whole["stop_reason"], "tool_use");
  EXPECT_TRUE(server.backend.last().constraint);
  EXPECT_EQ(message(R"(,"tool_choice":{"type":"tool","name":"get_weather"})")["stop_reason"], "tool_use");
  EXPECT_EQ(message(R"(,"tool_choice":{"type":"auto","disable_parallel_tool_use":true})")["stop_reason"], "tool_use");
  EXPECT_EQ(message(R"(,"tool_choice":{"type":"none"})")["content"][0]["type"], "text");
  EXPECT_FALSE(server.backend.last().constraint);
  for (const char* bad : {R"(,"tool_choice":{"type":"tool","name":"other"})", R"(,"tool_choice":{"type":"tool"})",
                          R"(,"tool_choice":{"type":"auto","name":"x"})", R"(,"tool_choice":"auto")"}) {
    EXPECT_EQ(server.post("/v1/messages", body_of(tools + bad)).status, 400) << bad;
  }
  // What the model reads of a conversation with calls.
  EXPECT_EQ(server.post("/v1/messages", R"({"max_tokens":9,"system":[{"type":"text","text":"Be brief."},{"type":"text","text":"Be kind."}],"messages":[
    {"role":"user","content":"Weather?"},
    {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"I look."},
      {"type":"tool_use","id":"t1","name":"get_weather","input":{"city":"Oslo"}}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"rain"}]},
      {"type":"tool_result","tool_use_id":"t2","content":"no such city","is_error":true},{"type":"text","text":"And?"}]}]})").status, 200);
  const std::vector<int32_t> prompt = server.backend.last().prompt;
  EXPECT_EQ(*server.tokenizer.decode(prompt, true),
            "<|im_start|>system\nBe brief.\nBe kind.<|im_end|>\n<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\nI look.\n<tool_call>\n"
            "{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\nrain\n"
            "</tool_response><|im_end|>\n<|im_start|>user\n<tool_response>\nError: no such city\n</tool_response><|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n"
            "<|im_start|>assistant\n");
}

TEST(Anthropic, CacheControlBecomesPins) {
  TestServer server;
  const auto pins = [&](std::string_view body) {
    const Reply reply = server.post("/v1/messages", body);
    EXPECT_EQ(reply.status, 200) << reply.body;
    return server.backend.last().pins;
  };
  // <|im_start|>, "system\n", "sys", <|im_end|>, "\n", <|im_start|>, "user\n": the user's text begins at 19.
  std::vector<engine::Pin> got = pins(R"({"max_tokens":9,"system":[{"type":"text","text":"sys","cache_control":{"type":"ephemeral","ttl":"1h"}}],
    "messages":[{"role":"user","content":"hello"}]})");
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].position, 19u);
  EXPECT_EQ(got[0].ttl_ms, 3'600'000u);
  // In the middle of a message, and at its end: <|im_start|> "user\n" "one" | "\n" "two"; the whole prompt but its last token.
  got = pins(R"({"max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"one","cache_control":{"type":"ephemeral"}},
    {"type":"text","text":"two","cache_control":{"type":"ephemeral","ttl":"5m"}}]}]})");
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].position, 9u);
  EXPECT_EQ(got[0].ttl_ms, 300'000u);
  EXPECT_EQ(got[1].position, server.backend.last().prompt.size() - 1);
  // Tools stand with the system message; the field on top is the last block's.
  got = pins(fmt::format(R"({{"max_tokens":9,"cache_control":{{"type":"ephemeral"}},"tools":[{{"cache_control":{{"type":"ephemeral"}},{}],
    "messages":[{{"role":"user","content":"hello"}}]}})", std::string_view(kTool).substr(1)));
  ASSERT_EQ(got.size(), 2u);
  const std::vector<int32_t> prompt = server.backend.last().prompt;
  EXPECT_EQ(*server.tokenizer.decode(std::span(prompt).subspan(got[0].position, 5), true), "hello");
  EXPECT_EQ(got[1].position, prompt.size() - 1);
  // The usage: three tokens were there, the pins take the rest but the last.
  const Json usage = Json::parse(server.post("/v1/messages", body_of(R"(,"cache_control":{"type":"ephemeral","ttl":"1h"})")).body)["usage"];
  const size_t size = server.backend.last().prompt.size();
  EXPECT_EQ(usage["cache_read_input_tokens"], 3);
  EXPECT_EQ(usage["cache_creation_input_tokens"], size - 4);
  EXPECT_EQ(usage["cache_creation"]["ephemeral_1h_input_tokens"], size - 4);
  EXPECT_EQ(usage["input_tokens"], 1);
  std::string five;
  for (int i = 0; i < 5; ++i) five += R"({"type":"text","text":"a","cache_control":{"type":"ephemeral"}},)";
  five.pop_back();
  for (const std::string& bad : {std::string(R"(,"cache_control":{"type":"ephemeral","ttl":"2h"})"), std::string(R"(,"cache_control":{"ttl":"5m"})"),
                                 std::string(R"(,"cache_control":{"type":"ephemeral","tll":"5m"})"), R"(,"system":[)" + five + "]"}) {
    EXPECT_EQ(server.post("/v1/messages", body_of(bad)).status, 400) << bad;
  }
  // Chat completions take the same mark.
  EXPECT_EQ(server.chat(R"({"messages":[{"role":"user","content":[{"type":"text","text":"one","cache_control":{"type":"ephemeral"}}]}]})").status, 200);
  EXPECT_EQ(server.backend.last().pins.size(), 1u);
}

TEST(Anthropic, StopsAndLengths) {
  TestServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "A long answer."; };
  EXPECT_EQ(Json::parse(server.post("/v1/messages", R"({"max_tokens":4,"messages":[{"role":"user","content":"hi"}]})").body)["stop_reason"], "max_tokens");
  const Json warm = Json::parse(server.post("/v1/messages", R"({"max_tokens":0,"messages":[{"role":"user","content":"hi"}]})").body);
  EXPECT_TRUE(warm["content"].empty()) << warm.dump();
  EXPECT_EQ(warm["usage"]["output_tokens"], 0);
  // A prefill goes on.
  EXPECT_EQ(server.post("/v1/messages", R"({"max_tokens":4,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Well, "}]})").status, 200);
  const std::vector<int32_t> prompt = server.backend.last().prompt;
  EXPECT_EQ(*server.tokenizer.decode(std::span(prompt).last(6), true), "Well, ");
  // Under a schema it is the beginning of what obeys.
  const char* schema = R"(,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}})";
  const std::string object = R"({"max_tokens":4,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":")";
  EXPECT_EQ(server.post("/v1/messages", object + R"({\"a"}])" + schema).status, 200);
  EXPECT_TRUE(server.backend.last().constraint_begun);
  const Reply refused = server.post("/v1/messages", object + R"([\"a"}])" + schema);
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("byte 0 "), std::string::npos) << refused.body;
}

TEST(Anthropic, ThinkingIsHiddenUnlessAskedFor) {
  TestServer server(thinking_setup());
  server.backend.answer = [](const engine::Request&, uint32_t) { return "<think>\nhm\n</think>\n\nFour."; };
  const auto content = [&](std::string_view fields) {
    const Reply reply = server.post("/v1/messages", body_of(fields));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return Json::parse(reply.body)["content"];
  };
  EXPECT_EQ(content("").size(), 1u);
  EXPECT_EQ(content("")[0]["text"], "Four.");
  EXPECT_EQ(content(R"(,"thinking":{"type":"adaptive","display":"omitted"})").size(), 1u);
  const Json shown = content(R"(,"thinking":{"type":"adaptive"})");
  ASSERT_EQ(shown.size(), 2u);
  EXPECT_EQ(shown[0]["thinking"], "\nhm\n");
  EXPECT_FALSE(shown[0]["signature"].get<std::string>().empty());
  EXPECT_FALSE(server.backend.last().thinking);
  for (const char* bad : {R"(,"thinking":{"type":"enabled"})", R"(,"thinking":{"type":"enabled","budget_tokens":500})", R"(,"thinking":{"type":"maybe"})",
                          R"(,"thinking":{"type":"adaptive","budget_tokens":5})"}) {
    EXPECT_EQ(server.post("/v1/messages", body_of(bad)).status, 400) << bad;
  }
  const TestServer plain;
  EXPECT_EQ(plain.post("/v1/messages", body_of(R"(,"thinking":{"type":"enabled","budget_tokens":5})")).status, 400);
}

TEST(Anthropic, ASchemaIsEnforced) {
  TestServer server;
  const char* good = R"(,"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}})";
  EXPECT_EQ(server.post("/v1/messages", body_of(good)).status, 200);
  EXPECT_TRUE(server.backend.last().constraint);
  EXPECT_EQ(server.post("/v1/messages", body_of(R"(,"output_config":{"format":{"type":"json_schema"}})")).status, 400);
  EXPECT_EQ(server.post("/v1/messages", body_of(R"(,"output_config":{"format":{"type":"json_schema","schema":{"type":"banana"}}})")).status, 400);
}

TEST(Anthropic, CountsWhatItWouldRead) {
  TestServer server;
  const char* fields = R"("system":"sys","messages":[{"role":"user","content":"hello"}]})";
  const Json counted = Json::parse(server.post("/v1/messages/count_tokens", std::string("{") + fields).body);
  EXPECT_EQ(server.post("/v1/messages", std::string(R"({"max_tokens":1,)") + fields).status, 200);
  EXPECT_EQ(counted["input_tokens"], server.backend.last().prompt.size());
  EXPECT_EQ(server.post("/v1/messages/count_tokens", std::string(R"({"max_tokens":1,)") + fields).status, 400);
}

TEST(Anthropic, RefusalsInItsShape) {
  TestServer server;
  const auto error = [&](std::string_view body, std::string_view headers = {}) {
    const Reply reply = server.post("/v1/messages", body, headers);
    const Json json = Json::parse(reply.body);
    EXPECT_EQ(json["type"], "error") << reply.body;
    EXPECT_FALSE(json["request_id"].get<std::string>().empty());
    return fmt::format("{} {}: {}", reply.status, json["error"]["type"].get<std::string>(), json["error"]["message"].get<std::string>());
  };
  EXPECT_EQ(error(body_of(R"(,"stop_sequence":["a"])")), "400 invalid_request_error: unknown field 'stop_sequence'; did you mean 'stop_sequences'?");
  EXPECT_EQ(error(R"({"max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","txt":"a"}]}]})"),
            "400 invalid_request_error: messages[0].content[0].text is missing");
  EXPECT_EQ(error(R"({"messages":[{"role":"user","content":"a"}]})"), "400 invalid_request_error: max_tokens is missing");
  EXPECT_NE(error(R"({"max_tokens":5,"messages":[{"role":"user","content":[{"type":"image","source":{}}]}]})").find("'image'"), std::string::npos);
  EXPECT_NE(error(body_of(R"(,"tools":[{"type":"web_search_20250305","name":"web_search"}])")).find("tools[0].type"), std::string::npos);
  EXPECT_TRUE(error(body_of(R"(,"model":"claude")")).starts_with("404 not_found_error"));
  EXPECT_NE(error(body_of(""), "anthropic-version: 2020-01-01\r\n").find("2023-06-01"), std::string::npos);
  server.backend.refuse_all = true;
  EXPECT_TRUE(error(body_of("")).starts_with("503 overloaded_error"));
  server.gate.has_keys = true;
  EXPECT_TRUE(error(body_of(""), "x-api-key: wrong\r\n").starts_with("401 authentication_error"));
  server.backend.refuse_all = false;
  EXPECT_EQ(server.post("/v1/messages", body_of(""), "x-api-key: sk-good\r\n").status, 200);
}

}  // namespace
}  // namespace sluice::server
