// Table automata over classes of code points: product, complement, minimisation, finite sets, lengths.
// Contract: text/char_dfa.h. The dead state is never stored, it is target -1. Next: text/regex.cc builds these from patterns.
#include "text/char_dfa.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "text/utf8.h"

namespace sluice::text {

CharSet normalized(CharSet set) {
  std::sort(set.begin(), set.end(), [](CodeRange a, CodeRange b) { return a.low < b.low; });
  CharSet out;
  for (const CodeRange range : set) {
    if (!out.empty() && range.low <= out.back().high + 1) {
      out.back().high = std::max(out.back().high, range.high);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CharSet complement(const CharSet& set) {
  CharSet out;
  uint32_t from = 0;
  for (const CodeRange range : set) {
    if (range.low > from) out.push_back({from, range.low - 1});
    from = range.high + 1;
  }
  if (from <= kCodePointMax) out.push_back({from, kCodePointMax});
  return out;
}

CharSet unite(const CharSet& a, const CharSet& b) {
  CharSet both = a;
  both.insert(both.end(), b.begin(), b.end());
  return normalized(std::move(both));
}

bool contains(const CharSet& set, uint32_t code_point) {
  return std::any_of(set.begin(), set.end(), [&](CodeRange r) { return r.low <= code_point && code_point <= r.high; });
}

int32_t next_code_point(std::string_view text, size_t& position) {
  const Utf8Char c = decode_utf8(text, position);
  if (!c.valid) return -1;
  position += c.bytes;
  return static_cast<int32_t>(c.code);
}

size_t CharDfa::class_of(uint32_t code_point) const {
  return static_cast<size_t>(std::upper_bound(cuts.begin(), cuts.end(), code_point) - cuts.begin()) - 1;
}

int32_t CharDfa::step(int32_t state, uint32_t code_point) const {
  if (state < 0) return -1;
  return next[static_cast<size_t>(state) * classes() + class_of(code_point)];
}

bool CharDfa::matches(std::string_view utf8) const {
  int32_t state = 0;
  for (size_t i = 0; i < utf8.size() && state >= 0;) {
    const int32_t code_point = next_code_point(utf8, i);
    if (code_point < 0) return false;
    state = step(state, static_cast<uint32_t>(code_point));
  }
  return state >= 0 && accept[static_cast<size_t>(state)] != 0;
}

bool CharDfa::empty() const { return std::find(accept.begin(), accept.end(), 1) == accept.end(); }

CharDfa CharDfa::nothing() { return {{0}, {-1}, {0}}; }
CharDfa CharDfa::everything() { return {{0}, {0}, {1}}; }
CharDfa CharDfa::epsilon() { return {{0}, {-1}, {1}}; }

namespace {

struct MergedCuts {
  std::vector<uint32_t> cuts;
  std::vector<uint32_t> class_a, class_b;  // (classes) the class in either operand
};

MergedCuts merge_cuts(const CharDfa& a, const CharDfa& b) {
  MergedCuts merged;
  std::set_union(a.cuts.begin(), a.cuts.end(), b.cuts.begin(), b.cuts.end(), std::back_inserter(merged.cuts));
  size_t i = 0, j = 0;
  for (const uint32_t cut : merged.cuts) {
    while (i + 1 < a.classes() && a.cuts[i + 1] <= cut) ++i;
    while (j + 1 < b.classes() && b.cuts[j + 1] <= cut) ++j;
    merged.class_a.push_back(static_cast<uint32_t>(i));
    merged.class_b.push_back(static_cast<uint32_t>(j));
  }
  return merged;
}

bool apply(SetOp op, bool in_a, bool in_b) { return op == SetOp::kAnd ? in_a && in_b : op == SetOp::kOr ? in_a || in_b : in_a && !in_b; }

bool alive(SetOp op, int32_t a, int32_t b) { return op == SetOp::kAnd ? a >= 0 && b >= 0 : op == SetOp::kOr ? a >= 0 || b >= 0 : a >= 0; }

}  // namespace

Result<CharDfa> combine(const CharDfa& a, const CharDfa& b, SetOp op, Allowance& allowance) {
  const MergedCuts merged = merge_cuts(a, b);
  const size_t classes = merged.cuts.size();
  CharDfa out;
  out.cuts = merged.cuts;
  std::vector<std::pair<int32_t, int32_t>> pairs = {{0, 0}};
  std::unordered_map<uint64_t, int32_t> seen = {{1ull << 32 | 1, 0}};
  for (size_t at = 0; at < pairs.size(); ++at) {
    const auto [state_a, state_b] = pairs[at];
    SLUICE_TRY_VOID(allowance.spend(8 + classes));
    SLUICE_TRY_VOID(allowance.hold(classes * sizeof(int32_t)));
    out.accept.push_back(
        apply(op, state_a >= 0 && a.accept[static_cast<size_t>(state_a)], state_b >= 0 && b.accept[static_cast<size_t>(state_b)]));
    for (size_t c = 0; c < classes; ++c) {
      const int32_t to_a = state_a < 0 ? -1 : a.next[static_cast<size_t>(state_a) * a.classes() + merged.class_a[c]];
      const int32_t to_b = state_b < 0 ? -1 : b.next[static_cast<size_t>(state_b) * b.classes() + merged.class_b[c]];
      int32_t target = -1;
      if (alive(op, to_a, to_b)) {
        const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(to_a + 1)) << 32 | static_cast<uint32_t>(to_b + 1);
        const auto [it, fresh] = seen.try_emplace(key, static_cast<int32_t>(pairs.size()));
        if (fresh) pairs.emplace_back(to_a, to_b);
        target = it->second;
      }
      out.next.push_back(target);
    }
  }
  return minimized(out, allowance);
}

Result<CharDfa> complement(const CharDfa& a, Allowance& allowance) { return combine(CharDfa::everything(), a, SetOp::kMinus, allowance); }

namespace {

// States from which some accepting state can be reached.
std::vector<uint8_t> productive_states(const CharDfa& a) {
  std::vector<std::vector<uint32_t>> back(a.states());
  for (size_t s = 0; s < a.states(); ++s) {
    for (size_t c = 0; c < a.classes(); ++c) {
      const int32_t to = a.next[s * a.classes() + c];
      if (to >= 0 && (back[static_cast<size_t>(to)].empty() || back[static_cast<size_t>(to)].back() != s)) {
        back[static_cast<size_t>(to)].push_back(static_cast<uint32_t>(s));
      }
    }
  }
  std::vector<uint8_t> good(a.states(), 0);
  std::vector<uint32_t> work;
  for (size_t s = 0; s < a.states(); ++s) {
    if (a.accept[s]) good[s] = 1, work.push_back(static_cast<uint32_t>(s));
  }
  while (!work.empty()) {
    const uint32_t s = work.back();
    work.pop_back();
    for (const uint32_t from : back[s]) {
      if (!good[from]) good[from] = 1, work.push_back(from);
    }
  }
  return good;
}

// Refinement takes one round per state on a long chain (maxLength 2000), so it is kept for automata where that is cheap.
constexpr size_t kMinimizedStatesMax = 256;

// Partition refinement by hashed signatures: rounds x states x classes, charged per round.
Result<std::vector<uint32_t>> partition(const CharDfa& a, const std::vector<uint8_t>& good, Allowance& allowance) {
  const size_t classes = a.classes();
  std::vector<uint32_t> block(a.states());
  for (size_t s = 0; s < a.states(); ++s) block[s] = !good[s] ? 0 : a.accept[s] ? 2 : 1;
  size_t blocks = 0;
  std::vector<uint32_t> signature;
  while (true) {
    std::map<std::vector<uint32_t>, uint32_t> ids;
    std::vector<uint32_t> refined(a.states(), 0);
    for (size_t s = 0; s < a.states(); ++s) {
      if (!good[s]) continue;
      SLUICE_TRY_VOID(allowance.spend(4 + classes));
      signature.assign(1, block[s]);
      for (size_t c = 0; c < classes; ++c) {
        const int32_t to = a.next[s * classes + c];
        signature.push_back(to < 0 ? 0 : block[static_cast<size_t>(to)]);
      }
      refined[s] = ids.try_emplace(signature, static_cast<uint32_t>(ids.size() + 1)).first->second;
    }
    block = std::move(refined);
    if (ids.size() == blocks) return block;
    blocks = ids.size();
  }
}

// Neighbouring classes that every state treats alike become one.
CharDfa with_fewest_classes(const CharDfa& a) {
  CharDfa out;
  out.accept = a.accept;
  std::vector<size_t> kept;
  for (size_t c = 0; c < a.classes(); ++c) {
    bool same = c > 0;
    for (size_t s = 0; s < a.states() && same; ++s) same = a.next[s * a.classes() + c] == a.next[s * a.classes() + c - 1];
    if (!same) kept.push_back(c), out.cuts.push_back(a.cuts[c]);
  }
  for (size_t s = 0; s < a.states(); ++s) {
    for (const size_t c : kept) out.next.push_back(a.next[s * a.classes() + c]);
  }
  return out;
}

}  // namespace

Result<CharDfa> minimized(const CharDfa& a, Allowance& allowance) {
  SLUICE_TRY_VOID(allowance.spend(a.states() * a.classes()));
  const std::vector<uint8_t> good = productive_states(a);
  if (!good[0]) return CharDfa::nothing();
  std::vector<uint32_t> block(a.states());
  for (size_t s = 0; s < a.states(); ++s) block[s] = static_cast<uint32_t>(s);
  if (a.states() <= kMinimizedStatesMax) {
    SLUICE_TRY(block, partition(a, good, allowance));
  }
  CharDfa out;
  out.cuts = a.cuts;
  std::vector<int32_t> renamed(a.states() + 1, -1);
  std::vector<size_t> order = {0};  // one representative of each block, in order of first visit
  renamed[block[0]] = 0;
  for (size_t at = 0; at < order.size(); ++at) {
    const size_t s = order[at];
    out.accept.push_back(a.accept[s]);
    for (size_t c = 0; c < a.classes(); ++c) {
      const int32_t to = a.next[s * a.classes() + c];
      if (to < 0 || !good[static_cast<size_t>(to)]) {
        out.next.push_back(-1);
        continue;
      }
      int32_t& name = renamed[block[static_cast<size_t>(to)]];
      if (name < 0) {
        name = static_cast<int32_t>(order.size());
        order.push_back(static_cast<size_t>(to));
      }
      out.next.push_back(name);
    }
  }
  return with_fewest_classes(out);
}

Result<CharDfa> one_of(const std::vector<std::string>& words, Allowance& allowance) {
  std::vector<std::vector<uint32_t>> decoded;
  std::vector<uint32_t> cuts = {0};
  for (const std::string& word : words) {
    decoded.emplace_back();
    for (size_t i = 0; i < word.size();) {
      const int32_t code_point = next_code_point(word, i);
      if (code_point < 0) return Error{"a string of the constraint is not valid UTF-8"};
      decoded.back().push_back(static_cast<uint32_t>(code_point));
      cuts.push_back(static_cast<uint32_t>(code_point));
      if (code_point < static_cast<int32_t>(kCodePointMax)) cuts.push_back(static_cast<uint32_t>(code_point) + 1);
    }
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  CharDfa trie;
  trie.cuts = cuts;
  const auto add_state = [&] {
    trie.next.insert(trie.next.end(), cuts.size(), -1);
    trie.accept.push_back(0);
    return static_cast<int32_t>(trie.accept.size() - 1);
  };
  add_state();
  for (const auto& word : decoded) {
    size_t state = 0;
    for (const uint32_t code_point : word) {
      SLUICE_TRY_VOID(allowance.spend(8));
      const size_t slot = state * cuts.size() + trie.class_of(code_point);
      if (trie.next[slot] < 0) {
        SLUICE_TRY_VOID(allowance.spend(cuts.size()));
        SLUICE_TRY_VOID(allowance.hold(cuts.size() * sizeof(int32_t)));
        const int32_t fresh = add_state();
        trie.next[slot] = fresh;
      }
      state = static_cast<size_t>(trie.next[slot]);
    }
    trie.accept[state] = 1;
  }
  return minimized(trie, allowance);
}

Result<CharDfa> length_between(uint64_t low, int64_t high, Allowance& allowance) {
  const uint64_t counted = high < 0 ? low : static_cast<uint64_t>(high);
  SLUICE_TRY_VOID(allowance.spend(counted));
  SLUICE_TRY_VOID(allowance.hold(counted * 8));
  if (high >= 0 && low > counted) return CharDfa::nothing();
  CharDfa out;
  out.cuts = {0};
  for (uint64_t i = 0; i <= counted; ++i) {
    out.accept.push_back(i >= low);
    out.next.push_back(i < counted ? static_cast<int32_t>(i + 1) : high < 0 ? static_cast<int32_t>(i) : -1);
  }
  return out;
}

}  // namespace sluice::text
