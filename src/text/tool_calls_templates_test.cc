// Every chat template of the shared data: which format it uses, or why none; and a message with calls goes through the template and comes
// back as the same calls, while the grammar accepts the text token by token.
#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "text/chat_template.h"
#include "text/tool_calls_test_util.h"

namespace sluice::text {
namespace {

using Kind = ToolEvent::Kind;
using nlohmann::ordered_json;

struct Row {
  const char* file;
  const char* format;    // "" if it has no calls
  bool writes = true;    // does the template write calls of earlier turns?
};
const Row kTemplates[] = {
    {"Apriel-1.6-15b-Thinker-fixed", "apriel"},
    {"Bielik-11B-v3.0-Instruct", "hermes"},
    {"ByteDance-Seed-OSS", "seed-oss"},
    {"Cohere2MoE", "cohere2"},
    {"CohereForAI-c4ai-command-r-plus-tool_use", "command-r-plus"},
    {"GLM-4.6", "glm-4.6"},
    {"GigaChat3-10B-A1.8B", "gigachat3"},
    {"GigaChat3.1-10B-A1.8B", "gigachat3.1"},
    {"Kimi-K2-Instruct", "kimi-k2"},
    {"LFM2-8B-A1B", "lfm2", false},  // shows tools to the model, and leaves calls of earlier turns out
    {"LFM2.5-8B-A1B", "lfm2"},
    {"MiMo-VL", "hermes"},
    {"MiniMax-M1", "minimax-m1"},
    {"MiniMax-M2", "minimax-m2"},
    {"Mistral-Small-3.2-24B-Instruct-2506", "mistral-small"},
    {"NVIDIA-Nemotron-Nano-v2", "nemotron"},
    {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "hermes"},
    {"Qwen-QwQ-32B", "hermes"},
    {"Qwen-Qwen2.5-7B-Instruct", "hermes"},
    {"Qwen-Qwen3-0.6B", "hermes"},
    {"Qwen3-Coder", "qwen3-coder"},
    {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-r1"},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek-r1"},
    {"deepseek-ai-DeepSeek-V3.1", "deepseek-v3.1"},
    {"deepseek-ai-DeepSeek-V3.2", "deepseek-v3.2"},
    {"google-gemma-2-2b-it", ""},  // knows no tools
    {"ibm-granite-granite-3.3-2B-Instruct", "granite-3.3", false},  // describes calls, and leaves those of earlier turns out
    {"ibm-granite-granite-4.0", "hermes"},
    {"jamba_mini_1_7_chat_template", "jamba"},
    {"llama-cpp-deepseek-r1", "deepseek-r1"},
    {"llama-cpp-rwkv-world", ""},  // knows no tools
    {"meta-llama-Llama-3.1-8B-Instruct", "llama3"},
    {"meta-llama-Llama-3.2-3B-Instruct", "llama3"},
    {"meta-llama-Llama-3.3-70B-Instruct", "llama3"},
    {"microsoft-Phi-3.5-mini-instruct", ""},  // knows no tools
    {"mistralai-Mistral-Nemo-Instruct-2407", "mistral-nemo"},
    {"moonshotai-Kimi-K2", "kimi-k2"},
    {"muse-glimmer", "muse"},
    {"openbmb-MiniCPM5-1B", "minicpm5"},
    {"unsloth-Apriel-1.5", "apriel"},
    {"upstage-Solar-Open-100B", "solar"},
};

const std::vector<Tool> kTools = {
    {"get_weather", R"({"type":"object","properties":{"city":{"type":"string","description":"c"},"days":{"type":"integer","description":"d"},
                        "deep":{"type":"array","description":"e","items":{}},"fast":{"type":"boolean","description":"f"},
                        "ratio":{"type":"number","description":"r"}},"required":["city"]})"},
    {"now", R"({"type":"object","properties":{}})"},
};

ordered_json weather_arguments() {
  return {{"city", "S\u00e3o \"P\"\n<b> & c"}, {"days", 3}, {"deep", {"x", {{"a", nullptr}}}}, {"fast", true}, {"ratio", -1.5}};
}

std::string folder() { return std::string(SLUICE_SHARED_DIR) + "/data/templates/"; }

std::string source_of(const char* name) {
  std::ifstream file(folder() + name + ".jinja");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool missing() { return !std::ifstream(folder() + "Qwen-Qwen3-0.6B.jinja").good(); }

TEST(ToolCallTemplates, EveryTemplatesFormatIsKnown) {
  if (missing()) GTEST_SKIP() << "no " << folder() << ": the reference data is not beside the project";
  for (const Row& row : kTemplates) {
    const ToolFormat* format = detect_tool_format(source_of(row.file));
    EXPECT_EQ(format == nullptr ? "" : format->name, row.format) << row.file;
  }
  EXPECT_EQ(detect_tool_format("{{ broken"), nullptr);
  EXPECT_EQ(detect_tool_format(""), nullptr);
}

// The message with `calls` calls as the template writes it, from behind the user's message; the shapes that templates ask for are tried.
std::string rendered(const ChatTemplate& chat, size_t calls) {
  RenderOptions options;
  options.now = DateTime{2026, 11, 22};
  for (const ordered_json& content : {ordered_json(""), ordered_json()}) {
    for (const bool as_string : {false, true}) {
      ordered_json list = ordered_json::array();
      for (size_t i = 0; i < calls; ++i) {
        const ordered_json arguments = i == 0 ? weather_arguments() : ordered_json::object();
        std::string text;  // spaced, as templates write JSON
        uint8_t type = 0;
        EXPECT_TRUE(read_literal(arguments.dump(), text, type));
        list.push_back({{"id", i == 0 ? "call00001" : "call00002"},
                        {"type", "function"},
                        {"function", {{"name", kTools[i].name}, {"arguments", as_string ? ordered_json(text) : arguments}}}});
      }
      ordered_json context = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}, {"bos_token", ""}, {"eos_token", ""}};
      const auto before = chat.render(context, options);
      context["messages"].push_back({{"role", "assistant"}, {"content", content}, {"tool_calls", list}});
      const auto after = chat.render(context, options);
      // Some templates quote arguments that are a string already, or leave calls out that come with a content.
      if (!before.ok() || !after.ok() || after->find("\\\\n") != std::string::npos || after->find("get_weather") == std::string::npos) continue;
      size_t same = 0;
      while (same < before->size() && same < after->size() && (*before)[same] == (*after)[same]) ++same;
      return after->substr(same);
    }
  }
  return "";
}

// Bytes, some words, and what looks like a special token in the text as one, if asked for.
std::shared_ptr<const ConstraintVocabulary> vocabulary_for(const std::string& text, bool with_special) {
  std::vector<std::string> tokens = small_vocabulary();
  std::vector<uint8_t> special(tokens.size(), 0);
  special.back() = 1;
  const std::vector<uint32_t> end = {static_cast<uint32_t>(tokens.size() - 2)};
  for (size_t at = 0; with_special && at < text.size(); ++at) {
    for (const auto& [open, close] : {std::pair<std::string_view, std::string_view>{"<|", "|>"},
                                      {"<｜", "｜>"},
                                      {"<tool_call>", ">"},
                                      {"</tool_call>", ">"},
                                      {"[TOOL_CALLS]", "]"},
                                      {"[ARGS]", "]"},
                                      {"<arg_value>", ">"},
                                      {"</arg_value>", ">"},
                                      {"｜DSML｜", "｜DSML｜"}}) {
      if (!std::string_view(text).substr(at).starts_with(open)) continue;
      const size_t stop = text.find(close, at + open.size() - close.size());
      if (stop == std::string::npos) continue;
      const std::string name = text.substr(at, stop + close.size() - at);
      if (name.size() > 40 || name.find_first_of(" \n") != std::string::npos) continue;
      if (std::find(tokens.begin(), tokens.end(), name) != tokens.end()) continue;
      tokens.push_back(name);
      special.push_back(1);
    }
  }
  auto created = ConstraintVocabulary::create(tokens, end, special);
  SLUICE_CHECK(created.ok());
  return *created;
}

// The longest token that the text goes on with; special ones first.
uint32_t next_token(const ConstraintVocabulary& vocabulary, std::string_view rest) {
  uint32_t best = 0;
  size_t length = 0;
  for (uint32_t token = 0; token < vocabulary.size(); ++token) {
    std::string bytes = vocabulary.token_bytes(token);
    const bool special = bytes.size() > 2 && bytes[0] == kSpecialOpen;
    if (special) bytes = bytes.substr(1, bytes.size() - 2);
    const size_t weight = bytes.size() + (special ? 1000 : 0);
    if (!rest.starts_with(bytes) || weight <= length || vocabulary.is_end(token)) continue;
    best = token;
    length = weight;
  }
  return best;
}

void expect_accepted(const std::shared_ptr<const ConstraintVocabulary>& vocabulary, const ConstraintSpec& spec, const std::string& text,
                     const std::string& where) {
  const auto constraint = Constraint::compile(spec, vocabulary, {});
  ASSERT_TRUE(constraint.ok()) << where << ": " << constraint.error().message;
  ConstraintState state(*constraint);
  std::vector<MaskWord> mask(vocabulary->mask_words());
  for (size_t at = 0; at < text.size();) {
    const uint32_t token = next_token(*vocabulary, std::string_view(text).substr(at));
    std::string bytes = vocabulary->token_bytes(token);
    if (bytes[0] == kSpecialOpen) bytes = bytes.substr(1, bytes.size() - 2);
    ASSERT_TRUE(state.fill_mask(mask));
    ASSERT_TRUE(bit(mask, token) && state.accept(token)) << where << " at '" << text.substr(at, 40) << "' of\n" << text;
    at += bytes.size();
  }
  EXPECT_TRUE(state.can_end()) << where << "\n" << text;
}

TEST(ToolCallTemplates, CallsGoThroughTheTemplateAndComeBack) {
  if (missing()) GTEST_SKIP() << "no " << folder() << ": the reference data is not beside the project";
  for (const Row& row : kTemplates) {
    if (row.format[0] == 0 || !row.writes) continue;
    const ToolFormat& format = *find_tool_format(row.format);
    const auto chat = ChatTemplate::parse(source_of(row.file));
    ASSERT_TRUE(chat.ok()) << row.file;
    const std::string text = rendered(*chat, format.parallel ? 2 : 1);
    ASSERT_NE(text, "") << row.file;
    const std::vector<ToolEvent> events = joined(format, kTools, text, text.size());
    std::vector<std::string> names, arguments;
    for (const ToolEvent& event : events) {
      EXPECT_NE(event.kind, Kind::kBroken) << row.file << "\n" << event.text << "\nof\n" << text;
      if (event.kind == Kind::kCallBegin) names.push_back(event.text);
      if (event.kind == Kind::kArguments) arguments.push_back(event.text);
    }
    ASSERT_EQ(names.size(), format.parallel ? 2u : 1u) << row.file << "\n" << text;
    ASSERT_EQ(arguments.size(), names.size()) << row.file;
    EXPECT_EQ(names[0], "get_weather") << row.file;
    EXPECT_EQ(ordered_json::parse(arguments[0], nullptr, false), weather_arguments()) << row.file << "\n" << arguments[0];
    if (format.parallel) {
      EXPECT_EQ(names[1] + arguments[1], "now{}") << row.file;
    }
    for (const size_t cut : {1u, 3u, 8u}) EXPECT_EQ(joined(format, kTools, text, cut), events) << row.file << " in pieces of " << cut;

    // From the first call to the end of the last one.
    const size_t front = events.front().kind == Kind::kText ? events.front().text.size() : 0;
    const size_t back = events.back().kind == Kind::kText ? events.back().text.size() : 0;
    const std::string calls = text.substr(front, text.size() - front - back);
    for (const bool with_special : {false, true}) {
      const auto vocabulary = vocabulary_for(calls, with_special);
      const std::string where = std::string(row.file) + (with_special ? " with special tokens" : "");
      ConstraintSpec spec = spec_of(ConstraintKind::kToolCalls, tool_calls_text(format, kTools, {.required = true}));
      expect_accepted(vocabulary, spec, calls, where);
      spec.text = tool_calls_text(format, kTools, {});
      expect_accepted(vocabulary, spec, "Sure. " + calls, where);
      spec.text = tool_calls_text(format, kTools, {.strict = false});
      expect_accepted(vocabulary, spec, "Sure. " + calls, where);
    }
  }
}

}  // namespace
}  // namespace sluice::text
