// A Grammar made ready for matching: one flat table of deterministic states over bytes with calls, no left recursion, no dead ends.
// Contract: from every state of every rule the rule can be finished, no rule calls itself before it has read a byte, and no called rule
// matches the empty text (callers skip it instead). The first states are the built-in rules, the same in every automaton.
// Next: text/grammar_matcher.h runs it, text/constraint_vocabulary.h shares the built-in part of the masks.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "base/result.h"
#include "text/grammar.h"

namespace sluice::text {

inline constexpr uint32_t kNoState = std::numeric_limits<uint32_t>::max();
inline constexpr uint8_t kSafeForever = 255;
inline constexpr uint8_t kSafeMax = 16;

struct PdaEdge {
  uint8_t low, high;
  uint32_t target;
};

struct PdaCall {
  uint32_t callee;  // first state of the called rule
  uint32_t target;
  bool tail;  // nothing is left to do at the target: no frame is needed
};

struct PdaState {
  uint32_t edges_begin = 0;
  uint32_t calls_begin = 0;
  uint16_t edges = 0;
  uint16_t calls = 0;
  uint32_t dense = kNoState;  // into Pda::dense, for states with many edges
  bool accept = false;
  uint8_t safe = 0;  // so many plain characters, whatever they are, can follow; kSafeForever: any number
  uint32_t rule = 0;
};

struct ByteSet {
  uint64_t words[4] = {0, 0, 0, 0};
  void add(uint8_t b) { words[b >> 6] |= 1ull << (b & 63); }
  bool has(uint8_t b) const { return words[b >> 6] >> (b & 63) & 1; }
  void add_range(uint8_t low, uint8_t high) {
    for (uint32_t b = low; b <= high; ++b) add(static_cast<uint8_t>(b));
  }
  bool unite(const ByteSet& other) {
    bool grew = false;
    for (int i = 0; i < 4; ++i) {
      grew |= (other.words[i] & ~words[i]) != 0;
      words[i] |= other.words[i];
    }
    return grew;
  }
};

struct Pda {
  std::vector<PdaState> states;
  std::vector<PdaEdge> edges;  // of one state: sorted, disjoint
  std::vector<PdaCall> calls;
  std::vector<uint32_t> dense;  // (tables, 256)
  std::vector<uint32_t> rule_start;
  std::vector<ByteSet> rule_follow;  // bytes that may come after the rule
  std::vector<uint8_t> rule_shared;  // built-in rules whose masks in the vocabulary hold here too
  uint32_t root = 0;
  uint32_t builtin_states = 0;

  uint32_t step(uint32_t state, uint8_t byte) const {
    const PdaState& s = states[state];
    if (s.dense != kNoState) return dense[s.dense + byte];
    const PdaEdge* edge = edges.data() + s.edges_begin;
    for (uint32_t i = 0; i < s.edges; ++i, ++edge) {
      if (byte <= edge->high) return byte >= edge->low ? edge->target : kNoState;
    }
    return kNoState;
  }
  uint64_t bytes() const {
    return states.size() * sizeof(PdaState) + edges.size() * sizeof(PdaEdge) + calls.size() * sizeof(PdaCall) + dense.size() * 4 +
           rule_start.size() * (4 + sizeof(ByteSet));
  }
};

// How much white space JSON text may have.
enum class JsonSpace : uint8_t {
  kCompact,   // {"a":1,"b":[1,2]}
  kSpaced,    // {"a": 1, "b": [1, 2]}
  kFlexible,  // up to one line break and 64 blanks wherever JSON allows white space
  kPython,    // kSpaced, or as Python writes it: strings in either kind of quotes, True, False and None; for tool calls
};
inline constexpr uint32_t kJsonSpaces = 4;

// The built-in rules: they stand first in every Grammar that this header compiles.
struct BuiltinRules {
  RuleId string_rest;         // JSON string content and the closing quote
  RuleId python_string_rest;  // the same in single quotes, as Python writes it
  RuleId value[kJsonSpaces], object[kJsonSpaces], array[kJsonSpaces];
  RuleId count;
};
const BuiltinRules& builtin_rules();
// A grammar that holds the built-in rules already (they are not compiled again).
Grammar grammar_with_builtins(Allowance& allowance);

// White space between JSON tokens: after '{' '[' and before '}' ']' (kBracket), after ':' (kColon) or after ',' (kComma), before both
// (kBefore).
enum class JsonGap : uint8_t { kBracket, kColon, kComma, kBefore };
StateId json_gap(Grammar& grammar, RuleId rule, StateId from, JsonSpace space, JsonGap gap);
// A JSON number of any value with at most limits::kConstraintNumberDigitsMax digits on either side of the point.
StateId json_number(Grammar& grammar, RuleId rule, StateId from);
StateId json_integer(Grammar& grammar, RuleId rule, StateId from);  // without point and exponent

Result<Pda> compile_grammar(const Grammar& grammar, Allowance& allowance);

}  // namespace sluice::text
