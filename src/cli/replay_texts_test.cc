// Traces with text: what a tree and an agent's conversation become, what is wrong is named, and the published ones play with right states.
#include "cli/replay_texts.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "cli/model_loading.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<int32_t>;

constexpr const char* kTemplate =
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% for c in m.tool_calls or [] %}<{{ c.function.name }}>{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";

class ReplayTexts : public testing::Test {
 protected:
  ReplayTexts() : tokenizer_(open_tokenizer("").value()), template_(text::ChatTemplate::parse(kTemplate).value()) {
    char name[] = "/tmp/sluice-texts-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~ReplayTexts() override { fs::remove_all(folder_); }

  fs::path written(const std::string& text) const {
    std::string packed(ZSTD_compressBound(text.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
    std::ofstream(folder_ / "trace.zst", std::ios::binary) << packed;
    return folder_ / "trace.zst";
  }
  Result<engine::Trace> read(const std::string& text, const TextTraceOptions& options = {}) const {
    const fs::path path = written(text);
    SLUICE_TRY(const TraceKind kind, kind_of_trace(path));
    return read_texts(path, kind, tokenizer_, template_, options);
  }
  std::string shown(std::span<const int32_t> tokens) const { return tokenizer_.decode(tokens, false).value(); }
  std::string prompt_of(const engine::TraceRequest& r) const { return shown(std::span(r.text).first(r.prompt)); }
  std::string answer_of(const engine::TraceRequest& r) const { return shown(std::span(r.text).subspan(r.prompt)); }

  text::Tokenizer tokenizer_;
  text::ChatTemplate template_;
  fs::path folder_;
};

// A question with two answers; the first of them with two ways to go on, one of which nobody answered.
constexpr const char* kTree =
    R"({"message_tree_id": "x", "prompt": {"text": "Why is the sky blue?", "role": "prompter", "replies": [)"
    R"({"text": "Scattering.", "role": "assistant", "replies": [)"
    R"({"text": "And at night?", "role": "prompter", "replies": [{"text": "No sun.", "role": "assistant", "replies": []}]},)"
    R"({"text": "I see.", "role": "prompter", "replies": []}]},)"
    R"({"text": "The air.", "role": "assistant", "replies": []}]}})"
    "\n";

TEST_F(ReplayTexts, ATreeIsAskedLineByLineAsItsUserWould) {
  const auto trace = read(kTree);
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ASSERT_EQ(trace->requests.size(), 4u);
  const auto& r = trace->requests;
  EXPECT_EQ(prompt_of(r[0]), "[user] Why is the sky blue?[assistant]");
  EXPECT_EQ(answer_of(r[0]), " Scattering.");
  EXPECT_EQ(prompt_of(r[1]), "[user] Why is the sky blue?[assistant] Scattering.[user] And at night?[assistant]") << "extend";
  EXPECT_EQ(prompt_of(r[2]), "[user] Why is the sky blue?[assistant] Scattering.[user] I see.[assistant]") << "branch";
  EXPECT_EQ(answer_of(r[2]), "") << "nobody knows";
  EXPECT_EQ(prompt_of(r[3]), prompt_of(r[0])) << "regenerate";
  EXPECT_EQ(answer_of(r[3]), " The air.");
  EXPECT_TRUE(std::equal(r[0].text.begin(), r[0].text.end(), r[1].text.begin())) << "what was answered comes back token for token";
  EXPECT_EQ(shown(std::span(r[1].text).first(r[1].last_message)), "[user] Why is the sky blue?[assistant] Scattering.");
}

TEST_F(ReplayTexts, AnAgentAsksOncePerCallWithWhatItsToolsSaid) {
  const auto trace = read(R"([{"traj": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Book it."},
    {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "book", "arguments": "{}"}}]},
    {"role": "tool", "name": "book", "content": "done"}, {"role": "assistant", "content": "It is booked."}, {"role": "user", "content": "Thanks"}]}])");
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  ASSERT_EQ(trace->requests.size(), 2u);
  const auto& r = trace->requests;
  EXPECT_EQ(answer_of(r[0]), " <book>");
  EXPECT_EQ(prompt_of(r[1]), "[system] Be kind.[user] Book it.[assistant] <book>[tool] done[assistant]");
  EXPECT_EQ(shown(std::span(r[1].text).first(r[1].system_end)), "[system] Be kind.");
}

TEST_F(ReplayTexts, TheSeedAloneDecidesTheOrder) {
  std::string many;
  for (int i = 0; i < 12; ++i) many += kTree;
  const auto order = [&](uint64_t seed) {
    std::vector<size_t> sizes;
    const engine::Trace trace = read(many, {.lanes = 4, .seed = seed}).value();
    for (const auto& r : trace.requests) sizes.push_back(r.text.size());
    return sizes;
  };
  EXPECT_EQ(order(1).size(), 48u);
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
}

TEST_F(ReplayTexts, WhatIsWrongIsNamedWithItsLine) {
  const auto error_of = [&](const std::string& text) {
    const auto trace = read(text);
    return trace.ok() ? "" : trace.error().message;
  };
  EXPECT_NE(error_of(std::string(kTree) + "{\"message_tree_id\": 1}\n").find(":2: no tree"), std::string::npos);
  EXPECT_NE(error_of(R"({"message_tree_id": 1, "prompt": {"text": 7, "role": "prompter"}})").find("'text' is not text"), std::string::npos);
  EXPECT_NE(error_of(R"({"message_tree_id": 1, "prompt": {"text": "", "role": "root"}})").find("'role'"), std::string::npos);
  EXPECT_NE(error_of(R"([{"traj": [{"content": "x"}]}])").find("conversation 0: a message without a 'role'"), std::string::npos);
  EXPECT_NE(error_of(R"([{"traj")").find("not a JSON list"), std::string::npos);
  EXPECT_NE(error_of("hello").find("neither block ids nor messages"), std::string::npos);
  std::string deep = "{\"message_tree_id\": 1, \"prompt\": ", end = "}";
  for (int i = 0; i < 600; ++i) {
    deep += R"({"text": "x", "role": "prompter", "replies": [)";
    end = "]}" + end;
  }
  deep += R"({"text": "x", "role": "prompter"})";
  EXPECT_NE(error_of(deep + end).find("more than 500 messages"), std::string::npos);
}

// The program's lines for a published trace, in the embedded model's tokens and template; empty if it failed. A process of its own: what it takes is not ours.
std::vector<nlohmann::json> played(const fs::path& trace, const std::string& more) {
  const std::string command = SLUICE_BINARY " state replay " + trace.string() + " --budget 250M --policy ours --policy leaf-lru" + more;
  FILE* const out = ::popen(command.c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t n = std::fread(buffer, 1, sizeof buffer, out); n > 0; n = std::fread(buffer, 1, sizeof buffer, out)) text.append(buffer, n);
  std::vector<nlohmann::json> lines;
  if (::pclose(out) != 0) return lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(nlohmann::json::parse(line, nullptr, false));
  return lines;
}

// The published data (shared/data/traces/README.md): 913 answers and unanswered questions of 100 trees; 2,454 calls.
TEST(ReplayVerb, PublishedTextsPlayWithRightStatesUnderTheirBudget) {
  const fs::path traces = fs::path(SLUICE_SHARED_DIR) / "data/traces";
  if (!fs::exists(traces)) GTEST_SKIP() << "no " << traces << ": the reference data is not beside the project";
  const auto play = [&](const char* name, const char* more, uint64_t requests) {
    const std::vector<nlohmann::json> runs = played(traces / name, more);
    ASSERT_EQ(runs.size(), 2u) << name;
    for (const nlohmann::json& run : runs) {
      ASSERT_TRUE(run.is_object());
      EXPECT_EQ(run["requests"], requests);
      EXPECT_EQ(run["wrong_states"], 0);
      EXPECT_LE(run["bytes"]["max"], run["budget_bytes"]);
      EXPECT_LE(run["saved_percent"], run["bound_percent"]);
    }
    EXPECT_GT(runs[0]["saved_percent"], runs[1]["saved_percent"]);
  };
  play("oasst-en100-trees.jsonl.zst", " --lanes 24", 913);
  play("taubench-gpt4o-airline.json.zst", "", 2454);
}

}  // namespace
}  // namespace sluice::cli
