// The middle of the grammar compiler: rules as deterministic automata, one per rule, still apart from each other.
// Contract: used by grammar_compile.cc and grammar_recursion.cc only. Next: text/grammar_compile.h.
#pragma once

#include <cstdint>
#include <vector>

#include "text/grammar.h"

namespace sluice::text {

struct RuleEdge {
  uint8_t low, high;
  uint32_t target;
};
struct RuleCall {
  RuleId rule;
  uint32_t target;
};
struct RuleState {
  std::vector<RuleEdge> edges;
  std::vector<RuleCall> calls;
  bool accept = false;
};
// State 0 is the start. No states: the rule matches nothing.
using RuleDfa = std::vector<RuleState>;

struct RuleFacts {
  std::vector<uint8_t> productive;  // (rules) some text matches
  std::vector<uint8_t> nullable;    // (rules) the empty text matches
};
// Rules below `first` are taken to be productive and not nullable.
Result<RuleFacts> rule_facts(const std::vector<GrammarRule>& rules, RuleId first, Allowance& allowance);
Result<RuleDfa> determinize(const GrammarRule& rule, const RuleFacts& facts, Allowance& allowance);
// The same language without the empty text.
void strip_empty_text(RuleDfa& rule);
// Rewrites rules that call themselves before reading a byte, directly or through others. Rules below `first` are left alone.
Status remove_left_recursion(std::vector<RuleDfa>& rules, RuleId first, const RuleFacts& facts, Allowance& allowance);

}  // namespace sluice::text
