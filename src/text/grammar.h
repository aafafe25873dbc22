// The one intermediate grammar behind every kind of constraint: rules that are automata over bytes whose edges may also call rules.
// Contract: front ends (schema, regex, choice, grammar, tags) only add states and edges here; grammar_compile.h makes rules deterministic,
// removes left recursion and dead ends. Next: text/grammar_compile.h, text/grammar_matcher.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/char_dfa.h"
#include "text/constraint_budget.h"

namespace sluice::text {

using RuleId = uint32_t;
using StateId = uint32_t;  // inside one rule

// Bytes that never occur in UTF-8 bracket the text of a special token, so that text can never spell one.
inline constexpr char kSpecialOpen = '\xFF';
inline constexpr char kSpecialClose = '\xFE';

struct GrammarEdge {
  enum class Kind : uint8_t { kBytes, kEmpty, kCall };
  StateId from, to;
  Kind kind;
  uint8_t low, high;  // kBytes, both included
  RuleId rule;        // kCall
};

// State 0 is the start and state 1 the end of every rule.
struct GrammarRule {
  uint32_t states = 2;
  std::vector<GrammarEdge> edges;
};
inline constexpr StateId kRuleStart = 0;
inline constexpr StateId kRuleEnd = 1;

enum class TextForm {
  kRaw,   // the code points as UTF-8
  kJson,  // as inside a JSON string: '"', '\' and controls escaped in the one canonical way, everything else as UTF-8
  kPython,  // as between single quotes in Python: ''', '\' and controls escaped, but line breaks and tabs may also stand as they are
};

class Grammar {
 public:
  explicit Grammar(Allowance& allowance) : allowance_(&allowance) {}

  RuleId add_rule();
  StateId add_state(RuleId rule);
  void bytes(RuleId rule, StateId from, StateId to, uint8_t low, uint8_t high);
  void empty(RuleId rule, StateId from, StateId to);
  void call(RuleId rule, StateId from, StateId to, RuleId callee);

  // Each returns the state after the fragment.
  StateId literal(RuleId rule, StateId from, std::string_view text);
  // The text, or the special token that is written like it.
  StateId marker(RuleId rule, StateId from, std::string_view text);
  StateId characters(RuleId rule, StateId from, const CharSet& set);
  // One code point as UTF-8 between two states.
  void characters(RuleId rule, StateId from, StateId to, const CharSet& set);
  // Any text of the automaton's language. In kJson form without the quotes; `tail`, if given, is a rule for "any JSON string content and
  // the closing quote": with it the fragment includes the closing quote, and states that accept everything become calls of it.
  StateId text(RuleId rule, StateId from, const CharDfa& dfa, TextForm form);
  StateId json_string_rest(RuleId rule, StateId from, const CharDfa& dfa, RuleId tail) {
    return string_rest(rule, from, dfa, TextForm::kJson, tail);
  }
  StateId string_rest(RuleId rule, StateId from, const CharDfa& dfa, TextForm form, RuleId tail);

  // False once a budget is used up; the work so far is then meaningless and status() says why.
  bool ok() const { return allowance_->ok(); }
  Status status() const { return allowance_->status(); }
  Allowance& allowance() { return *allowance_; }

  const std::vector<GrammarRule>& rules() const { return rules_; }
  RuleId root = 0;

 private:
  void edge(RuleId rule, GrammarEdge edge);
  void quoted_characters(RuleId rule, StateId from, StateId to, const CharSet& set, TextForm form);

  Allowance* allowance_;
  std::vector<GrammarRule> rules_;
};

}  // namespace sluice::text
