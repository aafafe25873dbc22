// Pattern tree -> nondeterministic automaton with begin and end assertions -> CharDfa by subset construction.
// Contract: text/regex.h. Assertions are edges that may be followed only before the first or after the last character.
// Next: text/regex_parse.cc, text/char_dfa.cc.
#include "text/regex.h"

#include <algorithm>
#include <unordered_map>

#include "text/regex_ast.h"

namespace sluice::text {
namespace {

constexpr uint32_t kNone = ~0u;

struct NfaState {
  // Any of: one set edge, empty edges, one begin edge, one end edge.
  uint32_t set = kNone;  // into Nfa::sets
  uint32_t to = kNone;
  std::vector<uint32_t> empty;
  uint32_t begin = kNone;
  uint32_t end = kNone;
};

struct Nfa {
  std::vector<NfaState> states;
  std::vector<CharSet> sets;
  uint32_t start = 0;
  uint32_t accept = 0;
};

class NfaBuilder {
 public:
  NfaBuilder(const RegexTree& tree, Allowance& allowance) : tree_(tree), allowance_(allowance) {}

  Result<Nfa> build(RegexMatch match) {
    nfa_.start = add();
    nfa_.accept = add();
    SLUICE_TRY(uint32_t from, anything(nfa_.start, match));
    SLUICE_TRY(from, emit(tree_.root, from));
    SLUICE_TRY(from, anything(from, match));
    nfa_.states[from].empty.push_back(nfa_.accept);
    return std::move(nfa_);
  }

 private:
  uint32_t add() {
    nfa_.states.emplace_back();
    return static_cast<uint32_t>(nfa_.states.size() - 1);
  }
  Status charge() {
    SLUICE_TRY_VOID(allowance_.spend(20));
    return allowance_.hold(2 * sizeof(NfaState) + 16);
  }
  uint32_t intern(const CharSet& set) {
    nfa_.sets.push_back(set);
    return static_cast<uint32_t>(nfa_.sets.size() - 1);
  }

  Result<uint32_t> anything(uint32_t from, RegexMatch match) {
    if (match == RegexMatch::kWhole) return from;
    const uint32_t loop = add();
    nfa_.states[from].empty.push_back(loop);
    nfa_.states[loop].set = intern({{0, kCodePointMax}});
    nfa_.states[loop].to = loop;
    const uint32_t out = add();
    nfa_.states[loop].empty.push_back(out);
    return out;
  }

  Result<uint32_t> emit(uint32_t index, uint32_t from) {
    SLUICE_TRY_VOID(charge());
    const RegexNode& node = tree_.nodes[index];
    switch (node.kind) {
      case RegexNode::Kind::kSet: return emit_set(index, from);
      case RegexNode::Kind::kSequence:
        for (const uint32_t child : node.children) {
          SLUICE_TRY(from, emit(child, from));
        }
        return from;
      case RegexNode::Kind::kChoice: return emit_choice(node, from);
      case RegexNode::Kind::kRepeat: return emit_repeat(node, from);
      case RegexNode::Kind::kBegin: {
        const uint32_t at = add(), to = add();
        nfa_.states[from].empty.push_back(at);
        nfa_.states[at].begin = to;
        return to;
      }
      case RegexNode::Kind::kEnd: {
        const uint32_t at = add(), to = add();
        nfa_.states[from].empty.push_back(at);
        nfa_.states[at].end = to;
        return to;
      }
    }
    return from;
  }

  Result<uint32_t> emit_set(uint32_t index, uint32_t from) {
    if (set_ids_.size() < tree_.nodes.size()) set_ids_.resize(tree_.nodes.size(), kNone);
    if (set_ids_[index] == kNone) set_ids_[index] = intern(tree_.nodes[index].set);
    const uint32_t at = add(), to = add();
    nfa_.states[from].empty.push_back(at);
    nfa_.states[at].set = set_ids_[index];
    nfa_.states[at].to = to;
    return to;
  }

  Result<uint32_t> emit_choice(const RegexNode& node, uint32_t from) {
    const uint32_t to = add();
    for (const uint32_t child : node.children) {
      const uint32_t in = add();
      nfa_.states[from].empty.push_back(in);
      SLUICE_TRY(const uint32_t out, emit(child, in));
      nfa_.states[out].empty.push_back(to);
    }
    return to;
  }

  Result<uint32_t> emit_repeat(const RegexNode& node, uint32_t from) {
    const uint32_t child = node.children[0];
    for (uint32_t i = 0; i < node.repeat_min; ++i) {
      SLUICE_TRY(from, emit(child, from));
    }
    const uint32_t to = add();
    if (node.repeat_max < 0) {
      const uint32_t loop = add();
      nfa_.states[from].empty.push_back(loop);
      SLUICE_TRY(const uint32_t out, emit(child, loop));
      nfa_.states[out].empty.push_back(loop);
      nfa_.states[loop].empty.push_back(to);
      return to;
    }
    for (int64_t i = node.repeat_min; i < node.repeat_max; ++i) {
      nfa_.states[from].empty.push_back(to);
      SLUICE_TRY(from, emit(child, from));
    }
    nfa_.states[from].empty.push_back(to);
    return to;
  }

  const RegexTree& tree_;
  Allowance& allowance_;
  Nfa nfa_;
  std::vector<uint32_t> set_ids_;
};

using StateSet = std::vector<uint32_t>;  // sorted

struct StateSetHash {
  size_t operator()(const StateSet& set) const {
    uint64_t hash = 1469598103934665603ull;
    for (const uint32_t s : set) hash = (hash ^ s) * 1099511628211ull;
    return static_cast<size_t>(hash);
  }
};

class SubsetConstruction {
 public:
  SubsetConstruction(const Nfa& nfa, Allowance& allowance) : nfa_(nfa), allowance_(allowance), mark_(nfa.states.size(), 0) {}

  Result<CharDfa> run() {
    SLUICE_TRY_VOID(make_classes());
    SLUICE_TRY(const StateSet start, closure({nfa_.start}, true, false));
    SLUICE_TRY_VOID(intern(start, true));
    for (size_t at = 0; at < sets_.size(); ++at) {
      SLUICE_TRY_VOID(expand(at));
    }
    return minimized(dfa_, allowance_);
  }

 private:
  Status make_classes() {
    dfa_.cuts = {0};
    for (const CharSet& set : nfa_.sets) {
      for (const CodeRange range : set) {
        dfa_.cuts.push_back(range.low);
        if (range.high < kCodePointMax) dfa_.cuts.push_back(range.high + 1);
      }
    }
    std::sort(dfa_.cuts.begin(), dfa_.cuts.end());
    dfa_.cuts.erase(std::unique(dfa_.cuts.begin(), dfa_.cuts.end()), dfa_.cuts.end());
    for (const CharSet& set : nfa_.sets) {
      auto& spans = set_classes_.emplace_back();
      for (const CodeRange range : set) {
        SLUICE_TRY_VOID(allowance_.spend(16));
        spans.emplace_back(dfa_.class_of(range.low), dfa_.class_of(range.high) + 1);
      }
    }
    targets_.resize(dfa_.classes());
    return {};
  }

  Result<StateSet> closure(StateSet seeds, bool at_begin, bool at_end) {
    ++round_;
    StateSet out;
    const auto visit = [&](uint32_t s) {
      if (s == kNone || mark_[s] == round_) return;
      mark_[s] = round_;
      seeds.push_back(s);
    };
    StateSet initial;
    initial.swap(seeds);
    for (const uint32_t s : initial) visit(s);
    while (!seeds.empty()) {
      const uint32_t s = seeds.back();
      seeds.pop_back();
      const NfaState& state = nfa_.states[s];
      if (state.set != kNone || state.end != kNone || s == nfa_.accept) out.push_back(s);
      for (const uint32_t to : state.empty) visit(to);
      if (at_begin) visit(state.begin);
      if (at_end) visit(state.end);
      SLUICE_TRY_VOID(allowance_.spend(2 + state.empty.size()));
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  // A state entered before any character may still follow begin edges at the end of an empty text ("^$").
  Result<bool> accepts(const StateSet& set, bool at_begin) {
    SLUICE_TRY(const StateSet last, closure(set, at_begin, true));
    return std::binary_search(last.begin(), last.end(), nfa_.accept);
  }

  Result<int32_t> intern(const StateSet& set, bool at_begin) {
    const auto it = ids_.find(set);
    if (it != ids_.end() && !at_begin) return it->second;
    SLUICE_TRY_VOID(allowance_.spend(50 + 8 * set.size()));
    SLUICE_TRY_VOID(allowance_.hold(set.size() * 4 + dfa_.classes() * 4 + 96));
    const int32_t id = static_cast<int32_t>(sets_.size());
    if (!at_begin) ids_.emplace(set, id);  // the start is never entered again: only there begin edges are open
    sets_.push_back(set);
    SLUICE_TRY(const bool accept, accepts(set, at_begin));
    dfa_.accept.push_back(accept);
    return id;
  }

  Status expand(size_t at) {
    const StateSet from = sets_[at];
    for (const uint32_t s : from) {
      const NfaState& state = nfa_.states[s];
      if (state.set == kNone) continue;
      for (const auto& [first, last] : set_classes_[state.set]) {
        SLUICE_TRY_VOID(allowance_.spend(2 + (last - first)));
        for (size_t c = first; c < last; ++c) targets_[c].push_back(state.to);
      }
    }
    for (size_t c = 0; c < dfa_.classes(); ++c) {
      if (c > 0 && targets_[c] == targets_[c - 1]) {
        dfa_.next.push_back(dfa_.next.back());
        continue;
      }
      int32_t target = -1;
      if (!targets_[c].empty()) {
        SLUICE_TRY(const StateSet closed, closure(targets_[c], false, false));
        SLUICE_TRY(target, intern(closed, false));
      }
      dfa_.next.push_back(target);
    }
    for (StateSet& set : targets_) set.clear();
    return allowance_.spend(dfa_.classes());
  }

  const Nfa& nfa_;
  Allowance& allowance_;
  CharDfa dfa_;
  std::vector<std::vector<std::pair<size_t, size_t>>> set_classes_;
  std::vector<StateSet> targets_;  // (classes)
  std::vector<uint32_t> mark_;
  uint32_t round_ = 0;
  std::vector<StateSet> sets_;
  std::unordered_map<StateSet, int32_t, StateSetHash> ids_;
};

}  // namespace

Result<CharDfa> compile_regex(std::string_view pattern, RegexMatch match, Allowance& allowance) {
  if (pattern.size() > limits::kConstraintSourceBytesMax) {
    return Error{"the pattern has " + std::to_string(pattern.size()) + " bytes, more than " +
                 std::to_string(limits::kConstraintSourceBytesMax)};
  }
  SLUICE_TRY(const RegexTree tree, parse_regex(pattern, allowance));
  SLUICE_TRY(const Nfa nfa, NfaBuilder(tree, allowance).build(match));
  SLUICE_TRY(CharDfa dfa, SubsetConstruction(nfa, allowance).run());
  return dfa;
}

}  // namespace sluice::text
