#include "text/tool_calls.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "text/tool_calls_test_util.h"

namespace sluice::text {
namespace {

using Kind = ToolEvent::Kind;
using nlohmann::ordered_json;

const std::vector<Tool> kTools = {
    {"get_weather", R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":1},"deep":{"type":"array"}},
                        "required":["city"],"additionalProperties":false})"},
    {"now", ""},
};

std::string piece(std::string_view text, std::string_view name) {
  std::string out;
  for (const char c : text) out += c == '#' ? "12" : c == '@' || c == '*' ? "abcDEF123" : c == '%' ? std::string(name) : std::string(1, c);
  return out;
}

std::string spaced(const ordered_json& value) {
  std::string out;
  uint8_t type = 0;
  EXPECT_TRUE(read_literal(value.dump(), out, type));
  return out;
}

// What a model of this format writes for one call with these arguments.
std::string one_call(const ToolFormat& f, const std::string& name, const ordered_json& arguments) {
  std::string inside;
  if (f.style == ToolStyle::kJson) {
    inside = f.space == JsonSpace::kFlexible ? arguments.dump(2) : spaced(arguments);
  } else {
    for (const auto& [key, value] : arguments.items()) {
      const bool python = f.style == ToolStyle::kPython;
      if (python && !inside.empty()) inside += f.param_end;
      std::string text = value.is_string() && !python ? value.get<std::string>() : spaced(value);
      if (f.cdata && value.is_string() && text.find_first_of("<&\n") != std::string::npos) text = "<![CDATA[" + text + "]]>";
      inside += std::string(f.param_begin) + key + std::string(value.is_string() || f.param_value_other.empty() ? f.param_value : f.param_value_other);
      inside += text + (python ? "" : std::string(f.param_end) + std::string(f.param_gap));
    }
  }
  return piece(f.call_begin, name) + name + piece(f.before_arguments, name) + inside + piece(f.call_end, name);
}

// Two calls, or one where there can be only one.
std::string two_calls(const ToolFormat& f, const ordered_json& first, const ordered_json& second) {
  std::string out = piece(f.section_begin, "") + one_call(f, "get_weather", first);
  if (f.parallel) out += piece(f.separator, "") + one_call(f, "now", second);
  return out + piece(f.section_end, "");
}

bool matches(const ToolFormat& format, const ToolCallOptions& options, const std::string& text) {
  return matches(format, kTools, options, text);
}

TEST(ToolCalls, EveryFormatIsAGrammar) {
  for (const ToolFormat& format : tool_formats()) {
    const std::string good = two_calls(format, {{"city", "Oslo"}, {"days", 3}, {"deep", {1, {{"a", nullptr}}}}}, {{"any", {1}}});
    ToolCallOptions options;
    EXPECT_TRUE(matches(format, options, good)) << format.name << ": " << good;
    EXPECT_TRUE(matches(format, options, "Let me look. " + good)) << format.name;
    EXPECT_TRUE(matches(format, options, "No tool is needed.")) << format.name;
    const std::string wrong_type = two_calls(format, {{"city", "Oslo"}, {"days", ordered_json::array()}}, ordered_json::object());
    EXPECT_FALSE(matches(format, options, wrong_type)) << format.name;
    const std::string missing = two_calls(format, {{"days", 5}}, ordered_json::object());
    EXPECT_FALSE(matches(format, options, missing)) << format.name;
    EXPECT_FALSE(matches(format, options, two_calls(format, {{"city", "Oslo"}, {"days", 0}}, ordered_json::object()))) << format.name;
    EXPECT_FALSE(matches(format, options, good.substr(0, good.size() - 1))) << format.name;
    options.required = true;
    EXPECT_TRUE(matches(format, options, good)) << format.name;
    EXPECT_TRUE(matches(format, options, "\n" + good)) << format.name;
    EXPECT_FALSE(matches(format, options, "No tool is needed.")) << format.name;
    options.parallel = false;
    EXPECT_EQ(matches(format, options, good), !format.parallel) << format.name;
    options.parallel = true;
    options.strict = false;
    EXPECT_TRUE(matches(format, options, wrong_type)) << format.name << wrong_type;
    EXPECT_TRUE(matches(format, options, missing)) << format.name;
    EXPECT_TRUE(matches(format, options, two_calls(format, ordered_json::object(), ordered_json::object()))) << format.name;
  }
}

TEST(ToolCalls, StreamsAreReadBackHoweverTheyAreCut) {
  for (const ToolFormat& format : tool_formats()) {
    ordered_json first = {{"city", "a } \" ] <b\\\t"}, {"days", 3}, {"deep", {true, {{"x", "y \\\" ]}"}}}}};
    if (format.cdata) first["city"] = "a < & b]]\n>";
    const ordered_json second = {{"x", {{{"y", "\\"}}}}, {"z", nullptr}};
    const std::string text = "Well < [ {\"a\"} " + two_calls(format, first, second);
    for (const size_t cut : {1u, 2u, 3u, 7u, 1000u}) {
      const std::vector<ToolEvent> events = joined(format, kTools, text, cut);
      const std::string where = std::string(format.name) + " in pieces of " + std::to_string(cut);
      ASSERT_EQ(events.size(), format.parallel ? 7u : 4u) << where << "\n" << text;
      EXPECT_EQ(events[0], (ToolEvent{Kind::kText, 0, "Well < [ {\"a\"} "})) << where;
      EXPECT_EQ(events[1], (ToolEvent{Kind::kCallBegin, 0, "get_weather"})) << where;
      EXPECT_EQ(events[2].kind, Kind::kArguments) << where;
      EXPECT_EQ(ordered_json::parse(events[2].text, nullptr, false), first) << where << "\n" << events[2].text;
      EXPECT_EQ(events[3], (ToolEvent{Kind::kCallEnd, 0, ""})) << where;
      if (!format.parallel) continue;
      EXPECT_EQ(events[4], (ToolEvent{Kind::kCallBegin, 1, "now"})) << where;
      EXPECT_EQ(ordered_json::parse(events[5].text, nullptr, false), second) << where << "\n" << events[5].text;
      EXPECT_EQ(events[6], (ToolEvent{Kind::kCallEnd, 1, ""})) << where;
    }
  }
}

TEST(ToolCalls, StringsAsTheyAreGoOutWhileTheyCome) {
  ToolCallParser parser(*find_tool_format("qwen3-coder"), kTools);
  std::string arguments;
  const auto feed = [&](std::string_view text) {
    for (const ToolEvent& event : parser.feed(text)) arguments += event.kind == Kind::kArguments ? event.text : "";
    return arguments;
  };
  EXPECT_EQ(feed("<tool_call>\n<function=get_weather>\n<parameter=city>\nSan \"Fran"), "{\"city\": \"San \\\"Fran");
  EXPECT_EQ(feed("cisco\n</"), "{\"city\": \"San \\\"Francisco");
  EXPECT_EQ(feed("b>\n</parameter>"), "{\"city\": \"San \\\"Francisco\\n</b>\"");
}

TEST(ToolCalls, TypesComeFromTheSchema) {
  const std::vector<Tool> tools = {{"f", R"({"type":"object","properties":{
      "s":{"type":"string"},"n":{"type":"number"},"i":{"type":"integer"},"b":{"type":"boolean"},"either":{"type":["string","null"]},
      "any":{},"e":{"enum":["1","2"]},"r":{"$ref":"#/$defs/r"},"o":{"anyOf":[{"type":"object"},{"type":"string"}]}},
      "$defs":{"r":{"type":"array","items":{"type":"integer"}}}})"}};
  const auto arguments = [&](const std::string& key, const std::string& value) {
    const std::string text =
        "<seed:tool_call>\n<function=f>\n<parameter=" + key + ">" + value + "</parameter>\n</function>\n</seed:tool_call>";
    const auto events = joined(*find_tool_format("seed-oss"), tools, text, 4);
    return events.size() == 3 ? events[1].text : "?";
  };
  EXPECT_EQ(arguments("s", "5"), R"({"s": "5"})");
  EXPECT_EQ(arguments("s", "true"), R"({"s": "true"})");
  EXPECT_EQ(arguments("n", "-0.5e3"), R"({"n": -0.5e3})");
  EXPECT_EQ(arguments("i", "7"), R"({"i": 7})");
  EXPECT_EQ(arguments("i", "7.5"), R"({"i": "7.5"})");  // not of the type: shown as it is
  EXPECT_EQ(arguments("b", "True"), R"({"b": true})");
  EXPECT_EQ(arguments("either", "None"), R"({"either": null})");
  EXPECT_EQ(arguments("either", "12"), R"({"either": "12"})");
  EXPECT_EQ(arguments("any", "12"), R"({"any": 12})");
  EXPECT_EQ(arguments("any", "'twelve'"), R"({"any": "'twelve'"})");
  EXPECT_EQ(arguments("e", "1"), R"({"e": "1"})");
  EXPECT_EQ(arguments("r", "[1,2, 3,]"), R"({"r": [1, 2, 3]})");
  EXPECT_EQ(arguments("o", "{'a': (1, None), 2: \"x\"}"), R"({"o": {"a": [1, null], "2": "x"}})");
  EXPECT_EQ(arguments("o", "{'a'"), R"({"o": "{'a'"})");
  EXPECT_EQ(arguments("unknown", "False"), R"({"unknown": false})");
}

TEST(ToolCalls, StringsAsTheyAreKeepToTheirSchema) {
  const std::vector<Tool> tools = {{"f", R"({"type":"object","properties":{"code":{"type":"string","pattern":"^[a-z]+$"},
      "unit":{"enum":["C","F"]},"n":{"type":["string","integer"],"maxLength":2}}})"}};
  const auto good = [&](const std::string& key, const std::string& value) {
    return matches(*find_tool_format("minimax-m2"), tools, {.required = true},
                   "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"" + key + "\">" + value +
                       "</parameter>\n</invoke>\n</minimax:tool_call>");
  };
  EXPECT_TRUE(good("code", "abc"));
  EXPECT_FALSE(good("code", "aBc"));
  EXPECT_TRUE(good("unit", "C"));
  EXPECT_FALSE(good("unit", "\"C\""));
  EXPECT_TRUE(good("n", "ab"));
  EXPECT_TRUE(good("n", "1234"));
  EXPECT_FALSE(good("n", "abc"));
  EXPECT_FALSE(good("other", "abc"));
  EXPECT_FALSE(matches(*find_tool_format("minimax-m2"), {{"f", R"({"properties":{"s":{"type":"string"}}})"}}, {.required = true},
                       "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"s\">a</parameter>b</parameter>\n</invoke>\n"
                       "</minimax:tool_call>"));
}

TEST(ToolCalls, PythonValuesAreReadAsPythonWritesThem) {
  const std::vector<Tool> tools = {{"f", R"({"type":"object","properties":{"a":{"type":"string"},
      "b":{"type":"array","items":{"type":["string","boolean","null"]}}}})"}};
  const ToolFormat& lfm2 = *find_tool_format("lfm2");
  const auto arguments = [&](const std::string& inside) {
    const std::string text = "<|tool_call_start|>[f(" + inside + ")]<|tool_call_end|>";
    EXPECT_TRUE(matches(lfm2, tools, {.required = true}, text)) << text;
    const auto events = joined(lfm2, tools, text, 3);
    return events.size() == 3 ? events[1].text : "?";
  };
  EXPECT_EQ(arguments("a='it\\'s \"x\"\\n\\x41', b=[True, None, 'y,)']"), R"x({"a": "it's \"x\"\nA", "b": [true, null, "y,)"]})x");
  EXPECT_EQ(arguments("b=[\"z\", false, 'é']"), R"({"b": ["z", false, "é"]})");
  EXPECT_EQ(arguments(""), "{}");
  EXPECT_FALSE(matches(lfm2, tools, {}, "<|tool_call_start|>[f(b=[1])]<|tool_call_end|>"));
  EXPECT_FALSE(matches(lfm2, tools, {}, "<|tool_call_start|>[f(a='x' b=[])]<|tool_call_end|>"));
}

TEST(ToolCalls, WhatIsNoCallComesOutAsBrokenNotAsSilence) {
  const auto events_of = [](const char* format, const std::string& text, size_t cut) {
    return joined(*find_tool_format(format), kTools, text, cut);
  };
  for (const size_t cut : {1u, 5u, 1000u}) {
    const auto events = events_of("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": 7}\n</tool_call>", cut);
    ASSERT_EQ(events.size(), 2u);
    EXPECT_EQ(events[0].kind, Kind::kCallBegin);
    EXPECT_EQ(events[1].kind, Kind::kBroken);
    EXPECT_EQ(events[1].text, "7}\n</tool_call>");
    EXPECT_EQ(events_of("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\"", cut).back().kind, Kind::kBroken);
    EXPECT_EQ(events_of("qwen3-coder", "<tool_call>\n<function=now>\n<oops>", cut).back(), (ToolEvent{Kind::kBroken, 0, "<oops>"}));
    EXPECT_EQ(events_of("qwen3-coder", "<tool_call>\n<function=now>\n<parameter=x>\n5", cut).back(), (ToolEvent{Kind::kBroken, 0, "5"}));
    EXPECT_EQ(events_of("lfm2", "<|tool_call_start|>[now(x=y)]", cut).back(), (ToolEvent{Kind::kBroken, 0, "y)]"}));
    // Behind a call there may be text again, also white space.
    const auto after = events_of("hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n", cut);
    EXPECT_EQ(after.back(), (ToolEvent{Kind::kText, 1, "\n"}));
  }
}

TEST(ToolCalls, ToolsThatCannotBeServedAreNamed) {
  const auto refused = [](const char* format, std::vector<Tool> tools) {
    Allowance allowance({});
    Grammar grammar = grammar_with_builtins(allowance);
    const Status built = build_tool_calls(*find_tool_format(format), tools, {}, grammar);
    return built.ok() ? "" : built.error().message;
  };
  EXPECT_NE(refused("hermes", {{"a b", ""}}).find("'a b'"), std::string::npos);
  const Tool unique = {"f", R"({"type":"object","properties":{"x":{"uniqueItems":true}}})"};
  EXPECT_NE(refused("hermes", {unique}).find("'f': unsupported keyword 'uniqueItems'"), std::string::npos);
  EXPECT_NE(refused("glm-4.6", {unique}).find("'f': unsupported keyword 'uniqueItems'"), std::string::npos);
  EXPECT_NE(refused("glm-4.6", {{"f", R"({"anyOf":[{},{}],"properties":{}})"}}).find("unsupported keyword 'anyOf'"), std::string::npos);
  EXPECT_NE(refused("glm-4.6", {{"f", R"({"properties":{"a b":{}}})"}}).find("parameter name 'a b'"), std::string::npos);
  EXPECT_NE(refused("hermes", {}).find("no tools"), std::string::npos);
}

TEST(ToolCalls, GoThroughAConstraintSpec) {
  const ToolFormat& format = *find_tool_format("glm-4.6");
  ConstraintSpec spec = spec_of(ConstraintKind::kToolCalls, tool_calls_text(format, kTools, {.required = true, .parallel = false}));
  const auto constraint = compiled(spec);
  EXPECT_TRUE(accepts(constraint, "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>"));
  EXPECT_FALSE(accepts(constraint, "<tool_call>get_weather\n</tool_call>"));
  EXPECT_NE(refusal(spec_of(ConstraintKind::kToolCalls, "{}")).find("tool calls"), std::string::npos);
  EXPECT_NE(refusal(spec_of(ConstraintKind::kToolCalls,
                            R"({"format":"x","tools":[],"required":true,"parallel":true,"strict":true,"space":0})"))
                .find("unknown tool format 'x'"),
            std::string::npos);
}

TEST(ToolCalls, IdsAreWhatTemplatesTakeBack) {
  EXPECT_EQ(tool_call_id(*find_tool_format("kimi-k2"), "now", 3, 99), "functions.now:3");
  const std::string id = tool_call_id(*find_tool_format("mistral-nemo"), "now", 0, 12345);
  EXPECT_EQ(id.size(), 9u);
  EXPECT_NE(id, tool_call_id(*find_tool_format("mistral-nemo"), "now", 1, 12345));
}

}  // namespace
}  // namespace sluice::text
