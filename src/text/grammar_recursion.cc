// Left recursion removed by rebuilding a group of mutually left-recursive rules as one automaton each: read a beginning that is not
// recursive, then grow it: after a B has been read, whatever may follow B inside a rule that begins with B makes a larger phrase. Contract:
// text/grammar_determinize.h. Called rules never match the empty text, so "begins with" is exactly "called from the start state".
#include <algorithm>

#include "text/grammar_determinize.h"

namespace sluice::text {
namespace {

// Strongly connected groups of the "is called from the start state" relation, by Tarjan's algorithm without recursion.
class Groups {
 public:
  Groups(const std::vector<RuleDfa>& rules, RuleId first) : rules_(rules) {
    number_.assign(rules.size(), 0);
    low_.assign(rules.size(), 0);
    on_stack_.assign(rules.size(), 0);
    for (RuleId r = first; r < rules.size(); ++r) {
      if (!rules[r].empty() && number_[r] == 0) visit(r);
    }
  }
  std::vector<std::vector<RuleId>> recursive;

 private:
  struct Frame {
    RuleId rule;
    size_t call;
  };

  void visit(RuleId root) {
    std::vector<Frame> frames;
    open(root, frames);
    while (!frames.empty()) {
      Frame& frame = frames.back();
      const RuleId r = frame.rule;
      if (frame.call < rules_[r][0].calls.size()) {
        const RuleId to = rules_[r][0].calls[frame.call++].rule;
        if (rules_[to].empty()) continue;
        if (number_[to] == 0) {
          open(to, frames);
        } else if (on_stack_[to]) {
          low_[r] = std::min(low_[r], number_[to]);
        }
        continue;
      }
      frames.pop_back();
      if (!frames.empty()) low_[frames.back().rule] = std::min(low_[frames.back().rule], low_[r]);
      if (low_[r] == number_[r]) close(r);
    }
  }

  void open(RuleId rule, std::vector<Frame>& frames) {
    number_[rule] = low_[rule] = ++count_;
    on_stack_[rule] = 1;
    stack_.push_back(rule);
    frames.push_back({rule, 0});
  }

  void close(RuleId root) {
    std::vector<RuleId> group;
    do {
      group.push_back(stack_.back());
      on_stack_[stack_.back()] = 0;
      stack_.pop_back();
    } while (group.back() != root);
    const auto& calls = rules_[root][0].calls;
    const bool self = std::any_of(calls.begin(), calls.end(), [&](const RuleCall& call) { return call.rule == root; });
    if (group.size() > 1 || self) recursive.push_back(std::move(group));
  }

  const std::vector<RuleDfa>& rules_;
  std::vector<uint32_t> number_, low_;
  std::vector<uint8_t> on_stack_;
  std::vector<RuleId> stack_;
  uint32_t count_ = 0;
};

class Rebuilder {
 public:
  Rebuilder(const std::vector<RuleDfa>& rules, const std::vector<RuleId>& group, Allowance& allowance)
      : rules_(rules), group_(group), scratch_(allowance), out_(scratch_.add_rule()) {}

  Result<GrammarRule> build(RuleId wanted) {
    for (size_t i = 0; i < group_.size(); ++i) done_.push_back(scratch_.add_state(out_));
    for (size_t i = 0; i < group_.size() && scratch_.ok(); ++i) copy(i);
    const size_t at = static_cast<size_t>(std::find(group_.begin(), group_.end(), wanted) - group_.begin());
    scratch_.empty(out_, done_[at], kRuleEnd);
    SLUICE_TRY_VOID(scratch_.status());
    return scratch_.rules()[out_];
  }

 private:
  int member(RuleId rule) const {
    const auto it = std::find(group_.begin(), group_.end(), rule);
    return it == group_.end() ? -1 : static_cast<int>(it - group_.begin());
  }

  // One copy of a rule's states serves both uses: as a beginning (entered at the start, recursive calls left out) and as a growth (entered
  // behind a recursive call).
  void copy(size_t which) {
    const RuleDfa& rule = rules_[group_[which]];
    std::vector<StateId> states(rule.size());
    for (StateId& state : states) state = scratch_.add_state(out_);
    for (size_t s = 0; s < rule.size() && scratch_.ok(); ++s) {
      copy_edges(rule[s], states[s], states, false);
      if (rule[s].accept) scratch_.empty(out_, states[s], done_[which]);
    }
    copy_edges(rule[0], kRuleStart, states, true);
    for (const RuleCall& call : rule[0].calls) {
      const int begins_with = member(call.rule);
      if (begins_with >= 0) scratch_.empty(out_, done_[static_cast<size_t>(begins_with)], states[call.target]);
    }
  }

  void copy_edges(const RuleState& state, StateId from, const std::vector<StateId>& states, bool skip_recursive) {
    for (const RuleEdge& edge : state.edges) scratch_.bytes(out_, from, states[edge.target], edge.low, edge.high);
    for (const RuleCall& call : state.calls) {
      if (!skip_recursive || member(call.rule) < 0) scratch_.call(out_, from, states[call.target], call.rule);
    }
  }

  const std::vector<RuleDfa>& rules_;
  const std::vector<RuleId>& group_;
  Grammar scratch_;
  RuleId out_;
  std::vector<StateId> done_;  // (group) a phrase of this rule has been read
};

}  // namespace

Status remove_left_recursion(std::vector<RuleDfa>& rules, RuleId first, const RuleFacts& facts, Allowance& allowance) {
  const Groups groups(rules, first);
  RuleFacts no_skips = facts;  // skips were made when the rules became deterministic
  std::fill(no_skips.nullable.begin(), no_skips.nullable.end(), 0);
  for (const std::vector<RuleId>& group : groups.recursive) {
    std::vector<RuleDfa> rebuilt;
    for (const RuleId rule : group) {
      SLUICE_TRY(const GrammarRule nfa, Rebuilder(rules, group, allowance).build(rule));
      SLUICE_TRY(RuleDfa dfa, determinize(nfa, no_skips, allowance));
      rebuilt.push_back(std::move(dfa));
    }
    for (size_t i = 0; i < group.size(); ++i) rules[group[i]] = std::move(rebuilt[i]);
  }
  return {};
}

}  // namespace sluice::text
