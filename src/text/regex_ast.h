// The parsed form of a pattern: nodes in one vector, children by index. Contract: children come before their parent, and nesting is bounded
// by limits::kConstraintNestingMax, so recursion over the tree is safe. Next: text/regex.cc turns it into an automaton.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/char_dfa.h"

namespace sluice::text {

struct RegexNode {
  enum class Kind : uint8_t { kSet, kSequence, kChoice, kRepeat, kBegin, kEnd };
  Kind kind = Kind::kSequence;  // a sequence of nothing is the empty string
  CharSet set;                  // kSet
  std::vector<uint32_t> children;
  uint32_t repeat_min = 0;  // kRepeat
  int64_t repeat_max = 0;   // kRepeat; -1: no bound
};

struct RegexTree {
  std::vector<RegexNode> nodes;
  uint32_t root = 0;
};

Result<RegexTree> parse_regex(std::string_view pattern, Allowance& allowance);
// \d \w \s and their complements, and \p{...} for general categories; shared with the grammar front end.
CharSet digit_set();
CharSet word_set();
CharSet space_set();

}  // namespace sluice::text
