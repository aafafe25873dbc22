// Deterministic automata over Unicode code points: the language of one string, key or number, closed under and, or, not.
// Contract: every operation is charged to an Allowance and bounded by it; matching is linear in the text. Next: text/regex.h,
// text/grammar.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/constraint_budget.h"

namespace sluice::text {

inline constexpr uint32_t kCodePointMax = 0x10FFFF;

struct CodeRange {
  uint32_t low, high;  // both included
};
using CharSet = std::vector<CodeRange>;  // sorted, disjoint, not adjacent

CharSet normalized(CharSet set);
CharSet complement(const CharSet& set);
CharSet unite(const CharSet& a, const CharSet& b);
bool contains(const CharSet& set, uint32_t code_point);

enum class SetOp { kAnd, kOr, kMinus };

// State 0 is the start; target -1 is the dead state. Transitions are a table over classes of code points that no state tells apart.
struct CharDfa {
  std::vector<uint32_t> cuts;   // (classes) first code point of each class; cuts[0] == 0
  std::vector<int32_t> next;    // (states, classes)
  std::vector<uint8_t> accept;  // (states)

  size_t classes() const { return cuts.size(); }
  size_t states() const { return accept.size(); }
  size_t class_of(uint32_t code_point) const;
  int32_t step(int32_t state, uint32_t code_point) const;
  bool matches(std::string_view utf8) const;
  bool empty() const;  // exact after minimized()

  static CharDfa nothing();
  static CharDfa everything();
  static CharDfa epsilon();
};

Result<CharDfa> combine(const CharDfa& a, const CharDfa& b, SetOp op, Allowance& allowance);
Result<CharDfa> complement(const CharDfa& a, Allowance& allowance);
// All states on a way to acceptance, numbered in order of first visit; the fewest possible where there are at most 256.
Result<CharDfa> minimized(const CharDfa& a, Allowance& allowance);
// Exactly these strings.
Result<CharDfa> one_of(const std::vector<std::string>& words, Allowance& allowance);
// Strings of low..high code points; high < 0: no upper bound.
Result<CharDfa> length_between(uint64_t low, int64_t high, Allowance& allowance);

// Decodes one code point and moves the position; -1 where the bytes are not well-formed UTF-8.
int32_t next_code_point(std::string_view text, size_t& position);

}  // namespace sluice::text
