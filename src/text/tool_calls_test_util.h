// Helpers of the tests of tool calls: what a model of a format writes, and what is read back. Contract: tests only.
// Next: text/tool_calls_test.cc, text/tool_calls_templates_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/constraint_test_util.h"
#include "text/tool_calls.h"

namespace sluice::text {

inline bool matches(const ToolFormat& format, const std::vector<Tool>& tools, const ToolCallOptions& options, const std::string& text) {
  Allowance allowance({});
  Grammar grammar = grammar_with_builtins(allowance);
  const Status built = build_tool_calls(format, tools, options, grammar);
  EXPECT_TRUE(built.ok()) << format.name << ": " << (built.ok() ? "" : built.error().message);
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

// Events with neighbouring pieces of text and of arguments joined.
inline std::vector<ToolEvent> joined(const ToolFormat& format, const std::vector<Tool>& tools, const std::string& text, size_t piece) {
  ToolCallParser parser(format, tools);
  std::vector<ToolEvent> out;
  const auto add = [&](const std::vector<ToolEvent>& events) {
    for (const ToolEvent& event : events) {
      const bool joins =
          event.kind == ToolEvent::Kind::kText || event.kind == ToolEvent::Kind::kArguments || event.kind == ToolEvent::Kind::kBroken;
      if (joins && !out.empty() && out.back().kind == event.kind && out.back().call == event.call) {
        out.back().text += event.text;
      } else {
        out.push_back(event);
      }
    }
  };
  for (size_t i = 0; i < text.size(); i += piece) add(parser.feed(std::string_view(text).substr(i, piece)));
  add(parser.finish());
  return out;
}

}  // namespace sluice::text
