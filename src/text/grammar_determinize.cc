// Facts about rules (productive, nullable) and the subset construction that makes one rule deterministic.
// Contract: text/grammar_determinize.h. Calls count as symbols; a call of a nullable rule may also be skipped. Next: grammar_recursion.cc.
#include "text/grammar_determinize.h"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace sluice::text {
namespace {

// Edges of a rule grouped by the state they leave.
struct EdgeIndex {
  std::vector<uint32_t> begin;  // (states + 1)
  std::vector<uint32_t> order;  // edge numbers

  explicit EdgeIndex(const GrammarRule& rule) : begin(rule.states + 1, 0), order(rule.edges.size()) {
    for (const GrammarEdge& edge : rule.edges) ++begin[edge.from + 1];
    for (size_t s = 1; s < begin.size(); ++s) begin[s] += begin[s - 1];
    std::vector<uint32_t> at(begin.begin(), begin.end() - 1);
    for (uint32_t i = 0; i < rule.edges.size(); ++i) order[at[rule.edges[i].from]++] = i;
  }
};

// Can the end be reached from the start when only edges that `open` admits are used?
template <class Open>
bool reaches_end(const GrammarRule& rule, const EdgeIndex& index, const Open& open, std::vector<uint8_t>& seen,
                 std::vector<uint32_t>& work) {
  seen.assign(rule.states, 0);
  work.assign(1, kRuleStart);
  seen[kRuleStart] = 1;
  while (!work.empty()) {
    const uint32_t s = work.back();
    work.pop_back();
    if (s == kRuleEnd) return true;
    for (uint32_t i = index.begin[s]; i < index.begin[s + 1]; ++i) {
      const GrammarEdge& edge = rule.edges[index.order[i]];
      if (!seen[edge.to] && open(edge)) seen[edge.to] = 1, work.push_back(edge.to);
    }
  }
  return false;
}

// Grows a set of rules to its fixed point: a rule joins when its end is reachable, and then its callers are looked at again.
template <class Open>
Status grow(const std::vector<GrammarRule>& rules, const std::vector<EdgeIndex>& index, RuleId first, const Open& open,
            std::vector<uint8_t>& member, Allowance& allowance) {
  std::vector<std::vector<RuleId>> callers(rules.size());
  std::vector<RuleId> work;
  for (RuleId r = static_cast<RuleId>(rules.size()); r-- > first;) {
    work.push_back(r);
    for (const GrammarEdge& edge : rules[r].edges) {
      if (edge.kind == GrammarEdge::Kind::kCall) callers[edge.rule].push_back(r);
    }
  }
  std::vector<uint8_t> seen;
  std::vector<uint32_t> stack;
  while (!work.empty()) {
    const RuleId r = work.back();
    work.pop_back();
    if (member[r]) continue;
    SLUICE_TRY_VOID(allowance.spend(4 + rules[r].states / 8 + rules[r].edges.size()));
    if (!reaches_end(rules[r], index[r - first], open, seen, stack)) continue;
    member[r] = 1;
    work.insert(work.end(), callers[r].begin(), callers[r].end());
  }
  return {};
}

using StateSet = std::vector<uint32_t>;

struct StateSetHash {
  size_t operator()(const StateSet& set) const {
    uint64_t hash = 1469598103934665603ull;
    for (const uint32_t s : set) hash = (hash ^ s) * 1099511628211ull;
    return static_cast<size_t>(hash ^ hash >> 29);
  }
};

class Determinizer {
 public:
  Determinizer(const GrammarRule& rule, const RuleFacts& facts, Allowance& allowance)
      : rule_(rule), facts_(facts), allowance_(allowance), index_(rule), mark_(rule.states, 0) {}

  Result<RuleDfa> run() {
    SLUICE_TRY(const uint32_t start, intern({kRuleStart}));
    (void)start;
    for (uint32_t at = 0; at < sets_.size(); ++at) {
      SLUICE_TRY_VOID(expand(at));
    }
    return trimmed();
  }

 private:
  bool skippable(const GrammarEdge& edge) const {
    return edge.kind == GrammarEdge::Kind::kEmpty || (edge.kind == GrammarEdge::Kind::kCall && facts_.nullable[edge.rule]);
  }

  // Kept are only states that matter: the end, and those with a byte or a call.
  Result<uint32_t> intern(const StateSet& seeds) {
    ++round_;
    work_.clear();
    StateSet kept;
    for (const uint32_t s : seeds) {
      if (mark_[s] != round_) mark_[s] = round_, work_.push_back(s);
    }
    while (!work_.empty()) {
      const uint32_t s = work_.back();
      work_.pop_back();
      bool matters = s == kRuleEnd;
      for (uint32_t i = index_.begin[s]; i < index_.begin[s + 1]; ++i) {
        const GrammarEdge& edge = rule_.edges[index_.order[i]];
        matters |= edge.kind != GrammarEdge::Kind::kEmpty;
        if (skippable(edge) && mark_[edge.to] != round_) mark_[edge.to] = round_, work_.push_back(edge.to);
      }
      if (matters) kept.push_back(s);
      SLUICE_TRY_VOID(allowance_.spend(2 + (index_.begin[s + 1] - index_.begin[s])));
    }
    std::sort(kept.begin(), kept.end());
    const auto it = ids_.find(kept);
    if (it != ids_.end()) return it->second;
    SLUICE_TRY_VOID(allowance_.spend(20));
    SLUICE_TRY_VOID(allowance_.hold(2 * kept.size() * 4 + sizeof(RuleState) + 80));
    const uint32_t id = static_cast<uint32_t>(sets_.size());
    ids_.emplace(kept, id);
    dfa_.emplace_back();
    dfa_.back().accept = std::binary_search(kept.begin(), kept.end(), kRuleEnd);
    sets_.push_back(std::move(kept));
    return id;
  }

  Status expand(uint32_t at) {
    const StateSet from = sets_[at];
    byte_edges_.clear();
    std::map<RuleId, StateSet> calls;
    for (const uint32_t s : from) {
      for (uint32_t i = index_.begin[s]; i < index_.begin[s + 1]; ++i) {
        const GrammarEdge& edge = rule_.edges[index_.order[i]];
        if (edge.kind == GrammarEdge::Kind::kBytes) byte_edges_.push_back({edge.low, edge.high, edge.to});
        if (edge.kind == GrammarEdge::Kind::kCall && facts_.productive[edge.rule]) calls[edge.rule].push_back(edge.to);
      }
    }
    SLUICE_TRY_VOID(allowance_.spend(4 + byte_edges_.size()));
    for (const auto& [callee, targets] : calls) {
      SLUICE_TRY(const uint32_t to, intern(targets));
      dfa_[at].calls.push_back({callee, to});
    }
    return expand_bytes(at);
  }

  // Cuts overlapping ranges into disjoint ones, each with the set of its targets.
  Status expand_bytes(uint32_t at) {
    bool first_of[257] = {};
    for (const RuleEdge& edge : byte_edges_) first_of[edge.low] = first_of[edge.high + 1] = true;
    StateSet targets;
    for (uint32_t low = 0; low < 256;) {
      uint32_t high = low;
      while (high + 1 < 256 && !first_of[high + 1]) ++high;
      targets.clear();
      for (const RuleEdge& edge : byte_edges_) {
        if (edge.low <= low && high <= edge.high) targets.push_back(edge.target);
      }
      if (!targets.empty()) {
        SLUICE_TRY_VOID(allowance_.spend(byte_edges_.size()));
        SLUICE_TRY(const uint32_t to, intern(targets));
        add_edge(at, static_cast<uint8_t>(low), static_cast<uint8_t>(high), to);
      }
      low = high + 1;
    }
    return allowance_.hold(dfa_[at].edges.size() * sizeof(RuleEdge));
  }

  void add_edge(uint32_t at, uint8_t low, uint8_t high, uint32_t to) {
    std::vector<RuleEdge>& edges = dfa_[at].edges;
    if (!edges.empty() && edges.back().target == to && edges.back().high + 1 == low) {
      edges.back().high = high;
    } else {
      edges.push_back({low, high, to});
    }
  }

  // Drops states from which the end cannot be reached.
  Result<RuleDfa> trimmed() {
    std::vector<std::vector<uint32_t>> back(dfa_.size());
    for (uint32_t s = 0; s < dfa_.size(); ++s) {
      SLUICE_TRY_VOID(allowance_.spend(2 + dfa_[s].edges.size() + dfa_[s].calls.size()));
      for (const RuleEdge& edge : dfa_[s].edges) back[edge.target].push_back(s);
      for (const RuleCall& call : dfa_[s].calls) back[call.target].push_back(s);
    }
    std::vector<uint32_t> renamed(dfa_.size(), 0);
    std::vector<uint32_t> work;
    for (uint32_t s = 0; s < dfa_.size(); ++s) {
      if (dfa_[s].accept) renamed[s] = 1, work.push_back(s);
    }
    while (!work.empty()) {
      const uint32_t s = work.back();
      work.pop_back();
      for (const uint32_t from : back[s]) {
        if (!renamed[from]) renamed[from] = 1, work.push_back(from);
      }
    }
    if (!renamed[0]) return RuleDfa{};
    return keep(renamed);
  }

  RuleDfa keep(std::vector<uint32_t>& renamed) {
    constexpr uint32_t kGone = ~0u;
    uint32_t count = 0;
    for (uint32_t& name : renamed) name = name ? count++ : kGone;
    RuleDfa out(count);
    for (uint32_t s = 0; s < dfa_.size(); ++s) {
      if (renamed[s] == kGone) continue;
      RuleState& state = out[renamed[s]];
      state.accept = dfa_[s].accept;
      for (const RuleEdge& edge : dfa_[s].edges) {
        if (renamed[edge.target] != kGone) state.edges.push_back({edge.low, edge.high, renamed[edge.target]});
      }
      for (const RuleCall& call : dfa_[s].calls) {
        if (renamed[call.target] != kGone) state.calls.push_back({call.rule, renamed[call.target]});
      }
    }
    return out;
  }

  const GrammarRule& rule_;
  const RuleFacts& facts_;
  Allowance& allowance_;
  EdgeIndex index_;
  std::vector<uint32_t> mark_;  // (states) round of the last visit
  uint32_t round_ = 0;
  std::vector<uint32_t> work_;
  std::vector<RuleEdge> byte_edges_;
  std::unordered_map<StateSet, uint32_t, StateSetHash> ids_;
  std::vector<StateSet> sets_;
  RuleDfa dfa_;
};

}  // namespace

Result<RuleFacts> rule_facts(const std::vector<GrammarRule>& rules, RuleId first, Allowance& allowance) {
  RuleFacts facts;
  facts.productive.assign(rules.size(), 0);
  facts.nullable.assign(rules.size(), 0);
  std::fill_n(facts.productive.begin(), first, 1);
  std::vector<EdgeIndex> index;
  for (size_t r = first; r < rules.size(); ++r) {
    SLUICE_TRY_VOID(allowance.spend(rules[r].states + rules[r].edges.size()));
    index.emplace_back(rules[r]);
  }
  const auto can_finish = [&](const GrammarEdge& edge) { return edge.kind != GrammarEdge::Kind::kCall || facts.productive[edge.rule]; };
  SLUICE_TRY_VOID(grow(rules, index, first, can_finish, facts.productive, allowance));
  const auto can_skip = [&](const GrammarEdge& edge) {
    return edge.kind == GrammarEdge::Kind::kEmpty || (edge.kind == GrammarEdge::Kind::kCall && facts.nullable[edge.rule]);
  };
  SLUICE_TRY_VOID(grow(rules, index, first, can_skip, facts.nullable, allowance));
  return facts;
}

Result<RuleDfa> determinize(const GrammarRule& rule, const RuleFacts& facts, Allowance& allowance) {
  return Determinizer(rule, facts, allowance).run();
}

void strip_empty_text(RuleDfa& rule) {
  if (rule.empty() || !rule[0].accept) return;
  // The start may be entered again in the middle of a match, where it must still accept: keep it under a new number.
  RuleState start = rule[0];
  start.accept = false;
  const uint32_t old = static_cast<uint32_t>(rule.size());
  rule.push_back(rule[0]);
  rule[0] = std::move(start);
  for (RuleState& state : rule) {
    for (RuleEdge& edge : state.edges) edge.target = edge.target == 0 ? old : edge.target;
    for (RuleCall& call : state.calls) call.target = call.target == 0 ? old : call.target;
  }
}

}  // namespace sluice::text
