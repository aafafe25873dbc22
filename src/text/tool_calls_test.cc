#include "text/tool_calls.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "text/constraint_test_util.h"

namespace sluice::text {
namespace {

const std::vector<Tool> kTools = {
    {"get_weather", R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1}},"required":["city"],
                        "additionalProperties":false})"},
    {"now", ""},
};

// What a model of this format writes for two calls, or for one where there can be only one.
std::string two_calls(const ToolFormat& f, const std::string& first, const std::string& second) {
  const auto piece = [](std::string_view text) {
    std::string out;
    for (const char c : text) out += c == '#' ? "12" : c == '@' ? "abcDEF123" : std::string(1, c);
    return out;
  };
  const auto call = [&](const std::string& name, const std::string& arguments) {
    return piece(f.call_begin) + name + piece(f.before_arguments) + arguments + piece(f.call_end);
  };
  std::string out = piece(f.section_begin) + call("get_weather", first);
  if (f.parallel) out += piece(f.separator) + call("now", second);
  return out + piece(f.section_end);
}

bool matches(const ToolFormat& format, const ToolCallOptions& options, const std::string& text) {
  Allowance allowance({});
  Grammar grammar = grammar_with_builtins(allowance);
  const Status built = build_tool_calls(format, kTools, options, grammar);
  EXPECT_TRUE(built.ok()) << (built.ok() ? "" : built.error().message);
  const auto pda = compile_grammar(grammar, allowance);
  EXPECT_TRUE(pda.ok());
  if (!pda.ok()) return false;
  Matcher matcher(*pda);
  ReadingSet set, next;
  matcher.enter(pda->root, 0, set);
  for (const char c : text) {
    if (!matcher.step(set, static_cast<uint8_t>(c), next)) return false;
    std::swap(set, next);
  }
  return set.can_end;
}

TEST(ToolCalls, EveryFormatIsAGrammar) {
  for (const ToolFormat& format : tool_formats()) {
    const std::string good = two_calls(format, R"({"city": "Oslo", "days": 3})", R"({"any": [1]})");
    ToolCallOptions options;
    EXPECT_TRUE(matches(format, options, good)) << format.name << ": " << good;
    EXPECT_TRUE(matches(format, options, "Let me look. " + good)) << format.name;
    EXPECT_TRUE(matches(format, options, "No tool is needed.")) << format.name;
    EXPECT_FALSE(matches(format, options, two_calls(format, R"({"city": 5})", "{}"))) << format.name;
    EXPECT_FALSE(matches(format, options, good.substr(0, good.size() - 1))) << format.name;
    options.required = true;
    EXPECT_TRUE(matches(format, options, good)) << format.name;
    EXPECT_FALSE(matches(format, options, "No tool is needed.")) << format.name;
    options.parallel = false;
    EXPECT_EQ(matches(format, options, good), !format.parallel) << format.name;
    options.parallel = true;
    options.strict = false;
    EXPECT_TRUE(matches(format, options, two_calls(format, R"({"city": 5})", "{}"))) << format.name;
  }
}

// Events with neighbouring pieces of text and of arguments joined.
std::vector<ToolEvent> joined(const ToolFormat& format, const std::string& text, size_t piece) {
  ToolCallParser parser(format);
  std::vector<ToolEvent> out;
  const auto add = [&](std::vector<ToolEvent> events) {
    for (ToolEvent& event : events) {
      const bool joins =
          event.kind == ToolEvent::Kind::kText || event.kind == ToolEvent::Kind::kArguments || event.kind == ToolEvent::Kind::kBroken;
      if (joins && !out.empty() && out.back().kind == event.kind && out.back().call == event.call) {
        out.back().text += event.text;
      } else {
        out.push_back(std::move(event));
      }
    }
  };
  for (size_t i = 0; i < text.size(); i += piece) add(parser.feed(std::string_view(text).substr(i, piece)));
  add(parser.finish());
  return out;
}

TEST(ToolCalls, StreamsAreReadBackHoweverTheyAreCut) {
  using Kind = ToolEvent::Kind;
  for (const ToolFormat& format : tool_formats()) {
    const std::string first = R"({"city": "a } \" ] b", "days": 3})", second = R"({"x": [{"y": "\\"}]})";
    const std::string text = "Well < [ {\"a\"} " + two_calls(format, first, second);
    std::vector<ToolEvent> expected = {
        {Kind::kText, 0, "Well < [ {\"a\"} "}, {Kind::kCallBegin, 0, "get_weather"}, {Kind::kArguments, 0, first}, {Kind::kCallEnd, 0, ""}};
    if (format.parallel) {
      expected.push_back({Kind::kCallBegin, 1, "now"});
      expected.push_back({Kind::kArguments, 1, second});
      expected.push_back({Kind::kCallEnd, 1, ""});
    }
    for (const size_t piece : {1u, 2u, 3u, 7u, 1000u}) {
      const std::vector<ToolEvent> events = joined(format, text, piece);
      ASSERT_EQ(events.size(), expected.size()) << format.name << " in pieces of " << piece;
      for (size_t i = 0; i < events.size(); ++i) {
        EXPECT_EQ(events[i].text, expected[i].text) << format.name << " in pieces of " << piece;
        EXPECT_TRUE(events[i] == expected[i]) << format.name << " event " << i;
      }
    }
  }
}

TEST(ToolCalls, WhatIsNoCallComesOutAsBrokenNotAsSilence) {
  using Kind = ToolEvent::Kind;
  const ToolFormat& hermes = *find_tool_format("hermes");
  for (const size_t piece : {1u, 5u, 1000u}) {
    const auto events = joined(hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": 7}\n</tool_call>", piece);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind, Kind::kCallBegin);
    EXPECT_EQ(events[1].kind, Kind::kBroken);
    EXPECT_EQ(events[1].text, "7}\n</tool_call>");
    const auto cut = joined(hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\"", piece);
    EXPECT_EQ(cut.back().kind, Kind::kBroken);
  }
}

TEST(ToolCalls, ToolsThatCannotBeServedAreNamed) {
  const auto refused = [](std::vector<Tool> tools) {
    Allowance allowance({});
    Grammar grammar = grammar_with_builtins(allowance);
    const Status built = build_tool_calls(*find_tool_format("hermes"), tools, {}, grammar);
    return built.ok() ? "" : built.error().message;
  };
  EXPECT_NE(refused({{"a b", ""}}).find("'a b'"), std::string::npos);
  EXPECT_NE(refused({{"f", R"({"type":"object","properties":{"x":{"uniqueItems":true}}})"}}).find("'f': unsupported keyword 'uniqueItems'"),
            std::string::npos);
  EXPECT_NE(refused({}).find("no tools"), std::string::npos);
}

TEST(ToolCalls, FormatsAreFoundFromTheSharedTemplates) {
  const std::string folder = std::string(SLUICE_SHARED_DIR) + "/data/templates/";
  const auto detected = [&](const std::string& name) -> std::string {
    std::ifstream file(folder + name + ".jinja");
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const ToolFormat* format = detect_tool_format(text);
    return format == nullptr ? "" : std::string(format->name);
  };
  if (!std::ifstream(folder + "Qwen-Qwen3-0.6B.jinja").good()) GTEST_SKIP() << "no ../shared/data/templates";
  EXPECT_EQ(detected("jamba_mini_1_7_chat_template"), "jamba");
  EXPECT_EQ(detected("Qwen-Qwen3-0.6B"), "hermes");
  EXPECT_EQ(detected("Qwen-Qwen2.5-7B-Instruct"), "hermes");
  EXPECT_EQ(detected("meta-llama-Llama-3.1-8B-Instruct"), "llama3");
  EXPECT_EQ(detected("mistralai-Mistral-Nemo-Instruct-2407"), "mistral-nemo");
  EXPECT_EQ(detected("Mistral-Small-3.2-24B-Instruct-2506"), "mistral-small");
  EXPECT_EQ(detected("deepseek-ai-DeepSeek-V3.1"), "deepseek-v3.1");
  EXPECT_EQ(detected("moonshotai-Kimi-K2"), "kimi-k2");
  EXPECT_EQ(detected("ibm-granite-granite-4.0"), "hermes");
  EXPECT_EQ(detected("Qwen3-Coder"), "");
  EXPECT_EQ(detected("GLM-4.6"), "");
  EXPECT_EQ(detected("MiniMax-M2"), "");
}

}  // namespace
}  // namespace sluice::text
