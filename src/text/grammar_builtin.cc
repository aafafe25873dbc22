// The rules that every JSON constraint shares: string, number, white space, value, object, array. Their masks are shared per vocabulary.
// Contract: text/grammar_compile.h (BuiltinRules, json_gap, json_number); what is accepted is RFC 8259 with bounded numbers, no lone
// surrogates and the white space of the chosen JsonSpace. Next: grammar_compile.cc.
#include "text/grammar_builtin.h"

namespace sluice::text {
namespace {

constexpr RuleId kStringRestRule = 0;
constexpr RuleId kSpaceRule = 1;
constexpr RuleId kNumberRule = 2;
constexpr RuleId kIntegerRule = 3;
constexpr RuleId kPythonStringRestRule = 4;
constexpr RuleId kFirstValueRule = 5;
constexpr uint32_t kBlanksMax = 64;

void hex(Grammar& g, RuleId rule, StateId from, StateId to, std::string_view digits) {
  for (const char c : digits) {
    g.bytes(rule, from, to, static_cast<uint8_t>(c), static_cast<uint8_t>(c));
    if (c >= 'a') g.bytes(rule, from, to, static_cast<uint8_t>(c - 32), static_cast<uint8_t>(c - 32));
  }
}

StateId hex(Grammar& g, RuleId rule, StateId from, std::string_view digits) {
  const StateId to = g.add_state(rule);
  hex(g, rule, from, to, digits);
  return to;
}

void string_rest(Grammar& g, RuleId rule) {
  constexpr std::string_view kAny = "0123456789abcdef";
  const StateId loop = kRuleStart;
  g.characters(rule, loop, loop, {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, kCodePointMax}});
  g.bytes(rule, loop, kRuleEnd, '"', '"');
  const StateId escape = g.literal(rule, loop, "\\");
  for (const char c : std::string_view("\"\\/bfnrt")) g.bytes(rule, escape, loop, static_cast<uint8_t>(c), static_cast<uint8_t>(c));
  const StateId unicode = g.literal(rule, escape, "u");
  // Anything but D800..DFFF, or a high half followed by a low half.
  const StateId plain = hex(g, rule, unicode, "0123456789abcef");
  const StateId third = hex(g, rule, plain, kAny);
  const StateId after_d = hex(g, rule, unicode, "d");
  hex(g, rule, after_d, third, "01234567");
  const StateId last = hex(g, rule, third, kAny);
  hex(g, rule, last, loop, kAny);
  StateId at = hex(g, rule, after_d, "89ab");
  at = hex(g, rule, hex(g, rule, at, kAny), kAny);
  at = hex(g, rule, g.literal(rule, at, "\\u"), "d");
  at = hex(g, rule, hex(g, rule, at, "cdef"), kAny);
  hex(g, rule, at, loop, kAny);
}

// Between single quotes; line breaks may stand as they are, because chat templates write them so.
void python_string_rest(Grammar& g, RuleId rule) {
  constexpr std::string_view kAny = "0123456789abcdef";
  const StateId loop = kRuleStart;
  g.characters(rule, loop, loop, {{'\t', '\n'}, {'\r', '\r'}, {0x20, 0x26}, {0x28, 0x5B}, {0x5D, kCodePointMax}});
  g.bytes(rule, loop, kRuleEnd, '\'', '\'');
  const StateId escape = g.literal(rule, loop, "\\");
  for (const char c : std::string_view("'\"\\bfnrt")) g.bytes(rule, escape, loop, static_cast<uint8_t>(c), static_cast<uint8_t>(c));
  hex(g, rule, hex(g, rule, g.literal(rule, escape, "x"), kAny), loop, kAny);
}

void space(Grammar& g, RuleId rule) {
  StateId at = g.add_state(rule);
  g.empty(rule, kRuleStart, at);
  g.bytes(rule, kRuleStart, at, '\n', '\n');
  for (uint32_t i = 0; i < kBlanksMax; ++i) {
    g.empty(rule, at, kRuleEnd);
    const StateId to = g.add_state(rule);
    g.bytes(rule, at, to, ' ', ' ');
    g.bytes(rule, at, to, '\t', '\t');
    at = to;
  }
  g.empty(rule, at, kRuleEnd);
}

StateId digits(Grammar& g, RuleId rule, StateId from, uint32_t low, uint32_t high) {
  const StateId to = g.add_state(rule);
  for (uint32_t i = 0; i < high; ++i) {
    if (i >= low) g.empty(rule, from, to);
    const StateId next = g.add_state(rule);
    g.bytes(rule, from, next, '0', '9');
    from = next;
  }
  g.empty(rule, from, to);
  return to;
}

constexpr uint32_t kDigits = limits::kConstraintNumberDigitsMax;

StateId whole_number(Grammar& g, RuleId rule, StateId from) {
  const StateId unsigned_start = g.add_state(rule);
  g.empty(rule, from, unsigned_start);
  g.bytes(rule, from, unsigned_start, '-', '-');
  const StateId whole = g.add_state(rule);
  g.bytes(rule, unsigned_start, whole, '0', '0');
  const StateId first = g.add_state(rule);
  g.bytes(rule, unsigned_start, first, '1', '9');
  g.empty(rule, digits(g, rule, first, 0, kDigits - 1), whole);
  return whole;
}

StateId number(Grammar& g, RuleId rule, StateId from) {
  const StateId whole = whole_number(g, rule, from);
  const StateId fraction_end = g.add_state(rule);
  g.empty(rule, whole, fraction_end);
  g.empty(rule, digits(g, rule, g.literal(rule, whole, "."), 1, kDigits), fraction_end);
  // Two digits of exponent at most: with 64 digits of mantissa the value stays a finite double.
  const StateId exponent = g.add_state(rule);
  g.bytes(rule, fraction_end, exponent, 'e', 'e');
  g.bytes(rule, fraction_end, exponent, 'E', 'E');
  const StateId power = g.add_state(rule);
  g.empty(rule, exponent, power);
  g.bytes(rule, exponent, power, '+', '+');
  g.bytes(rule, exponent, power, '-', '-');
  const StateId to = digits(g, rule, power, 1, 2);
  g.empty(rule, fraction_end, to);
  return to;
}

// '[' item (',' item)* ']' or the same with braces; `item` adds one item and returns the state behind it.
template <class Item>
void list(Grammar& g, RuleId rule, JsonSpace s, std::string_view open, std::string_view close, const Item& item) {
  const StateId inside = json_gap(g, rule, g.literal(rule, kRuleStart, open), s, JsonGap::kBracket);
  const StateId first = g.add_state(rule);
  g.empty(rule, inside, first);
  const StateId behind = item(first);
  const StateId comma = g.literal(rule, json_gap(g, rule, behind, s, JsonGap::kBefore), ",");
  g.empty(rule, json_gap(g, rule, comma, s, JsonGap::kComma), first);
  const StateId closing = g.add_state(rule);
  g.empty(rule, inside, closing);
  g.empty(rule, json_gap(g, rule, behind, s, JsonGap::kBracket), closing);
  g.empty(rule, g.literal(rule, closing, close), kRuleEnd);
}

void value_rules(Grammar& g, JsonSpace s, RuleId value, RuleId object, RuleId array) {
  const auto string = [&](RuleId rule, StateId from, StateId to) {
    g.call(rule, g.literal(rule, from, "\""), to, kStringRestRule);
    if (s == JsonSpace::kPython) g.call(rule, g.literal(rule, from, "'"), to, kPythonStringRestRule);
  };
  string(value, kRuleStart, kRuleEnd);
  g.call(value, kRuleStart, kRuleEnd, kNumberRule);
  g.call(value, kRuleStart, kRuleEnd, object);
  g.call(value, kRuleStart, kRuleEnd, array);
  for (const std::string_view word : {"true", "false", "null"}) g.empty(value, g.literal(value, kRuleStart, word), kRuleEnd);
  if (s == JsonSpace::kPython) {
    for (const std::string_view word : {"True", "False", "None"}) g.empty(value, g.literal(value, kRuleStart, word), kRuleEnd);
  }
  list(g, object, s, "{", "}", [&](StateId from) {
    const StateId key = g.add_state(object);
    string(object, from, key);
    const StateId colon = g.literal(object, json_gap(g, object, key, s, JsonGap::kBefore), ":");
    const StateId to = g.add_state(object);
    g.call(object, json_gap(g, object, colon, s, JsonGap::kColon), to, value);
    return to;
  });
  list(g, array, s, "[", "]", [&](StateId from) {
    const StateId to = g.add_state(array);
    g.call(array, from, to, value);
    return to;
  });
}

}  // namespace

StateId json_gap(Grammar& grammar, RuleId rule, StateId from, JsonSpace space, JsonGap gap) {
  if (space == JsonSpace::kFlexible) {
    const StateId to = grammar.add_state(rule);
    grammar.empty(rule, from, to);
    grammar.call(rule, from, to, kSpaceRule);
    return to;
  }
  const bool spaced = space == JsonSpace::kSpaced || space == JsonSpace::kPython;
  const bool blank = spaced && (gap == JsonGap::kColon || gap == JsonGap::kComma);
  return blank ? grammar.literal(rule, from, " ") : from;
}

StateId json_number(Grammar& grammar, RuleId rule, StateId from) {
  const StateId to = grammar.add_state(rule);
  grammar.call(rule, from, to, kNumberRule);
  return to;
}

StateId json_integer(Grammar& grammar, RuleId rule, StateId from) {
  const StateId to = grammar.add_state(rule);
  grammar.call(rule, from, to, kIntegerRule);
  return to;
}

BuiltinRules add_builtin_rules(Grammar& grammar) {
  BuiltinRules rules{};
  rules.string_rest = grammar.add_rule();
  const RuleId space_rule = grammar.add_rule();
  const RuleId number_rule = grammar.add_rule();
  const RuleId integer_rule = grammar.add_rule();
  rules.python_string_rest = grammar.add_rule();
  SLUICE_CHECK(rules.string_rest == kStringRestRule && space_rule == kSpaceRule && number_rule == kNumberRule &&
               integer_rule == kIntegerRule && rules.python_string_rest == kPythonStringRestRule);
  string_rest(grammar, rules.string_rest);
  python_string_rest(grammar, rules.python_string_rest);
  space(grammar, space_rule);
  grammar.empty(integer_rule, whole_number(grammar, integer_rule, kRuleStart), kRuleEnd);
  grammar.empty(number_rule, number(grammar, number_rule, kRuleStart), kRuleEnd);
  for (uint32_t s = 0; s < kJsonSpaces; ++s) {
    rules.value[s] = grammar.add_rule();
    rules.object[s] = grammar.add_rule();
    rules.array[s] = grammar.add_rule();
    SLUICE_CHECK(rules.value[s] == kFirstValueRule + 3 * s);
    value_rules(grammar, static_cast<JsonSpace>(s), rules.value[s], rules.object[s], rules.array[s]);
  }
  rules.count = static_cast<RuleId>(grammar.rules().size());
  return rules;
}

const BuiltinRules& builtin_rules() {
  static const BuiltinRules rules = [] {
    Allowance allowance({1ull << 40, 1ull << 40});
    Grammar grammar(allowance);
    return add_builtin_rules(grammar);
  }();
  return rules;
}

// The built-in rules are compiled apart, so their bodies stay empty here; only their numbers are taken.
Grammar grammar_with_builtins(Allowance& allowance) {
  Grammar grammar(allowance);
  for (RuleId r = 0; r < builtin_rules().count; ++r) grammar.add_rule();
  return grammar;
}

}  // namespace sluice::text
