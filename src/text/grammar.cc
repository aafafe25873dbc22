// Building blocks for rules: bytes, literals, code point sets as UTF-8, automata as text or as JSON string content.
// Contract: text/grammar.h. Everything here is charged to the Allowance; after it is used up nothing more is added. Next:
// grammar_compile.cc.
#include "text/grammar.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>

#include "text/utf8.h"

namespace sluice::text {

RuleId Grammar::add_rule() {
  if (allowance_->hold(sizeof(GrammarRule)).ok()) rules_.emplace_back();
  if (rules_.empty()) rules_.emplace_back();
  return static_cast<RuleId>(rules_.size() - 1);
}

StateId Grammar::add_state(RuleId rule) {
  if (!allowance_->ok()) return kRuleEnd;
  return rules_[rule].states++;
}

void Grammar::edge(RuleId rule, GrammarEdge edge) {
  if (!allowance_->spend_fast(2) || !allowance_->hold(sizeof(GrammarEdge) + 8).ok()) return;
  rules_[rule].edges.push_back(edge);
}

void Grammar::bytes(RuleId rule, StateId from, StateId to, uint8_t low, uint8_t high) {
  edge(rule, {from, to, GrammarEdge::Kind::kBytes, low, high, 0});
}
void Grammar::empty(RuleId rule, StateId from, StateId to) { edge(rule, {from, to, GrammarEdge::Kind::kEmpty, 0, 0, 0}); }
void Grammar::call(RuleId rule, StateId from, StateId to, RuleId callee) { edge(rule, {from, to, GrammarEdge::Kind::kCall, 0, 0, callee}); }

StateId Grammar::literal(RuleId rule, StateId from, std::string_view text) {
  for (const char c : text) {
    const StateId to = add_state(rule);
    bytes(rule, from, to, static_cast<uint8_t>(c), static_cast<uint8_t>(c));
    from = to;
  }
  return from;
}

StateId Grammar::marker(RuleId rule, StateId from, std::string_view text) {
  const StateId plain = literal(rule, from, text);
  std::string special(1, kSpecialOpen);
  special.append(text);
  const StateId before_close = literal(rule, from, special);
  bytes(rule, before_close, plain, static_cast<uint8_t>(kSpecialClose), static_cast<uint8_t>(kSpecialClose));
  return plain;
}

StateId Grammar::characters(RuleId rule, StateId from, const CharSet& set) {
  const StateId to = add_state(rule);
  characters(rule, from, to, set);
  return to;
}

namespace {

struct ByteRun {
  std::array<uint8_t, 4> low, high;
  size_t length;
};

// Splits one range of code points into runs whose bytes vary independently.
void split_utf8(uint32_t low, uint32_t high, std::vector<ByteRun>& out) {
  constexpr uint32_t kLast[] = {0x7F, 0x7FF, 0xFFFF, kCodePointMax};
  for (const uint32_t last : kLast) {
    if (low <= last && high > last) {
      split_utf8(low, last, out);
      split_utf8(last + 1, high, out);
      return;
    }
  }
  if (high < 0x80) {
    out.push_back({{static_cast<uint8_t>(low)}, {static_cast<uint8_t>(high)}, 1});
    return;
  }
  for (uint32_t bits = 6; bits <= 18; bits += 6) {
    const uint32_t mask = (1u << bits) - 1;
    if ((low & ~mask) == (high & ~mask)) continue;
    if ((low & mask) != 0) {
      split_utf8(low, low | mask, out);
      split_utf8((low | mask) + 1, high, out);
      return;
    }
    if ((high & mask) != mask) {
      split_utf8(low, (high & ~mask) - 1, out);
      split_utf8(high & ~mask, high, out);
      return;
    }
  }
  std::string a, b;
  append_utf8(a, low);
  append_utf8(b, high);
  ByteRun run{{}, {}, a.size()};
  for (size_t i = 0; i < a.size(); ++i) run.low[i] = static_cast<uint8_t>(a[i]), run.high[i] = static_cast<uint8_t>(b[i]);
  out.push_back(run);
}

CharSet without_surrogates(const CharSet& set) {
  CharSet out;
  for (const CodeRange range : set) {
    if (range.high < 0xD800 || range.low > 0xDFFF) {
      out.push_back(range);
      continue;
    }
    if (range.low < 0xD800) out.push_back({range.low, 0xD7FF});
    if (range.high > 0xDFFF) out.push_back({0xE000, range.high});
  }
  return out;
}

CharSet intersect(const CharSet& a, const CharSet& b) {
  CharSet out;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const uint32_t low = std::max(a[i].low, b[j].low), high = std::min(a[i].high, b[j].high);
    if (low <= high) out.push_back({low, high});
    a[i].high < b[j].high ? ++i : ++j;
  }
  return out;
}

// What may stand unescaped in a JSON string.
const CharSet kJsonPlain = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, kCodePointMax}};

struct JsonEscape {
  uint32_t code_point;
  char letter;
};
constexpr JsonEscape kJsonEscapes[] = {{'"', '"'}, {'\\', '\\'}, {'\b', 'b'}, {'\f', 'f'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}};
const CharSet kPythonPlain = {{'\t', '\n'}, {'\r', '\r'}, {0x20, 0x26}, {0x28, 0x5B}, {0x5D, kCodePointMax}};
constexpr JsonEscape kPythonEscapes[] = {{'\'', '\''}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}};

}  // namespace

void Grammar::characters(RuleId rule, StateId from, StateId to, const CharSet& set) {
  std::vector<ByteRun> runs;
  for (const CodeRange range : without_surrogates(set)) split_utf8(range.low, range.high, runs);
  // Suffixes (low, high pairs, then `to`) are shared, so a large set stays a small automaton.
  std::map<std::vector<uint8_t>, StateId> suffixes;
  for (const ByteRun& run : runs) {
    StateId target = to;
    std::vector<uint8_t> suffix;
    for (size_t i = run.length; i-- > 1;) {
      suffix.push_back(run.low[i]);
      suffix.push_back(run.high[i]);
      const auto [it, fresh] = suffixes.try_emplace(suffix, 0);
      if (fresh) {
        it->second = add_state(rule);
        bytes(rule, it->second, target, run.low[i], run.high[i]);
      }
      target = it->second;
    }
    bytes(rule, from, target, run.low[0], run.high[0]);
  }
}

void Grammar::quoted_characters(RuleId rule, StateId from, StateId to, const CharSet& set, TextForm form) {
  const bool python = form == TextForm::kPython;
  const std::span<const JsonEscape> escapes = python ? std::span<const JsonEscape>(kPythonEscapes) : kJsonEscapes;
  characters(rule, from, to, intersect(set, python ? kPythonPlain : kJsonPlain));
  StateId backslash = kRuleStart;
  const auto after_backslash = [&] {
    if (backslash == kRuleStart) backslash = literal(rule, from, "\\");
    return backslash;
  };
  for (const JsonEscape& escape : escapes) {
    if (!contains(set, escape.code_point)) continue;
    bytes(rule, after_backslash(), to, static_cast<uint8_t>(escape.letter), static_cast<uint8_t>(escape.letter));
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  for (uint32_t c = 0; c < 0x20; ++c) {
    const bool named = std::any_of(escapes.begin(), escapes.end(), [&](JsonEscape e) { return e.code_point == c; });
    if (named || !contains(set, c)) continue;
    const StateId high = literal(rule, after_backslash(), std::string(python ? "x" : "u00") + kHex[c >> 4]);
    bytes(rule, high, to, static_cast<uint8_t>(kHex[c & 15]), static_cast<uint8_t>(kHex[c & 15]));
  }
}

namespace {

// The code points that lead from a state to each of its targets.
std::map<int32_t, CharSet> sets_by_target(const CharDfa& dfa, size_t state) {
  std::map<int32_t, CharSet> sets;
  for (size_t c = 0; c < dfa.classes(); ++c) {
    const int32_t target = dfa.next[state * dfa.classes() + c];
    if (target < 0) continue;
    const uint32_t high = c + 1 < dfa.classes() ? dfa.cuts[c + 1] - 1 : kCodePointMax;
    CharSet& set = sets[target];
    if (!set.empty() && set.back().high + 1 == dfa.cuts[c]) {
      set.back().high = high;
    } else {
      set.push_back({dfa.cuts[c], high});
    }
  }
  return sets;
}

bool accepts_everything(const CharDfa& dfa, size_t state) {
  if (!dfa.accept[state]) return false;
  for (size_t c = 0; c < dfa.classes(); ++c) {
    if (dfa.next[state * dfa.classes() + c] != static_cast<int32_t>(state)) return false;
  }
  return true;
}

}  // namespace

StateId Grammar::text(RuleId rule, StateId from, const CharDfa& dfa, TextForm form) {
  std::vector<StateId> states(dfa.states());
  for (StateId& state : states) state = add_state(rule);
  const StateId to = add_state(rule);
  empty(rule, from, states[0]);
  for (size_t s = 0; s < dfa.states() && ok(); ++s) {
    for (const auto& [target, set] : sets_by_target(dfa, s)) {
      const StateId next = states[static_cast<size_t>(target)];
      form == TextForm::kRaw ? characters(rule, states[s], next, set) : quoted_characters(rule, states[s], next, set, form);
    }
    if (dfa.accept[s]) empty(rule, states[s], to);
  }
  return to;
}

StateId Grammar::string_rest(RuleId rule, StateId from, const CharDfa& dfa, TextForm form, RuleId tail) {
  const uint8_t quote = form == TextForm::kPython ? '\'' : '"';
  std::vector<StateId> states(dfa.states());
  for (StateId& state : states) state = add_state(rule);
  const StateId to = add_state(rule);
  empty(rule, from, states[0]);
  for (size_t s = 0; s < dfa.states() && ok(); ++s) {
    if (accepts_everything(dfa, s)) {
      call(rule, states[s], to, tail);
      continue;
    }
    for (const auto& [target, set] : sets_by_target(dfa, s)) quoted_characters(rule, states[s], states[static_cast<size_t>(target)], set, form);
    if (dfa.accept[s]) bytes(rule, states[s], to, quote, quote);
  }
  return to;
}

}  // namespace sluice::text
