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
        nodes.emplace_back().next.fill(kNone);
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

}  // namespace

Result<FreeText> add_free_text(Grammar& grammar, RuleId rule, StateId from, const std::vector<std::string>& triggers) {
  SLUICE_TRY(const std::vector<Node> nodes, build_automaton(triggers, grammar.allowance()));
  FreeText out;
  for (size_t t = 0; t < triggers.size(); ++t) out.after.push_back(grammar.add_state(rule));
  std::vector<StateId> states(nodes.size(), kNone);
  for (size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].trigger != kNone) {
      states[n] = out.after[nodes[n].trigger];
      continue;
    }
    states[n] = grammar.add_state(rule);
    out.text.push_back(states[n]);
  }
  grammar.empty(rule, from, states[0]);
  for (size_t n = 0; n < nodes.size() && grammar.ok(); ++n) {
    if (nodes[n].trigger != kNone) continue;
    for (uint32_t low = 0; low <= kBytesMax;) {
      uint32_t high = low;
      while (high < kBytesMax && nodes[n].next[high + 1] == nodes[n].next[low]) ++high;
      grammar.bytes(rule, states[n], states[nodes[n].next[low]], static_cast<uint8_t>(low), static_cast<uint8_t>(high));
      low = high + 1;
    }
  }
  for (size_t t = 0; t < triggers.size(); ++t) {
    const StateId inside = grammar.add_state(rule);
    for (const StateId text : out.text)
      grammar.bytes(rule, text, inside, static_cast<uint8_t>(kSpecialOpen), static_cast<uint8_t>(kSpecialOpen));
    const StateId close = grammar.literal(rule, inside, triggers[t]);
    grammar.bytes(rule, close, out.after[t], static_cast<uint8_t>(kSpecialClose), static_cast<uint8_t>(kSpecialClose));
  }
  SLUICE_TRY_VOID(grammar.status());
  return out;
}

Status start_after(const std::string& trigger, Grammar& grammar) {
  const RuleId rule = grammar.add_rule();
  SLUICE_TRY(const FreeText free, add_free_text(grammar, rule, kRuleStart, {trigger}));
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
