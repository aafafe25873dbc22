// A constraint begins behind the model's thoughts: from a request, through a real chat template and the scheduler, with a model that wants to write a text
// that is given. Whatever it wants, what comes behind the thoughts obeys, and the thoughts are free.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/scheduler.h"
#include "server/server_testing.h"

namespace sluice::server {
namespace {

using namespace testing;
using Json = nlohmann::ordered_json;

// Wants to write `script` behind the prompt, a byte or a special token at a time, and then to end.
class ScriptedModel final : public engine::StepRunner {
 public:
  ScriptedModel(const text::Tokenizer& tokenizer, size_t prompt, const std::string& script)
      : StepRunner({.rows_max = 256, .logit_rows_max = 4, .vocabulary = tokenizer.vocabulary_size(), .page_bytes = 0, .state_bytes = 64}),
        prompt_(prompt), script_(tokenizer.encode(script, {.parse_special = true}).value()), end_(tokenizer.end_ids()[0]),
        logits_(4 * sizes().vocabulary) {}
  Status step(std::span<const runtime::StepRow> rows, const runtime::Observer*) override {
    size_t wanted = 0;
    for (const runtime::StepRow& row : rows) {
      if (!row.wants_logits) continue;
      const size_t next = static_cast<size_t>(row.position) + 1 - prompt_;
      const std::span<float> out = std::span(logits_).subspan(wanted++ * sizes().vocabulary, sizes().vocabulary);
      for (size_t i = 0; i < out.size(); ++i) out[i] = i == '<' || i >= 256 ? -1.0f : static_cast<float>(i % 7);  // tags only where the script has them
      out[static_cast<size_t>(next < script_.size() ? script_[next] : end_)] = 20;
    }
    return {};
  }
  std::span<const float> logits(size_t i) const override { return std::span(logits_).subspan(i * sizes().vocabulary, sizes().vocabulary); }

 private:
  size_t prompt_;
  std::vector<int32_t> script_;
  int32_t end_;
  std::vector<float> logits_;
};

std::string source_of(const char* name) {
  std::ifstream file(std::string(SLUICE_SHARED_DIR) + "/data/templates/" + name + ".jinja");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TestServer::Setup with_template(const char* name) {
  TestServer::Setup setup;
  setup.chat_template = source_of(name);
  return setup;
}

class ScriptedServer : public TestServer {
 public:
  ScriptedServer(const char* chat_template, std::string script) : TestServer(with_template(chat_template)) {
    backend.serve = [this, text = std::move(script)](engine::RequestId id, engine::Request request, std::shared_ptr<engine::ResponseSink> sink) {
      ScriptedModel model(tokenizer, request.prompt.size(), text);
      const auto scheduler = engine::Scheduler::create(model, tokenizer, 1, {.context = 4096, .sequences_max = 1, .now_us = [] { return uint64_t{1}; }});
      SLUICE_CHECK(scheduler.ok());
      (*scheduler)->add(id, std::move(request), std::move(sink));
      while (!(*scheduler)->idle()) (*scheduler)->step();
    };
  }
  Json choice(std::string_view fields) const {
    const Reply reply = chat(fmt::format(R"({{"messages":[{{"role":"user","content":"Is it?"}}],"temperature":0{}}})", fields));
    EXPECT_EQ(reply.status, 200) << reply.body;
    return Json::parse(reply.body)["choices"][0];
  }
};

constexpr std::string_view kSchema = R"(,"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","properties":{
  "answer":{"enum":["yes","no"]}},"required":["answer"],"additionalProperties":false}}})";
constexpr std::string_view kTool = R"(,"tools":[{"type":"function","function":{"name":"look","strict":true,"parameters":{"type":"object",
  "properties":{"at":{"enum":["yes","no"]}},"required":["at"],"additionalProperties":false}}}])";
const char* const kThoughts = "\nIs {\"answer\": \"maybe\"} right? <tool_call> no.\n";

void expect_answer(const Json& choice, std::string_view reasoning) {
  const Json& message = choice["message"];
  EXPECT_EQ(message.value("reasoning", ""), reasoning);
  const Json answer = Json::parse(message["content"].get<std::string>(), nullptr, false);
  ASSERT_TRUE(answer.is_object()) << message.dump();
  EXPECT_TRUE(answer == Json({{"answer", "yes"}}) || answer == Json({{"answer", "no"}})) << answer.dump();
  EXPECT_EQ(choice["finish_reason"], "stop");
}

bool missing() { return source_of("Qwen-Qwen3-0.6B").empty(); }

// Qwen 3 opens its thoughts itself, or does not: the prompt ends before.
TEST(ConstrainedThinking, BeginsBehindTheThoughtsThatTheModelOpens) {
  if (missing()) GTEST_SKIP() << "no " << SLUICE_SHARED_DIR << "/data/templates: the reference data is not beside the project";
  const ScriptedServer thinks("Qwen-Qwen3-0.6B", fmt::format("<think>{}</think>\n\nSure! Let me say: yes.", kThoughts));
  expect_answer(thinks.choice(kSchema), kThoughts);
  const ScriptedServer says("Qwen-Qwen3-0.6B", "Sure! Let me say: <think>yes.");
  expect_answer(says.choice(kSchema), "");
}

TEST(ConstrainedThinking, NoThoughtsWhereTheRequestSwitchesThemOff) {
  if (missing()) GTEST_SKIP() << "no " << SLUICE_SHARED_DIR << "/data/templates: the reference data is not beside the project";
  const ScriptedServer server("Qwen-Qwen3-0.6B", fmt::format("<think>{}</think>\n\nyes", kThoughts));
  expect_answer(server.choice(std::string(kSchema) + R"(,"chat_template_kwargs":{"enable_thinking":false})"), "");
}

// QwQ's template opens the thoughts in the prompt, where they are wanted: there is no answer without them.
TEST(ConstrainedThinking, BeginsBehindTheThoughtsThatThePromptOpens) {
  if (missing()) GTEST_SKIP() << "no " << SLUICE_SHARED_DIR << "/data/templates: the reference data is not beside the project";
  const ScriptedServer server("Qwen-QwQ-32B", fmt::format("{}</think>\n\nSure! Let me say: yes.", kThoughts));
  expect_answer(server.choice(std::string(kSchema) + R"(,"chat_template_kwargs":{"enable_thinking":true})"), kThoughts);
}

TEST(ConstrainedThinking, ARequiredCallComesBehindTheThoughts) {
  if (missing()) GTEST_SKIP() << "no " << SLUICE_SHARED_DIR << "/data/templates: the reference data is not beside the project";
  for (const char* name : {"Qwen-Qwen3-0.6B", "Qwen-QwQ-32B"}) {
    const bool opened = name == std::string_view("Qwen-QwQ-32B");
    const ScriptedServer server(name, fmt::format("{}{}</think>\n\nSure! I shall look.", opened ? "" : "<think>", kThoughts));
    const Json choice =
        server.choice(std::string(kTool) + R"(,"tool_choice":"required","parallel_tool_calls":false,"chat_template_kwargs":{"enable_thinking":true})");
    EXPECT_EQ(choice["message"]["reasoning"], kThoughts) << name;
    ASSERT_TRUE(choice["message"].contains("tool_calls")) << choice.dump();
    ASSERT_EQ(choice["message"]["tool_calls"].size(), 1u) << choice.dump();
    const Json& call = choice["message"]["tool_calls"][0]["function"];
    EXPECT_EQ(call["name"], "look");
    EXPECT_TRUE(Json::parse(call["arguments"].get<std::string>()).at("at").is_string()) << call.dump();
    EXPECT_EQ(choice["finish_reason"], "tool_calls");
  }
}

// Not all models think between <think> and </think>.
TEST(ConstrainedThinking, TheTagsAreTheTemplates) {
  if (missing()) GTEST_SKIP() << "no " << SLUICE_SHARED_DIR << "/data/templates: the reference data is not beside the project";
  const struct {
    const char* name;
    std::string_view open, close, before, after, fields;
  } kModels[] = {
      {"ByteDance-Seed-OSS", "<seed:think>", "</seed:think>", "", "", ""},
      {"Cohere2MoE", "", "<|END_THINKING|>", "<|START_TEXT|>", "<|END_TEXT|>", R"(,"chat_template_kwargs":{"reasoning":true})"},
      {"Apriel-1.6-15b-Thinker-fixed", "", "[BEGIN FINAL RESPONSE]", "", "", ""},
      {"unsloth-Apriel-1.5", "Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", "", "\n[END FINAL RESPONSE]", ""},
  };
  for (const auto& model : kModels) {
    SCOPED_TRACE(model.name);
    const ScriptedServer free(model.name, fmt::format("{}\nIs it?\n{}\n{}It is.{}", model.open, model.close, model.before, model.after));
    const Json choice = free.choice(model.fields);
    EXPECT_EQ(choice["message"].value("reasoning", ""), "\nIs it?\n") << choice.dump();
    EXPECT_TRUE(choice["message"]["content"] == "It is." || choice["message"]["content"] == "It is.\n") << choice.dump();
    const ScriptedServer constrained(model.name, fmt::format("{}\nIs it?\n{}\n{}It is.{}", model.open, model.close, model.before, model.after));
    expect_answer(constrained.choice(std::string(kSchema) + std::string(model.fields)), "\nIs it?\n");
  }
}

TEST(ConstrainedThinking, ThoughtsThatTakeAllTokensEndWithLength) {
  if (missing()) GTEST_SKIP() << "no " << SLUICE_SHARED_DIR << "/data/templates: the reference data is not beside the project";
  const ScriptedServer server("Qwen-Qwen3-0.6B", fmt::format("<think>{}</think>\n\nyes", kThoughts));
  const Json choice = server.choice(std::string(kSchema) + R"(,"max_tokens":12)");
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(choice["message"]["reasoning"], std::string(kThoughts).substr(0, 11));
}

}  // namespace
}  // namespace sluice::server
