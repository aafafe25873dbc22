// Free text as the automaton of Aho and Corasick over all triggers: a state is the longest end of the text that begins a trigger.
// Contract: text/grammar_free_text.h. Next: text/constraint_tags.cc.
#include "text/grammar_free_text.h"

#include <array>
#include <deque>

namespace sluice::text {
namespace {

constexpr uint32_t kNone = ~0u;
constexpr uint32_t kBytesMax = 0xFD;  // the two bytes above mark special tokens
constexpr uint32_t kBlanksMax = 8;

struct Node {
  std::array<uint32_t, 256> next;
  uint32_t fail = 0;
  uint32_t trigger = kNone;
  uint32_t depth = 0;
  bool inside = false;  // a special token, whose name has begun
};

Result<std::vector<Node>> build_automaton(const std::vector<std::string>& triggers, Allowance& allowance) {
  std::vector<Node> nodes(1);
  nodes[0].next.fill(kNone);
  for (uint32_t t = 0; t < triggers.size(); ++t) {
    uint32_t at = 0;
    for (const char c : triggers[t]) {
      uint32_t next = nodes[at].next[static_cast<uint8_t>(c)];
      if (next == kNone) {
        SLUICE_TRY_VOID(allowance.spend(256));
        SLUICE_TRY_VOID(allowance.hold(sizeof(Node)));
        next = static_cast<uint32_t>(nodes.size());
        nodes[at].next[static_cast<uint8_t>(c)] = next;
        Node& fresh = nodes.emplace_back();
        fresh.next.fill(kNone);
        fresh.depth = nodes[at].depth + 1;
        fresh.inside = c == kSpecialOpen || (nodes[at].inside && c != kSpecialClose);
      }
      at = next;
    }
    nodes[at].trigger = t;
  }
  std::deque<uint32_t> queue = {0};
  while (!queue.empty()) {
    const uint32_t at = queue.front();
    queue.pop_front();
    for (uint32_t b = 0; b < 256; ++b) {
      uint32_t& next = nodes[at].next[b];
      const uint32_t back = at == 0 ? 0 : nodes[nodes[at].fail].next[b];
      if (next == kNone) {
        next = back;
        continue;
      }
      nodes[next].fail = back;
      if (nodes[next].trigger == kNone) nodes[next].trigger = nodes[back].trigger;
      queue.push_back(next);
    }
  }
  return nodes;
}

// Names of special tokens between two states, their bracket bytes included.
void add_tokens(Grammar& grammar, RuleId rule, StateId open, StateId to, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const StateId close = grammar.literal(rule, open, name);
    grammar.bytes(rule, close, to, static_cast<uint8_t>(kSpecialClose), static_cast<uint8_t>(kSpecialClose));
  }
}

}  // namespace

Result<FreeText> add_free_text(Grammar& grammar, RuleId rule, StateId from, const std::vector<std::string>& triggers,
                               const std::vector<std::string>& free_tokens) {
  constexpr auto kOpen = static_cast<uint8_t>(kSpecialOpen);
  SLUICE_TRY(const std::vector<Node> nodes, build_automaton(triggers, grammar.allowance()));
  FreeText out;
  for (size_t t = 0; t < triggers.size(); ++t) out.after.push_back(grammar.add_state(rule));
  std::vector<StateId> states(nodes.size(), kNone);
  for (size_t n = 0; n < nodes.size(); ++n) {
    states[n] = nodes[n].trigger != kNone ? out.after[nodes[n].trigger] : grammar.add_state(rule);
    if (nodes[n].trigger == kNone && !nodes[n].inside) out.text.push_back(states[n]);
  }
  grammar.empty(rule, from, states[0]);
  for (size_t n = 0; n < nodes.size() && grammar.ok(); ++n) {
    if (nodes[n].trigger != kNone) continue;
    // Inside a special token of a trigger nothing else may come; everywhere else any byte of text may.
    for (uint32_t low = 0; low <= kOpen;) {
      const uint32_t next = nodes[n].next[low];
      uint32_t high = low;
      while (high < kBytesMax && nodes[n].next[high + 1] == next) ++high;
      const bool follows = nodes[next].depth == nodes[n].depth + 1;
      if (nodes[n].inside ? follows : low <= kBytesMax || next != 0) {
        grammar.bytes(rule, states[n], states[next], static_cast<uint8_t>(low), static_cast<uint8_t>(high));
      }
      low = high + 1;
    }
  }
  const StateId special = grammar.add_state(rule);
  add_tokens(grammar, rule, special, states[0], free_tokens);
  for (size_t t = 0; t < triggers.size(); ++t) {
    if (triggers[t].find(kSpecialOpen) == std::string::npos) add_tokens(grammar, rule, special, out.after[t], {triggers[t]});
  }
  for (size_t n = 0; n < nodes.size(); ++n) {
    const bool text = nodes[n].trigger == kNone && !nodes[n].inside;
    if (text && nodes[n].next[kOpen] == 0) grammar.bytes(rule, states[n], special, kOpen, kOpen);
  }
  SLUICE_TRY_VOID(grammar.status());
  return out;
}

std::vector<std::string> thinking_tokens() {
  return {"<think>", "</think>", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "<|START_THINKING|>", "<|END_THINKING|>", "<|START_TEXT|>",
          "<|END_TEXT|>", "<seed:think>", "</seed:think>", "<seed:cot_budget_reflect>", "</seed:cot_budget_reflect>"};
}

Status start_after(const std::string& trigger, const std::string& open, Grammar& grammar) {
  const RuleId rule = grammar.add_rule();
  StateId free_begin = kRuleStart;
  if (!open.empty()) {
    free_begin = grammar.add_state(rule);
    grammar.empty(rule, grammar.literal(rule, kRuleStart, open), free_begin);
    const StateId special = grammar.add_state(rule);
    grammar.bytes(rule, kRuleStart, special, static_cast<uint8_t>(kSpecialOpen), static_cast<uint8_t>(kSpecialOpen));
    add_tokens(grammar, rule, special, free_begin, {open});
    grammar.call(rule, kRuleStart, kRuleEnd, grammar.root);
  }
  std::vector<std::string> thinking = thinking_tokens();
  std::erase(thinking, trigger);
  SLUICE_TRY(const FreeText free, add_free_text(grammar, rule, free_begin, {trigger}, thinking));
  StateId at = free.after[0];
  const StateId begin = grammar.add_state(rule);
  for (uint32_t i = 0; i < kBlanksMax; ++i) {
    grammar.empty(rule, at, begin);
    const StateId next = grammar.add_state(rule);
    for (const char c : {' ', '\t', '\n', '\r'}) grammar.bytes(rule, at, next, static_cast<uint8_t>(c), static_cast<uint8_t>(c));
    at = next;
  }
  grammar.empty(rule, at, begin);
  grammar.call(rule, begin, kRuleEnd, grammar.root);
  grammar.root = rule;
  return grammar.status();
}

}  // namespace sluice::text
