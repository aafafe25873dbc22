// Parser and emitter for GBNF. Contract: text/grammar_gbnf.h. Rules that are small and not recursive are written out where they are used,
// so that they become one automaton with their surroundings; the others become rules. Next: text/grammar_determinize.cc.
#include "text/grammar_gbnf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr uint64_t kInlineNodesMax = 96;
constexpr uint32_t kInlineDepthMax = 16;

struct Node {
  enum class Kind : uint8_t { kText, kSet, kSequence, kChoice, kRepeat, kRule };
  Kind kind = Kind::kSequence;
  std::string text;
  CharSet set;
  std::vector<uint32_t> children;
  uint64_t repeat_min = 0;
  int64_t repeat_max = -1;
  uint32_t rule = 0;
};

struct NamedRule {
  std::string name;
  uint32_t body = ~0u;
  size_t line = 0;
};

struct Parsed {
  std::vector<Node> nodes;
  std::vector<NamedRule> rules;
};

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

class Parser {
 public:
  Parser(std::string_view source, Allowance& allowance) : source_(source), allowance_(allowance) {}

  Result<Parsed> parse() {
    blanks(true);
    while (more()) {
      SLUICE_TRY_VOID(rule());
      blanks(true);
    }
    for (const NamedRule& rule : out_.rules) {
      if (rule.body == ~0u)
        return Error{"the grammar uses the rule '" + rule.name + "' on line " + std::to_string(rule.line) + " but does not define it"};
    }
    return std::move(out_);
  }

 private:
  Error fail(const std::string& what) const { return Error{"the grammar is not supported: " + what + " on line " + std::to_string(line_)}; }
  bool more() const { return at_ < source_.size(); }
  char peek() const { return source_[at_]; }
  bool take(std::string_view word) {
    if (!source_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  // White space and comments; line breaks only where a rule may go on.
  void blanks(bool lines) {
    while (more()) {
      if (peek() == '#') {
        while (more() && peek() != '\n') ++at_;
      } else if (peek() == '\n' && lines) {
        ++line_, ++at_;
      } else if (peek() == ' ' || peek() == '\t' || peek() == '\r') {
        ++at_;
      } else {
        return;
      }
    }
  }

  std::string_view name() {
    const size_t start = at_;
    while (more() && is_name(peek())) ++at_;
    return source_.substr(start, at_ - start);
  }

  uint32_t rule_of(std::string_view name) {
    const auto [it, fresh] = ids_.try_emplace(std::string(name), static_cast<uint32_t>(out_.rules.size()));
    if (fresh) out_.rules.push_back({std::string(name), ~0u, line_});
    return it->second;
  }

  Status rule() {
    const std::string_view defined = name();
    if (defined.empty()) return fail("a line that does not begin with a rule name");
    const uint32_t id = rule_of(defined);
    blanks(true);
    if (!take("::=")) return fail("'" + std::string(defined.substr(0, 60)) + "' without ::=");
    if (out_.rules[id].body != ~0u) return fail("a second definition of '" + std::string(defined.substr(0, 60)) + "'");
    blanks(true);
    SLUICE_TRY(const uint32_t body, choice(0));
    out_.rules[id].body = body;
    if (more() && peek() != '\n') return fail(std::string("an unexpected '") + peek() + "'");
    return allowance_.hold(sizeof(NamedRule) + 2 * defined.size());
  }

  Result<uint32_t> add(Node node) {
    SLUICE_TRY_VOID(allowance_.spend(16));
    SLUICE_TRY_VOID(allowance_.hold(sizeof(Node) + node.text.size() + node.set.size() * sizeof(CodeRange)));
    out_.nodes.push_back(std::move(node));
    return static_cast<uint32_t>(out_.nodes.size() - 1);
  }

  Result<uint32_t> choice(uint32_t depth) {
    if (depth > limits::kConstraintNestingMax) return fail("groups nested deeper than " + std::to_string(limits::kConstraintNestingMax));
    Node node;
    node.kind = Node::Kind::kChoice;
    while (true) {
      SLUICE_TRY(const uint32_t branch, sequence(depth));
      node.children.push_back(branch);
      blanks(depth > 0);
      // A branch may also go on with '|' on the next line.
      const size_t at = at_, line = line_;
      blanks(true);
      if (take("|")) {
        blanks(true);
        continue;
      }
      if (depth == 0) at_ = at, line_ = line;
      break;
    }
    if (node.children.size() == 1) return node.children[0];
    return add(std::move(node));
  }

  Result<uint32_t> sequence(uint32_t depth) {
    Node node;
    while (true) {
      blanks(depth > 0);
      if (!more() || peek() == '|' || peek() == ')' || peek() == '\n') break;
      SLUICE_TRY(uint32_t item, atom(depth));
      SLUICE_TRY(item, repeats(item, depth));
      node.children.push_back(item);
    }
    if (node.children.size() == 1) return node.children[0];
    return add(std::move(node));
  }

  Result<uint32_t> atom(uint32_t depth) {
    Node node;
    if (take("\"")) {
      node.kind = Node::Kind::kText;
      SLUICE_TRY_VOID(text(node.text));
      return add(std::move(node));
    }
    if (take("[")) {
      node.kind = Node::Kind::kSet;
      SLUICE_TRY(node.set, char_class());
      return add(std::move(node));
    }
    if (take(".")) {
      node.kind = Node::Kind::kSet;
      node.set = {{0, kCodePointMax}};
      return add(std::move(node));
    }
    if (take("(")) {
      SLUICE_TRY(const uint32_t inner, choice(depth + 1));
      if (!take(")")) return fail("a group without ')'");
      return inner;
    }
    if (is_name(peek())) {
      node.kind = Node::Kind::kRule;
      node.rule = rule_of(name());
      return add(std::move(node));
    }
    if (peek() == '<' || peek() == '!') return fail("a token reference (<...>)");
    return fail(std::string("an unexpected '") + peek() + "'");
  }

  Result<uint32_t> repeats(uint32_t item, uint32_t depth) {
    while (true) {
      blanks(depth > 0);
      Node node;
      node.kind = Node::Kind::kRepeat;
      if (take("*")) {
      } else if (take("+")) {
        node.repeat_min = 1;
      } else if (take("?")) {
        node.repeat_max = 1;
      } else if (take("{")) {
        SLUICE_TRY_VOID(bounds(node));
      } else {
        return item;
      }
      node.children = {item};
      SLUICE_TRY(item, add(std::move(node)));
    }
  }

  Status bounds(Node& node) {
    blanks(false);
    const std::optional<uint64_t> low = number();
    std::optional<uint64_t> high = low;
    blanks(false);
    if (take(",")) {
      blanks(false);
      high = number();
      blanks(false);
    }
    if (!take("}") || !(low || high)) return fail("a repeat that is not {m}, {m,}, {m,n} or {,n}");
    for (const uint64_t value : {low.value_or(0), high.value_or(0)}) {
      if (value > limits::kConstraintRepeatMax) {
        return fail("a repeat of " + std::to_string(value) + ", more than " + std::to_string(limits::kConstraintRepeatMax) + ",");
      }
    }
    node.repeat_min = low.value_or(0);
    node.repeat_max = high ? static_cast<int64_t>(*high) : -1;
    if (high && *high < node.repeat_min) return fail("a repeat whose upper bound is below its lower bound");
    return {};
  }

  std::optional<uint64_t> number() {
    const size_t start = at_;
    uint64_t value = 0;
    for (; more() && peek() >= '0' && peek() <= '9'; ++at_)
      value = std::min<uint64_t>(value * 10 + static_cast<uint64_t>(peek() - '0'), 1ull << 53);
    return at_ > start ? std::optional(value) : std::nullopt;
  }

  Status text(std::string& out) {
    while (true) {
      if (!more() || peek() == '\n') return fail("a text without its closing quote");
      if (take("\"")) return {};
      SLUICE_TRY(const uint32_t c, character());
      append_utf8(out, c);
    }
  }

  Result<CharSet> char_class() {
    const bool negated = take("^");
    CharSet set;
    while (!take("]")) {
      if (!more() || peek() == '\n') return fail("a character class without ']'");
      SLUICE_TRY(const uint32_t low, character());
      uint32_t high = low;
      if (at_ + 1 < source_.size() && peek() == '-' && source_[at_ + 1] != ']') {
        ++at_;
        SLUICE_TRY(high, character());
        if (high < low) return fail("a character range out of order");
      }
      set.push_back({low, high});
    }
    set = normalized(std::move(set));
    return negated ? complement(set) : set;
  }

  Result<uint32_t> character() {
    if (!take("\\")) {
      const int32_t c = next_code_point(source_, at_);
      if (c < 0) return fail("bytes that are not UTF-8");
      return static_cast<uint32_t>(c);
    }
    if (!more()) return fail("a backslash at the end");
    const char c = source_[at_++];
    switch (c) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'x': return hex(2);
      case 'u': return hex(4);
      case 'U': return hex(8);
      case '"':
      case '\\':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
      case '.':
      case '\'': return static_cast<uint32_t>(c);
      default: return fail(std::string("the escape \\") + c);
    }
  }

  Result<uint32_t> hex(int digits) {
    uint64_t value = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const char c = more() ? peek() : ' ';
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) return fail("a hexadecimal escape with too few digits");
      value = value * 16 + static_cast<uint64_t>(digit);
    }
    if (value > kCodePointMax || (value >= 0xD800 && value < 0xE000)) return fail("an escape outside Unicode");
    return static_cast<uint32_t>(value);
  }

  std::string_view source_;
  Allowance& allowance_;
  size_t at_ = 0;
  size_t line_ = 1;
  Parsed out_;
  std::map<std::string, uint32_t> ids_;
};

class Emitter {
 public:
  Emitter(const Parsed& parsed, Grammar& grammar)
      : parsed_(parsed), grammar_(grammar), ids_(parsed.rules.size(), ~0u), sizes_(parsed.rules.size(), 0), open_(parsed.rules.size(), 0) {}

  Status run(uint32_t root) {
    grammar_.root = rule_id(root);
    while (!pending_.empty()) {
      const uint32_t rule = pending_.back();
      pending_.pop_back();
      SLUICE_TRY(const StateId end, emit(parsed_.rules[rule].body, ids_[rule], kRuleStart));
      grammar_.empty(ids_[rule], end, kRuleEnd);
      SLUICE_TRY_VOID(grammar_.status());
    }
    return {};
  }

 private:
  RuleId rule_id(uint32_t rule) {
    if (ids_[rule] == ~0u) {
      ids_[rule] = grammar_.add_rule();
      pending_.push_back(rule);
    }
    return ids_[rule];
  }

  // Nodes of the rule written out, kInlineNodesMax + 1 if that is too many, if it is recursive or deeper than kInlineDepthMax.
  uint64_t inlined_size(uint32_t rule, uint32_t depth) {
    if (sizes_[rule] != 0) return sizes_[rule];
    if (open_[rule] || depth > kInlineDepthMax) return kInlineNodesMax + 1;
    open_[rule] = 1;
    const uint64_t size = node_size(parsed_.rules[rule].body, depth + 1);
    open_[rule] = 0;
    // What was found too large only because of what is open now must not be remembered for others; too large is always safe.
    if (size <= kInlineNodesMax || depth == 0) sizes_[rule] = size;
    return size;
  }

  uint64_t node_size(uint32_t index, uint32_t depth) {
    const Node& node = parsed_.nodes[index];
    if (!grammar_.allowance().spend_fast(2)) return kInlineNodesMax + 1;
    uint64_t total = 1 + node.text.size();
    for (const uint32_t child : node.children) {
      total += node_size(child, depth);
      if (total > kInlineNodesMax) return kInlineNodesMax + 1;
    }
    if (node.kind == Node::Kind::kRepeat)
      total *= std::max<uint64_t>({1, node.repeat_min, static_cast<uint64_t>(std::max<int64_t>(node.repeat_max, 0))});
    if (node.kind == Node::Kind::kRule) total += inlined_size(node.rule, depth);
    return std::min(total, kInlineNodesMax + 1);
  }

  Result<StateId> emit(uint32_t index, RuleId rule, StateId from) {
    SLUICE_TRY_VOID(grammar_.allowance().spend(4));
    const Node& node = parsed_.nodes[index];
    switch (node.kind) {
      case Node::Kind::kText: return grammar_.literal(rule, from, node.text);
      case Node::Kind::kSet: return grammar_.characters(rule, from, node.set);
      case Node::Kind::kSequence:
        for (const uint32_t child : node.children) {
          SLUICE_TRY(from, emit(child, rule, from));
        }
        return from;
      case Node::Kind::kChoice: {
        const StateId to = grammar_.add_state(rule);
        for (const uint32_t child : node.children) {
          const StateId in = grammar_.add_state(rule);
          grammar_.empty(rule, from, in);
          SLUICE_TRY(const StateId out, emit(child, rule, in));
          grammar_.empty(rule, out, to);
        }
        return to;
      }
      case Node::Kind::kRepeat: return emit_repeat(node, rule, from);
      case Node::Kind::kRule: {
        if (inlined_size(node.rule, 0) <= kInlineNodesMax) return emit(parsed_.rules[node.rule].body, rule, from);
        const StateId to = grammar_.add_state(rule);
        grammar_.call(rule, from, to, rule_id(node.rule));
        return to;
      }
    }
    return from;
  }

  Result<StateId> emit_repeat(const Node& node, RuleId rule, StateId from) {
    const uint32_t child = node.children[0];
    for (uint64_t i = 0; i < node.repeat_min; ++i) {
      SLUICE_TRY(from, emit(child, rule, from));
    }
    const StateId to = grammar_.add_state(rule);
    if (node.repeat_max < 0) {
      const StateId loop = grammar_.add_state(rule);
      grammar_.empty(rule, from, loop);
      SLUICE_TRY(const StateId out, emit(child, rule, loop));
      grammar_.empty(rule, out, loop);
      grammar_.empty(rule, loop, to);
      return to;
    }
    for (int64_t i = static_cast<int64_t>(node.repeat_min); i < node.repeat_max; ++i) {
      grammar_.empty(rule, from, to);
      SLUICE_TRY(from, emit(child, rule, from));
    }
    grammar_.empty(rule, from, to);
    return to;
  }

  const Parsed& parsed_;
  Grammar& grammar_;
  std::vector<RuleId> ids_;      // (rules) ~0: not a rule of its own so far
  std::vector<uint64_t> sizes_;  // (rules) 0: not known
  std::vector<uint8_t> open_;
  std::vector<uint32_t> pending_;
};

}  // namespace

Status build_gbnf(std::string_view source, Grammar& grammar) {
  SLUICE_TRY(const Parsed parsed, Parser(source, grammar.allowance()).parse());
  for (uint32_t rule = 0; rule < parsed.rules.size(); ++rule) {
    if (parsed.rules[rule].name == "root") return Emitter(parsed, grammar).run(rule);
  }
  return Error{"the grammar has no rule 'root'"};
}

}  // namespace sluice::text
