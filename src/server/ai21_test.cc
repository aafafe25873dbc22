// AI21's addresses over a fake engine: chat with documents, Jurassic's complete.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "server/json_fields.h"
#include "server/server_testing.h"

namespace sluice::server {
namespace {

using namespace testing;

TEST(Ai21, ChatWithDocuments) {
  TestServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "Green."; };
  const std::string body = R"({"model":"test-model","messages":[{"role":"user","content":"What colour?"}],"n":1,"response_format":{"type":"text"},
    "documents":[{"content":"The sky is green.","metadata":{"topic":"sky"}}])";
  const Json json = Json::parse(server.post("/studio/v1/chat/completions", body + "}").body);
  EXPECT_EQ(json["choices"][0]["message"]["content"], "Green.") << json.dump();
  EXPECT_EQ(json["usage"]["completion_tokens"], 6);
  const std::vector<int32_t> prompt = server.backend.last().prompt;
  EXPECT_NE(server.tokenizer.decode(prompt, false)->find("[1] The sky is green."), std::string::npos);
  EXPECT_EQ(server.backend.last().max_tokens, 4096 - prompt.size());  // its default is 4096

  // Every chunk has a choice, the last one the usage.
  const std::vector<std::string> events = events_of(server.post("/studio/v1/chat/completions", body + R"(,"stream":true})").body);
  ASSERT_GE(events.size(), 3u);
  EXPECT_EQ(events.back(), "[DONE]");
  std::string text;
  for (size_t i = 0; i + 1 < events.size(); ++i) {
    const Json chunk = Json::parse(events[i]);
    ASSERT_EQ(chunk["choices"].size(), 1u);
    text += chunk["choices"][0]["delta"].value("content", "");
    EXPECT_EQ(chunk.contains("usage"), i + 2 == events.size());
  }
  EXPECT_EQ(text, "Green.");
  EXPECT_EQ(Json::parse(server.post("/studio/v1/chat/completions", body + R"(,"max_token":3})").body)["detail"],
            "unknown field 'max_token'; did you mean 'max_tokens'?");
}

TEST(Ai21, CompleteInJurassicsShape) {
  TestServer server;
  server.backend.answer = [](const engine::Request&, uint32_t choice) { return choice == 0 ? "d\xC3\xA9" : "other"; };
  const Reply reply = server.post("/studio/v1/test-model/complete", R"({"prompt":"abc","numResults":2,"maxTokens":4,"minTokens":1,"topKReturn":2,
    "temperature":0.3,"topP":0.8,"stopSequences":["##"],"logitBias":{"a":-5.5},"presencePenalty":{"scale":2,"applyToNumbers":false},
    "countPenalty":{"scale":0.5,"applyToPunctuation":false},"frequencyPenalty":{"scale":100,"applyToWhitespaces":false,"applyToEmojis":false}})");
  ASSERT_EQ(reply.status, 200) << reply.body;
  const Json json = Json::parse(reply.body);
  EXPECT_EQ(json["prompt"]["text"], "abc");
  ASSERT_EQ(json["prompt"]["tokens"].size(), 1u);  // the fake engine tells nothing of the prompt: the first token alone
  ASSERT_EQ(json["completions"].size(), 2u);
  const Json& first = json["completions"][0];
  EXPECT_EQ(first["data"]["text"], "d\xC3\xA9");
  ASSERT_EQ(first["data"]["tokens"].size(), 3u);  // a byte each
  EXPECT_EQ(first["data"]["tokens"][0], Json::parse(R"({"generatedToken":{"token":"d","logprob":-0.5,"raw_logprob":-0.25},
    "topTokens":[{"token":"d","logprob":-0.5,"raw_logprob":-0.25},{"token":"d","logprob":-0.5,"raw_logprob":-0.25}],"textRange":{"start":0,"end":1}})"));
  EXPECT_EQ(first["data"]["tokens"][1]["textRange"], Json::parse(R"({"start":1,"end":2})"));
  EXPECT_EQ(first["data"]["tokens"][2]["textRange"], Json::parse(R"({"start":2,"end":2})"));
  EXPECT_EQ(first["finishReason"], Json::parse(R"({"reason":"endoftext"})"));
  EXPECT_EQ(json["completions"][1]["finishReason"], Json::parse(R"({"reason":"length","length":4})"));
  const engine::Request request = server.backend.last();
  EXPECT_EQ(request.choices, 2u);
  EXPECT_EQ(request.stop.min_tokens, 1u);
  EXPECT_TRUE(request.echo_logprobs);
  EXPECT_TRUE(request.sampler.penalize_prompt);
  EXPECT_FLOAT_EQ(request.sampler.presence.scale, 2);
  EXPECT_FALSE(request.sampler.presence.numbers);
  EXPECT_TRUE(request.sampler.presence.emojis);
  EXPECT_FLOAT_EQ(request.sampler.frequency.scale, 0.5f);
  EXPECT_FALSE(request.sampler.frequency.punctuations);
  EXPECT_FLOAT_EQ(request.sampler.share.scale, 100);
  EXPECT_FALSE(request.sampler.share.whitespaces);
  EXPECT_EQ(request.sampler.logit_bias, (std::vector<std::pair<int32_t, float>>{{97, -5.5f}}));
}

TEST(Ai21, CompleteWithoutAlternativesReusesStates) {
  TestServer server;
  server.backend.answer = [](const engine::Request&, uint32_t) { return "d"; };
  const Json json = Json::parse(server.post("/studio/v1/j2/gpt-4o/complete", R"({"prompt":"abc"})").body);
  ASSERT_EQ(json["prompt"]["tokens"].size(), 3u) << json.dump();
  EXPECT_TRUE(json["prompt"]["tokens"][2]["generatedToken"]["logprob"].is_null());
  EXPECT_EQ(json["prompt"]["tokens"][2]["textRange"], Json::parse(R"({"start":2,"end":3})"));
  EXPECT_EQ(json["completions"][0]["data"]["tokens"][0]["generatedToken"]["raw_logprob"], -0.25);
  EXPECT_TRUE(json["completions"][0]["data"]["tokens"][0]["topTokens"].is_null());
  EXPECT_FALSE(server.backend.last().echo_logprobs);
  EXPECT_EQ(server.backend.last().max_tokens, 16u);
}

TEST(Ai21, RefusalsNameTheFieldAndItsNeighbour) {
  const TestServer server;
  for (const auto& [body, sentence] : {std::pair{R"({"prompt":"a","maxToken":5})", "unknown field 'maxToken'; did you mean 'maxTokens'?"},
                                       {R"({})", "prompt is missing"},
                                       {R"({"prompt":""})", "the prompt has no tokens"},
                                       {R"({"prompt":"a","topKReturn":64})", "topKReturn is 64, it must be an integer from 0 to 20"},
                                       {R"({"prompt":"a","countPenalty":{"scale":2}})", "countPenalty.scale is 2, it must be from 0 to 1"},
                                       {R"({"prompt":"a","countPenalty":{}})", "countPenalty.scale is missing"},
                                       {R"({"prompt":"a","countPenalty":{"scale":1,"applyToNumber":true}})",
                                        "unknown field 'countPenalty.applyToNumber'; did you mean 'applyToNumbers'?"},
                                       {R"({"prompt":"a","logitBias":{"ab":1}})", "logitBias: 'ab' is 2 tokens of this model, it must be one"}}) {
    const Reply reply = server.post("/studio/v1/test-model/complete", body);
    EXPECT_EQ(reply.status, 400);
    EXPECT_EQ(Json::parse(reply.body)["detail"], sentence);
  }
  EXPECT_EQ(server.post("/studio/v1/j2-ultra/complete", R"({"prompt":"a"})").status, 404);
}

}  // namespace
}  // namespace sluice::server
