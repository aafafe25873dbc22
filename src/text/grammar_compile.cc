// Puts the deterministic rules one behind the other in one table and computes what matching needs: safe depths and following bytes.
// Contract: text/grammar_compile.h. Passes: facts, determinize, left recursion, flatten, safe depths, follow sets. Next:
// grammar_builtin.cc.
#include "text/grammar_compile.h"

#include <algorithm>

#include "text/grammar_builtin.h"
#include "text/grammar_determinize.h"

namespace sluice::text {
namespace {

constexpr size_t kDenseEdgesMin = 9;

Result<std::vector<RuleDfa>> deterministic_rules(const Grammar& grammar, RuleId first, bool root_apart, Allowance& allowance) {
  const std::vector<GrammarRule>& rules = grammar.rules();
  SLUICE_TRY(const RuleFacts facts, rule_facts(rules, first, allowance));
  if (root_apart && !facts.productive[grammar.root]) return Error{"no text can satisfy the constraint"};
  std::vector<RuleDfa> out(rules.size());
  std::vector<RuleId> work;
  std::vector<uint8_t> wanted(rules.size(), root_apart ? 0 : 1);
  if (root_apart) {
    wanted[grammar.root] = 1;
    work.push_back(grammar.root);
  } else {
    for (RuleId r = first; r < rules.size(); ++r) work.push_back(r);
  }
  RuleDfa root;
  while (!work.empty()) {
    const RuleId r = work.back();
    work.pop_back();
    if (r < first) continue;
    SLUICE_TRY(out[r], determinize(rules[r], facts, allowance));
    if (root_apart && r == grammar.root) root = out[r];
    strip_empty_text(out[r]);
    for (const RuleState& state : out[r]) {
      for (const RuleCall& call : state.calls) {
        if (!wanted[call.rule]) wanted[call.rule] = 1, work.push_back(call.rule);
      }
    }
  }
  SLUICE_TRY_VOID(remove_left_recursion(out, first, facts, allowance));
  // The root once more, not called by anyone and allowed to match the empty text.
  if (root_apart) out.push_back(std::move(root));
  return out;
}

void flatten_state(const RuleState& state, uint32_t rule, uint32_t base, Pda& pda) {
  PdaState flat;
  flat.rule = rule;
  flat.accept = state.accept;
  flat.edges_begin = static_cast<uint32_t>(pda.edges.size());
  flat.edges = static_cast<uint16_t>(state.edges.size());
  for (const RuleEdge& edge : state.edges) pda.edges.push_back({edge.low, edge.high, base + edge.target});
  if (state.edges.size() >= kDenseEdgesMin) {
    flat.dense = static_cast<uint32_t>(pda.dense.size());
    pda.dense.resize(pda.dense.size() + 256, kNoState);
    for (const RuleEdge& edge : state.edges) {
      std::fill(&pda.dense[flat.dense + edge.low], &pda.dense[flat.dense + edge.high] + 1, base + edge.target);
    }
  }
  pda.states.push_back(flat);
}

Status flatten(const std::vector<RuleDfa>& rules, RuleId first, Pda& pda, Allowance& allowance) {
  pda.rule_start.resize(rules.size(), kNoState);
  uint32_t next = static_cast<uint32_t>(pda.states.size());
  for (RuleId r = first; r < rules.size(); ++r) {
    if (rules[r].empty()) continue;
    pda.rule_start[r] = next;
    next += static_cast<uint32_t>(rules[r].size());
  }
  const uint64_t before = pda.bytes();
  for (RuleId r = first; r < rules.size(); ++r) {
    for (const RuleState& state : rules[r]) {
      if (state.calls.size() > 0xFFFF) return Error{"more than 65535 rules may start at one place of the grammar"};
      flatten_state(state, r, pda.rule_start[r], pda);
      SLUICE_TRY_VOID(allowance.spend(4 + state.edges.size()));
    }
  }
  for (RuleId r = first; r < rules.size(); ++r) {
    for (size_t s = 0; s < rules[r].size(); ++s) {
      PdaState& flat = pda.states[pda.rule_start[r] + s];
      flat.calls_begin = static_cast<uint32_t>(pda.calls.size());
      for (const RuleCall& call : rules[r][s].calls) {
        if (pda.rule_start[call.rule] == kNoState) continue;
        const RuleState& target = rules[r][call.target];
        const bool tail = target.accept && target.edges.empty() && target.calls.empty();
        pda.calls.push_back({pda.rule_start[call.rule], pda.rule_start[r] + call.target, tail});
        ++flat.calls;
      }
    }
  }
  return allowance.hold(pda.bytes() - before);
}

// How many arbitrary plain characters (printable, neither quote nor backslash) a state survives.
class SafeDepths {
 public:
  SafeDepths(Pda& pda, Allowance& allowance) : pda_(pda), allowance_(allowance) {}

  Status compute(uint32_t first) {
    const uint32_t count = static_cast<uint32_t>(pda_.states.size());
    std::vector<std::vector<uint32_t>> back(count - first);
    std::vector<uint32_t> distance(count - first, kNoState);
    std::vector<uint32_t> work;
    for (uint32_t s = first; s < count; ++s) {
      targets_.clear();
      SLUICE_TRY_VOID(allowance_.spend(4));
      if (goes_on_forever(s)) continue;
      if (pda_.states[s].edges == 0 || !one_character(s)) {
        distance[s - first] = 0;
        work.push_back(s);
        continue;
      }
      std::sort(targets_.begin(), targets_.end());
      targets_.erase(std::unique(targets_.begin(), targets_.end()), targets_.end());
      for (const uint32_t to : targets_) back[to - first].push_back(s);
    }
    for (size_t at = 0; at < work.size(); ++at) {
      const uint32_t s = work[at];
      for (const uint32_t from : back[s - first]) {
        if (distance[from - first] != kNoState) continue;
        distance[from - first] = distance[s - first] + 1;
        work.push_back(from);
      }
    }
    for (uint32_t s = first; s < count; ++s) {
      const uint32_t d = distance[s - first];
      pda_.states[s].safe = d == kNoState ? kSafeForever : static_cast<uint8_t>(std::min<uint32_t>(d, kSafeMax));
    }
    return {};
  }

 private:
  // Are all bytes low..high edges of the state, each followed by `rest` arbitrary continuation bytes? Collects where that leads.
  bool covers(uint32_t state, uint32_t low, uint32_t high, uint32_t rest) {
    const PdaState& s = pda_.states[state];
    for (uint32_t i = 0; i < s.edges && low <= high; ++i) {
      const PdaEdge& edge = pda_.edges[s.edges_begin + i];
      if (edge.high < low) continue;
      if (edge.low > low) return false;
      if (!allowance_.spend_fast(1)) return false;
      if (rest == 0) {
        targets_.push_back(edge.target);
      } else if (!covers(edge.target, 0x80, 0xBF, rest - 1)) {
        return false;
      }
      low = edge.high + 1u;
    }
    return low > high;
  }

  // A call of a built-in rule that survives any plain text (the rest of a JSON string).
  bool goes_on_forever(uint32_t state) const {
    const PdaState& s = pda_.states[state];
    for (uint32_t i = 0; i < s.calls; ++i) {
      const uint32_t callee = pda_.calls[s.calls_begin + i].callee;
      if (callee < pda_.builtin_states && pda_.states[callee].safe == kSafeForever) return true;
    }
    return false;
  }

  bool one_character(uint32_t s) {
    return covers(s, 0x20, 0x21, 0) && covers(s, 0x23, 0x5B, 0) && covers(s, 0x5D, 0x7F, 0) && covers(s, 0xC2, 0xDF, 1) &&
           lead(s, 0xE0, 0xA0, 0xBF, 1) && covers(s, 0xE1, 0xEC, 2) && lead(s, 0xED, 0x80, 0x9F, 1) && covers(s, 0xEE, 0xEF, 2) &&
           lead(s, 0xF0, 0x90, 0xBF, 2) && covers(s, 0xF1, 0xF3, 3) && lead(s, 0xF4, 0x80, 0x8F, 2);
  }
  bool lead(uint32_t s, uint8_t byte, uint32_t low, uint32_t high, uint32_t rest) {
    const uint32_t to = pda_.step(s, byte);
    return to != kNoState && covers(to, low, high, rest);
  }

  Pda& pda_;
  Allowance& allowance_;
  std::vector<uint32_t> targets_;
};

ByteSet own_bytes(const Pda& pda, uint32_t state) {
  ByteSet set;
  const PdaState& s = pda.states[state];
  for (uint32_t i = 0; i < s.edges; ++i) set.add_range(pda.edges[s.edges_begin + i].low, pda.edges[s.edges_begin + i].high);
  return set;
}

// Sets of rules that grow along "depends on" links until nothing changes.
Status propagate(std::vector<ByteSet>& sets, const std::vector<std::vector<uint32_t>>& dependents, Allowance& allowance) {
  std::vector<uint32_t> work(sets.size());
  for (uint32_t i = 0; i < work.size(); ++i) work[i] = i;
  while (!work.empty()) {
    const uint32_t from = work.back();
    work.pop_back();
    SLUICE_TRY_VOID(allowance.spend(2 + dependents[from].size()));
    for (const uint32_t to : dependents[from]) {
      if (sets[to].unite(sets[from])) work.push_back(to);
    }
  }
  return {};
}

// The longest chain of rules that begin with another rule: so many frames may open before a byte is read.
Status check_nesting(const Pda& pda, RuleId first, Allowance& allowance) {
  std::vector<uint32_t> depth(pda.rule_start.size(), 1);
  std::vector<std::vector<uint32_t>> callers(depth.size());
  std::vector<uint32_t> work;
  for (RuleId r = first; r < depth.size(); ++r) {
    if (pda.rule_start[r] == kNoState) continue;
    const PdaState& start = pda.states[pda.rule_start[r]];
    for (uint32_t i = 0; i < start.calls; ++i) callers[pda.states[pda.calls[start.calls_begin + i].callee].rule].push_back(r);
    work.push_back(r);
  }
  while (!work.empty()) {
    const uint32_t r = work.back();
    work.pop_back();
    SLUICE_TRY_VOID(allowance.spend(2 + callers[r].size()));
    if (depth[r] > limits::kConstraintNestingMax) {
      return Error{"more than " + std::to_string(limits::kConstraintNestingMax) + " rules of the grammar begin with one another"};
    }
    for (const uint32_t caller : callers[r]) {
      if (depth[caller] > depth[r]) continue;
      depth[caller] = depth[r] + 1;
      work.push_back(caller);
    }
  }
  return {};
}

// What may come after each rule, for all rules: built-in ones too, because ours may call them in new places.
Result<std::vector<ByteSet>> follow_sets(const Pda& pda, Allowance& allowance) {
  const size_t rules = pda.rule_start.size();
  std::vector<ByteSet> starts(rules), follow(rules);
  std::vector<std::vector<uint32_t>> dependents(rules);
  for (size_t r = 0; r < rules; ++r) {
    if (pda.rule_start[r] == kNoState) continue;
    const PdaState& start = pda.states[pda.rule_start[r]];
    starts[r] = own_bytes(pda, pda.rule_start[r]);
    for (uint32_t i = 0; i < start.calls; ++i) {
      dependents[pda.states[pda.calls[start.calls_begin + i].callee].rule].push_back(static_cast<uint32_t>(r));
    }
  }
  SLUICE_TRY_VOID(propagate(starts, dependents, allowance));
  dependents.assign(rules, {});
  for (const PdaState& state : pda.states) {
    for (uint32_t i = 0; i < state.calls; ++i) {
      const PdaCall& call = pda.calls[state.calls_begin + i];
      const PdaState& target = pda.states[call.target];
      const uint32_t callee = pda.states[call.callee].rule;
      SLUICE_TRY_VOID(allowance.spend(8 + target.calls));
      follow[callee].unite(own_bytes(pda, call.target));
      for (uint32_t k = 0; k < target.calls; ++k) {
        follow[callee].unite(starts[pda.states[pda.calls[target.calls_begin + k].callee].rule]);
      }
      if (target.accept) dependents[state.rule].push_back(callee);
    }
  }
  SLUICE_TRY_VOID(propagate(follow, dependents, allowance));
  return follow;
}

Result<Pda> finish(const std::vector<RuleDfa>& rules, RuleId first, Pda pda, Allowance& allowance) {
  const uint32_t first_state = static_cast<uint32_t>(pda.states.size());
  SLUICE_TRY_VOID(flatten(rules, first, pda, allowance));
  SLUICE_TRY_VOID(check_nesting(pda, first, allowance));
  SLUICE_TRY_VOID(SafeDepths(pda, allowance).compute(first_state));
  SLUICE_TRY(std::vector<ByteSet> follow, follow_sets(pda, allowance));
  for (RuleId r = 0; r < first; ++r) {
    ByteSet both = pda.rule_follow[r];
    pda.rule_shared[r] = !both.unite(follow[r]);
    follow[r] = both;
  }
  pda.rule_follow = std::move(follow);
  pda.rule_shared.resize(rules.size(), 0);
  SLUICE_TRY_VOID(allowance.status());
  return pda;
}

// The built-in rules, compiled once per process.
const Pda& builtin_pda() {
  static const Pda pda = [] {
    Allowance allowance({1ull << 40, 1ull << 40});
    Grammar grammar(allowance);
    add_builtin_rules(grammar);
    Result<std::vector<RuleDfa>> rules = deterministic_rules(grammar, 0, false, allowance);
    SLUICE_CHECK(rules.ok());
    Result<Pda> built = finish(*rules, 0, {}, allowance);
    SLUICE_CHECK(built.ok());
    // The shared masks are made for what usually follows JSON; a constraint with other surroundings computes its own.
    for (ByteSet& follow : built->rule_follow) {
      for (const char c : std::string_view(",:]})<\n\r\t ")) follow.add(static_cast<uint8_t>(c));
      follow.add(static_cast<uint8_t>(kSpecialOpen));
    }
    built->rule_shared.assign(built->rule_shared.size(), 1);
    built->builtin_states = static_cast<uint32_t>(built->states.size());
    return std::move(built).value();
  }();
  return pda;
}

}  // namespace

Result<Pda> compile_grammar(const Grammar& grammar, Allowance& allowance) {
  SLUICE_TRY_VOID(grammar.status());
  const RuleId first = builtin_rules().count;
  SLUICE_CHECK(grammar.rules().size() >= first);
  SLUICE_TRY(const std::vector<RuleDfa> rules, deterministic_rules(grammar, first, true, allowance));
  Pda base = builtin_pda();
  SLUICE_TRY_VOID(allowance.hold(base.bytes()));
  SLUICE_TRY(Pda pda, finish(rules, first, std::move(base), allowance));
  pda.root = pda.rule_start.back();
  return pda;
}

}  // namespace sluice::text
