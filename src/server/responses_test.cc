// Responses and conversations over a fake engine: shapes, events, what is kept and what goes on from it.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <filesystem>

#include "server/kept_testing.h"

namespace sluice::server {
namespace {

using namespace testing;

Json ask(const KeptServer& server, std::string_view fields) {
  const Reply reply = server.post("/v1/responses", fields);
  EXPECT_EQ(reply.status, 200) << reply.body;
  return Json::parse(reply.body, nullptr, false);
}
std::string prompt_of(const KeptServer& server) { return *server.tokenizer.decode(server.backend.last().prompt, true); }
int status_of(const KeptServer& server, std::string_view fields) { return server.post("/v1/responses", fields).status; }

TEST(Responses, Whole) {
  KeptServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "Hello."; };
  const Json json = ask(server, R"({"model":"gpt-4o","input":"hi","instructions":"Be brief.","metadata":{"a":"b"},"max_output_tokens":50})");
  EXPECT_TRUE(json["id"].get<std::string>().starts_with("resp_"));
  EXPECT_EQ(json["object"], "response");
  EXPECT_EQ(json["status"], "completed");
  EXPECT_EQ(json["instructions"], "Be brief.");
  EXPECT_EQ(json["metadata"]["a"], "b");
  ASSERT_EQ(json["output"].size(), 1u);
  EXPECT_EQ(json["output"][0]["type"], "message");
  EXPECT_EQ(json["output"][0]["content"][0]["type"], "output_text");
  EXPECT_EQ(json["output"][0]["content"][0]["text"], "Hello.");
  EXPECT_EQ(json["usage"]["output_tokens"], 6);
  EXPECT_EQ(json["usage"]["input_tokens_details"]["cached_tokens"], 3);
  EXPECT_EQ(prompt_of(server), "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  const Json cut = ask(server, R"({"input":"hi","max_output_tokens":2})");
  EXPECT_EQ(cut["status"], "incomplete");
  EXPECT_EQ(cut["incomplete_details"]["reason"], "max_output_tokens");
}

TEST(Responses, GoOnWithThePreviousOne) {
  KeptServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "Ahoy"; };
  const std::string first = ask(server, R"({"input":"one","instructions":"Not twice."})")["id"];
  const Json second = ask(server, fmt::format(R"({{"input":[{{"role":"user","content":"two"}}],"previous_response_id":"{}"}})", first));
  EXPECT_EQ(second["previous_response_id"], first);
  EXPECT_EQ(prompt_of(server), "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n"
                               "Ahoy<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n");
  // Another branch from the first; not stored, so not gone on with.
  const std::string third = ask(server, fmt::format(R"({{"input":"three","previous_response_id":"{}","store":false}})", first))["id"];
  EXPECT_EQ(status_of(server, fmt::format(R"({{"input":"x","previous_response_id":"{}"}})", third)), 404);
  EXPECT_EQ(server.get("/v1/responses/" + third).status, 404);

  EXPECT_EQ(Json::parse(server.get("/openai/v1/responses/" + first).body)["output"][0]["content"][0]["text"], "Ahoy");
  const Json items = Json::parse(server.get("/v1/responses/" + first + "/input_items?order=asc").body);
  ASSERT_EQ(items["data"].size(), 1u);
  EXPECT_EQ(items["data"][0]["content"][0]["text"], "one");
  EXPECT_TRUE(items["data"][0]["id"].is_string());
  EXPECT_EQ(Json::parse(server.remove("/v1/responses/" + first).body)["deleted"], true);
  EXPECT_EQ(server.get("/v1/responses/" + first).status, 404);
  EXPECT_EQ(status_of(server, fmt::format(R"({{"input":"x","previous_response_id":"{}"}})", second["id"].get<std::string>())), 404);
}

// Generated tokens go back in as they were, also where the text alone would be spelt otherwise.
TEST(Responses, TheNextPromptHasTheAnswersOwnTokens) {
  KeptServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "<|im_end|>"; };  // byte for byte, not the special token
  const std::string first = ask(server, R"({"input":"one"})")["id"];
  ask(server, fmt::format(R"({{"input":"two","previous_response_id":"{}"}})", first));
  const std::vector<int32_t> prompt = server.backend.last().prompt;
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), 257), 3);  // the template's own, one a message
  EXPECT_NE(prompt_of(server).find("assistant\n<|im_end|><|im_end|>"), std::string::npos);
}

TEST(Responses, Stream) {
  KeptServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "<think>hm</think>Hey"; };
  const Reply reply = server.post("/v1/responses", R"({"input":"hi","stream":true})");
  EXPECT_EQ(reply.header("content-type"), "text/event-stream");
  std::vector<std::string> types;
  std::string text;
  uint64_t sequence = 0;
  Json last;
  for (size_t at = 0; at < reply.body.size();) {
    const size_t end = reply.body.find("\n\n", at), data = reply.body.find("data: ", at);
    ASSERT_LT(data, end);
    last = Json::parse(reply.body.substr(data + 6, end - data - 6), nullptr, false);
    EXPECT_EQ(reply.body.substr(at, data - at), "event: " + last["type"].get<std::string>() + "\n");
    EXPECT_EQ(last["sequence_number"], sequence++);
    if (types.empty() || types.back() != last["type"]) types.push_back(last["type"]);
    if (last["type"] == "response.output_text.delta") text += last["delta"].get<std::string>();
    at = end + 2;
  }
  EXPECT_EQ(text, "<think>hm</think>Hey");  // this template does not think
  const std::vector<std::string> wanted = {"response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
                                           "response.output_text.delta", "response.output_text.done", "response.content_part.done",
                                           "response.output_item.done", "response.completed"};
  EXPECT_EQ(types, wanted);
  EXPECT_EQ(last["response"]["output"][0]["content"][0]["text"], text);
  EXPECT_EQ(Json::parse(server.get("/v1/responses/" + last["response"]["id"].get<std::string>()).body), last["response"]);
}

TEST(Responses, ThoughtsAreAnItemOfTheirOwn) {
  KeptServer server({}, std::string(kChatMl) + "{# </think> #}");
  server.backend.answer = [](const engine::Request&, uint32_t) { return "<think>hm</think>Hey"; };
  const Json json = ask(server, R"({"input":"hi","reasoning":{"effort":"low","summary":"auto"}})");
  ASSERT_EQ(json["output"].size(), 2u);
  EXPECT_EQ(json["output"][0]["type"], "reasoning");
  EXPECT_EQ(json["output"][0]["content"][0]["text"], "hm");
  EXPECT_EQ(json["output"][1]["content"][0]["text"], "Hey");
  EXPECT_GT(json["usage"]["output_tokens_details"]["reasoning_tokens"].get<int>(), 0);
}

TEST(Responses, ToolsAreCalledAndAnswered) {
  KeptServer server;
  server.backend.answer = [](const engine::Request& r, uint32_t) {
    return r.prompt.size() > 900 ? std::string("Rain.")
                                 : std::string("<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>");
  };
  const std::string tools = R"("tools":[{"type":"function","name":"weather","description":"now","strict":true,"parameters":{"type":"object",
    "properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}}])";
  const Json first = ask(server, R"({"input":"Oslo?",)" + tools + "}");
  ASSERT_EQ(first["output"].size(), 1u) << first.dump();
  const Json& call = first["output"][0];
  EXPECT_EQ(call["type"], "function_call");
  EXPECT_EQ(call["name"], "weather");
  EXPECT_EQ(Json::parse(call["arguments"].get<std::string>())["city"], "Oslo");
  const std::string call_id = call["call_id"];
  ask(server, fmt::format(R"({{"previous_response_id":"{}","input":[{{"type":"function_call_output","call_id":"{}","output":"wet"}}],{}}})",
                          first["id"].get<std::string>(), call_id, tools));
  EXPECT_NE(prompt_of(server).find("{\"city\": \"Oslo\"}"), std::string::npos) << prompt_of(server);
  EXPECT_NE(prompt_of(server).find("<tool_response>\nwet"), std::string::npos);
  // The same as items, without anything kept.
  ask(server, fmt::format(R"({{"store":false,"input":[{{"role":"user","content":[{{"type":"input_text","text":"Oslo?"}}]}},{},
    {{"type":"function_call_output","call_id":"{}","output":"wet"}}],{}}})", call.dump(), call_id, tools));
  EXPECT_NE(prompt_of(server).find("<tool_response>\nwet"), std::string::npos);
}

TEST(Responses, FieldsAreStrict) {
  KeptServer server;
  for (const char* fields : {R"({"inputs":"x"})", R"({"input":"x","max_tokens":3})", R"({"input":"x","background":true})",
                             R"({"input":"x","truncation":"auto"})",
                             R"({"input":[{"type":"item_reference","id":"x"}]})", R"({"input":[{"role":"user","content":[{"type":"input_image"}]}]})",
                             R"({"input":"x","tools":[{"type":"web_search"}]})", R"({"input":"x","text":{"format":{"type":"json_schema"}}})",
                             R"({"input":"x","previous_response_id":"a","conversation":"b"})", R"({"input":"x","include":["file_search_call.results"]})",
                             R"({"input":[]})", R"({"input":"x","conversation":"not a name"})"}) {
    EXPECT_EQ(status_of(server, fields), 400) << fields;
  }
  EXPECT_EQ(status_of(server, R"({"input":"x","previous_response_id":"resp_none"})"), 404);
  const Json json = ask(server, R"({"input":"x","text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}},"max_output_tokens":4})");
  EXPECT_EQ(json["text"]["format"]["name"], "n");
  EXPECT_NE(server.backend.last().constraint, nullptr);
}

TEST(Responses, SurviveARestartAndAreBounded) {
  char name[] = "/tmp/sluice-kept-XXXXXX";
  const std::filesystem::path folder = mkdtemp(name);
  std::string id;
  {
    KeptServer server({.folder = folder});
    id = ask(server, R"({"input":"one"})")["id"];
  }
  KeptServer server({.folder = folder});
  EXPECT_EQ(server.get("/v1/responses/" + id).status, 200);
  ask(server, fmt::format(R"({{"input":"two","previous_response_id":"{}"}})", id));
  EXPECT_NE(prompt_of(server).find("one"), std::string::npos);
  std::filesystem::remove_all(folder);
}

TEST(Kept, TheLeastRecentlyUsedTurnsMakeRoom) {
  int64_t now = 1000;
  auto opened = Kept::open({.bytes_max = 1 << 20, .now_s = [&now] { return now; }});
  ASSERT_TRUE(opened.ok());
  KeptTurns& turns = (*opened)->turns();
  for (int i = 0; i < 40; ++i, now += 100) {
    Turn turn{.id = fmt::format("resp_{}", i), .tenant = 1, .parent = {}, .shown = true};
    turn.messages.push_back({{"role", "user"}, {"content", std::string(8000, 'x')}});
    ASSERT_FALSE(turns.add(turn, ""));
    std::vector<Turn> chain;
    ASSERT_FALSE(turns.chain(1, "resp_0", "f", chain));  // in use
  }
  Turn out;
  EXPECT_TRUE(turns.get(1, "resp_1", out));
  EXPECT_FALSE(turns.get(1, "resp_0", out));
  EXPECT_FALSE(turns.get(1, "resp_39", out));
  EXPECT_EQ(turns.get(2, "resp_39", out)->status, 404);
}

TEST(Conversations, ANameIsAsGoodAsTheMessages) {
  KeptServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "Ahoy"; };
  const auto say = [&](std::string_view text, std::string_view more) {
    const Reply reply = server.chat(fmt::format(R"({{"messages":[{{"role":"user","content":"{}"}}]{}}})", text, more));
    EXPECT_EQ(reply.status, 200) << reply.body;
  };
  say("one", R"(,"conversation":"trip")");
  say("two", R"(,"conversation":"trip","stream":true)");
  const std::vector<int32_t> named = server.backend.last().prompt;
  const std::string messages = R"({"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"Ahoy"},{"role":"user","content":"two"}]})";
  EXPECT_EQ(server.chat(messages).status, 200);
  EXPECT_EQ(server.backend.last().prompt, named);
  say("three", R"(,"conversation":"trip")");
  EXPECT_NE(prompt_of(server).find("two<|im_end|>\n<|im_start|>assistant\nAhoy"), std::string::npos);
  EXPECT_EQ(server.chat(R"({"messages":[{"role":"user","content":"x"}],"conversation":"trip","n":2})").status, 400);
  EXPECT_EQ(server.chat(R"({"messages":[{"role":"user","content":"x"}],"conversation":"no name"})").status, 400);
  // Responses know them too.
  EXPECT_EQ(ask(server, R"({"input":"four","conversation":{"id":"trip"}})")["conversation"]["id"], "trip");
  EXPECT_NE(prompt_of(server).find("three"), std::string::npos);
}

TEST(States, SaveForkRestorePinListDelete) {
  KeptServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "Ahoy"; };
  const auto post = [&](std::string_view path, std::string_view body) {
    const Reply reply = server.post(path, body);
    EXPECT_EQ(reply.status, 200) << path << ": " << reply.body;
    return Json::parse(reply.body, nullptr, false);
  };
  const Json saved = post("/v1/state/save", R"({"name":"base","messages":[{"role":"system","content":"Sail."}],"ttl_s":60})");
  EXPECT_EQ(saved["name"], "base");
  EXPECT_EQ(saved["pinned_for_s"], 60);
  EXPECT_EQ(saved["tokens"], server.backend.last().prompt.size());
  EXPECT_EQ(server.backend.last().max_tokens, 0u);
  EXPECT_EQ(server.backend.last().pin_ttl_ms, 60'000u);
  EXPECT_EQ(post("/v1/state/fork", R"({"name":"base","to":["a","b"]})")["conversations"].size(), 2u);
  EXPECT_EQ(server.chat(R"({"messages":[{"role":"user","content":"x"}],"conversation":"b"})").status, 200);
  EXPECT_EQ(prompt_of(server), "<|im_start|>system\nSail.<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
  post("/v1/state/fork", R"({"conversation":"b","to":"c"})");
  post("/v1/state/save", R"({"name":"later","conversation":"c"})");
  EXPECT_EQ(post("/v1/state/restore", R"({"name":"later","conversation":"d"})")["conversation"], "d");
  EXPECT_EQ(server.chat(R"({"messages":[{"role":"user","content":"y"}],"conversation":"d"})").status, 200);
  EXPECT_NE(prompt_of(server).find("Ahoy<|im_end|>\n<|im_start|>user\ny"), std::string::npos);
  post("/v1/state/pin", R"({"name":"later","ttl_s":5})");
  post("/v1/state/pin", R"({"name":"later","ttl_s":0})");
  EXPECT_EQ(post("/v1/state/explain", R"({"conversation":"d"})")["object"], "state.explanation");
  const Json list = Json::parse(server.get("/v1/state").body);
  EXPECT_EQ(list["data"].size(), 2u);
  EXPECT_EQ(list["conversations"].size(), 4u);
  EXPECT_EQ(Json::parse(server.get("/v1/state/later").body)["name"], "later");
  post("/v1/state/save", R"({"name":"same","conversation":"c"})");
  EXPECT_EQ(server.remove("/v1/state/later").status, 200);
  EXPECT_EQ(server.get("/v1/state/later").status, 404);
  EXPECT_TRUE(server.backend.forgotten.empty());  // "same" is the same state
  EXPECT_EQ(server.remove("/v1/state/same").status, 200);
  EXPECT_EQ(server.backend.forgotten.size(), 1u);
  EXPECT_EQ(server.remove("/v1/state/same").status, 404);
  EXPECT_EQ(server.remove("/v1/conversations/d").status, 200);
  EXPECT_EQ(server.remove("/v1/conversations/d").status, 404);
  EXPECT_EQ(server.post("/v1/state/fork", R"({"conversation":"none","to":"x"})").status, 404);
  EXPECT_EQ(server.post("/v1/state/save", R"({"name":"x"})").status, 400);
}

}  // namespace
}  // namespace sluice::server
