// The pattern parser. Contract: text/regex_ast.h; every refusal names the construct and where it stands. It recurses once per open group
// and groups are limited, so a hostile pattern cannot exhaust the stack (reliability G1). Next: text/regex.cc.
#include <utf8proc.h>

#include <array>
#include <optional>
#include <string>

#include "text/regex_ast.h"

namespace sluice::text {

CharSet digit_set() { return {{'0', '9'}}; }
CharSet word_set() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }
// ECMA-262 WhiteSpace and LineTerminator.
CharSet space_set() {
  return {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}

namespace {

struct CategoryName {
  std::string_view name;
  std::string_view prefix;  // of utf8proc's two-letter category
};
constexpr CategoryName kCategories[] = {
    {"L", "L"},
    {"Letter", "L"},
    {"Lu", "Lu"},
    {"Uppercase_Letter", "Lu"},
    {"Ll", "Ll"},
    {"Lowercase_Letter", "Ll"},
    {"Lt", "Lt"},
    {"Lm", "Lm"},
    {"Lo", "Lo"},
    {"N", "N"},
    {"Number", "N"},
    {"Nd", "Nd"},
    {"Decimal_Number", "Nd"},
    {"digit", "Nd"},
    {"Nl", "Nl"},
    {"No", "No"},
    {"P", "P"},
    {"Punctuation", "P"},
    {"S", "S"},
    {"Symbol", "S"},
    {"M", "M"},
    {"Mark", "M"},
    {"Z", "Z"},
    {"Separator", "Z"},
    {"Zs", "Zs"},
};

// The code points of every two-letter category, found once per process (about 40 ms).
const std::array<CharSet, UTF8PROC_CATEGORY_CO + 1>& categories() {
  static const auto table = [] {
    std::array<CharSet, UTF8PROC_CATEGORY_CO + 1> sets;
    for (uint32_t c = 0; c <= kCodePointMax; ++c) {
      CharSet& set = sets[static_cast<size_t>(utf8proc_category(static_cast<utf8proc_int32_t>(c)))];
      if (!set.empty() && set.back().high + 1 == c) {
        set.back().high = c;
      } else {
        set.push_back({c, c});
      }
    }
    return sets;
  }();
  return table;
}

std::optional<CharSet> category_set(std::string_view name) {
  for (const CategoryName& known : kCategories) {
    if (known.name != name) continue;
    CharSet all;
    for (const CharSet& set : categories()) {
      if (set.empty()) continue;
      const std::string_view category = utf8proc_category_string(static_cast<utf8proc_int32_t>(set[0].low));
      if (category.starts_with(known.prefix)) all.insert(all.end(), set.begin(), set.end());
    }
    return normalized(std::move(all));
  }
  return std::nullopt;
}

class Parser {
 public:
  Parser(std::string_view pattern, Allowance& allowance) : pattern_(pattern), allowance_(allowance) {}

  Result<RegexTree> parse() {
    SLUICE_TRY(tree_.root, choice(0));
    if (at_ < pattern_.size()) return fail("unmatched ')'");
    return std::move(tree_);
  }

 private:
  Error fail(const std::string& what) const {
    return Error{"the pattern " + quoted() + " is not supported: " + what + " at byte " + std::to_string(at_)};
  }
  std::string quoted() const { return "'" + std::string(pattern_.substr(0, 60)) + (pattern_.size() > 60 ? "..." : "") + "'"; }
  bool more() const { return at_ < pattern_.size(); }
  char peek() const { return pattern_[at_]; }
  bool take(char c) {
    if (!more() || peek() != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (!pattern_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  uint32_t add(RegexNode node) {
    tree_.nodes.push_back(std::move(node));
    return static_cast<uint32_t>(tree_.nodes.size() - 1);
  }
  uint32_t add_set(CharSet set) {
    RegexNode node;
    node.kind = RegexNode::Kind::kSet;
    node.set = std::move(set);
    return add(std::move(node));
  }

  Result<uint32_t> choice(uint32_t depth) {
    if (depth > limits::kConstraintNestingMax) {
      return fail("groups nested deeper than " + std::to_string(limits::kConstraintNestingMax));
    }
    RegexNode node;
    node.kind = RegexNode::Kind::kChoice;
    do {
      SLUICE_TRY(const uint32_t branch, sequence(depth));
      node.children.push_back(branch);
    } while (take('|'));
    if (node.children.size() == 1) return node.children[0];
    return add(std::move(node));
  }

  Result<uint32_t> sequence(uint32_t depth) {
    RegexNode node;
    while (more() && peek() != '|' && peek() != ')') {
      SLUICE_TRY_VOID(allowance_.spend(16));
      SLUICE_TRY_VOID(allowance_.hold(sizeof(RegexNode)));
      SLUICE_TRY(const uint32_t item, atom(depth));
      SLUICE_TRY(const uint32_t repeated, repeats(item));
      node.children.push_back(repeated);
    }
    if (node.children.size() == 1) return node.children[0];
    return add(std::move(node));
  }

  Result<uint32_t> repeats(uint32_t item) {
    for (uint32_t stacked = 0; more(); ++stacked) {
      RegexNode node;
      node.kind = RegexNode::Kind::kRepeat;
      node.repeat_max = -1;
      if (take('*')) {
      } else if (take('+')) {
        node.repeat_min = 1;
      } else if (take('?')) {
        node.repeat_max = 1;
      } else if (peek() == '{') {
        SLUICE_TRY(const bool counted, bounds(node));
        if (!counted) return item;
      } else {
        return item;
      }
      if (stacked > 0) return fail("a quantifier after a quantifier");
      take('?');  // lazy: the same language
      if (more() && peek() == '+') return fail("a possessive quantifier");
      node.children = {item};
      item = add(std::move(node));
    }
    return item;
  }

  // {n}, {n,} or {n,m}; anything else after '{' is the character itself, as ECMA-262's annex B has it.
  Result<bool> bounds(RegexNode& node) {
    const size_t start = at_;
    ++at_;
    const std::optional<uint64_t> low = number();
    bool open = false;
    std::optional<uint64_t> high = low;
    if (low && take(',')) {
      high = number();
      open = !high;
    }
    if (!low || !take('}')) {
      at_ = start;
      return false;
    }
    for (const uint64_t value : {*low, high.value_or(0)}) {
      if (value > limits::kConstraintRepeatMax) {
        return fail("a repeat of " + std::to_string(value) + ", more than " + std::to_string(limits::kConstraintRepeatMax));
      }
    }
    if (!open && *high < *low) return fail("a repeat whose upper bound is below its lower bound");
    node.repeat_min = static_cast<uint32_t>(*low);
    node.repeat_max = open ? -1 : static_cast<int64_t>(*high);
    return true;
  }

  std::optional<uint64_t> number() {
    const size_t start = at_;
    uint64_t value = 0;
    while (more() && peek() >= '0' && peek() <= '9') {
      value = std::min<uint64_t>(value * 10 + static_cast<uint64_t>(peek() - '0'), 1ull << 53);
      ++at_;
    }
    return at_ > start ? std::optional(value) : std::nullopt;
  }

  Result<uint32_t> atom(uint32_t depth) {
    if (take('(')) return group(depth);
    if (take('[')) {
      SLUICE_TRY(CharSet set, bracket());
      return add_set(std::move(set));
    }
    if (take('.')) return add_set(complement(CharSet{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
    if (take('^') || take("\\A")) return add_kind(RegexNode::Kind::kBegin);
    if (take('$') || take("\\z") || take("\\Z")) return add_kind(RegexNode::Kind::kEnd);
    if (peek() == '*' || peek() == '+' || peek() == '?') return fail("a quantifier with nothing before it");
    if (take('\\')) {
      SLUICE_TRY(CharSet set, escape(false));
      return add_set(std::move(set));
    }
    SLUICE_TRY(const uint32_t c, character());
    return add_set({{c, c}});
  }

  uint32_t add_kind(RegexNode::Kind kind) {
    RegexNode node;
    node.kind = kind;
    return add(std::move(node));
  }

  Result<uint32_t> group(uint32_t depth) {
    if (take("?:")) {
    } else if (take("?=") || take("?!") || take("?<=") || take("?<!")) {
      return fail("lookahead or lookbehind");
    } else if (take("?P<") || take("?<")) {
      while (more() && peek() != '>') ++at_;
      if (!take('>')) return fail("a group name without '>'");
    } else if (take('?')) {
      return fail("a group option");
    }
    SLUICE_TRY(const uint32_t inner, choice(depth + 1));
    if (!take(')')) return fail("a group without ')'");
    return inner;
  }

  Result<uint32_t> character() {
    const int32_t c = next_code_point(pattern_, at_);
    if (c < 0) return fail("bytes that are not UTF-8");
    return static_cast<uint32_t>(c);
  }

  Result<CharSet> bracket() {
    const bool negated = take('^');
    CharSet set;
    while (true) {
      if (!more()) return fail("a character class without ']'");
      if (take(']')) break;
      SLUICE_TRY_VOID(allowance_.spend(8));
      SLUICE_TRY(CharSet low, class_item());
      const bool single = low.size() == 1 && low[0].low == low[0].high;
      const bool range = single && at_ + 1 < pattern_.size() && peek() == '-' && pattern_[at_ + 1] != ']';
      if (range) {
        ++at_;
        SLUICE_TRY(const CharSet high, class_item());
        if (high.size() != 1 || high[0].low != high[0].high || high[0].low < low[0].low) return fail("a character range out of order");
        low = {{low[0].low, high[0].low}};
      }
      set.insert(set.end(), low.begin(), low.end());
    }
    set = normalized(std::move(set));
    return negated ? complement(set) : set;
  }

  Result<CharSet> class_item() {
    if (!more()) return fail("a character class without ']'");
    if (take('\\')) return escape(true);
    if (pattern_.substr(at_).starts_with("[:")) return fail("a POSIX class such as [:alpha:]");
    SLUICE_TRY(const uint32_t c, character());
    return CharSet{{c, c}};
  }

  Result<CharSet> escape(bool in_class) {
    if (!more()) return fail("a backslash at the end");
    const char c = pattern_[at_++];
    const auto one = [](uint32_t code_point) { return CharSet{{code_point, code_point}}; };
    switch (c) {
      case 'd': return digit_set();
      case 'D': return complement(digit_set());
      case 'w': return word_set();
      case 'W': return complement(word_set());
      case 's': return space_set();
      case 'S': return complement(space_set());
      case 'n': return one('\n');
      case 'r': return one('\r');
      case 't': return one('\t');
      case 'f': return one('\f');
      case 'v': return one('\v');
      case 'a': return one('\a');
      case '0': return one(0);
      case 'x': return hex(2);
      case 'u': return unicode();
      case 'p': return category(false);
      case 'P': return category(true);
      case 'c': return control();
      case 'b':
        if (in_class) return one('\b');
        return fail("a word boundary (\\b)");
      case 'B': return fail("a word boundary (\\B)");
      default: break;
    }
    if (c >= '1' && c <= '9') return fail("a backreference");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return fail(std::string("the escape \\") + c);
    --at_;
    SLUICE_TRY(const uint32_t literal, character());
    return one(literal);
  }

  Result<CharSet> control() {
    if (!more()) return fail("\\c at the end");
    const char c = pattern_[at_++];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) return fail("\\c without a letter");
    const uint32_t code = static_cast<uint32_t>(c) & 0x1F;
    return CharSet{{code, code}};
  }

  Result<uint32_t> hex_digits(size_t digits_min, size_t digits_max) {
    uint32_t value = 0;
    size_t digits = 0;
    for (; digits < digits_max && more(); ++digits, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) break;
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    if (digits < digits_min) return fail("a hexadecimal escape with too few digits");
    return value;
  }

  Result<CharSet> hex(size_t digits) {
    SLUICE_TRY(const uint32_t value, hex_digits(digits, digits));
    return CharSet{{value, value}};
  }

  Result<CharSet> unicode() {
    if (take('{')) {
      SLUICE_TRY(const uint32_t value, hex_digits(1, 6));
      if (!take('}') || value > kCodePointMax) return fail("a \\u{...} escape outside Unicode");
      return CharSet{{value, value}};
    }
    SLUICE_TRY(uint32_t value, hex_digits(4, 4));
    if (value >= 0xD800 && value < 0xDC00 && take("\\u")) {
      SLUICE_TRY(const uint32_t low, hex_digits(4, 4));
      if (low < 0xDC00 || low > 0xDFFF) return fail("half of a surrogate pair");
      value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    }
    return CharSet{{value, value}};
  }

  Result<CharSet> category(bool negated) {
    if (!take('{')) return fail("\\p without {...}");
    const size_t start = at_;
    while (more() && peek() != '}') ++at_;
    std::string_view name = pattern_.substr(start, at_ - start);
    if (!take('}')) return fail("\\p without '}'");
    for (const std::string_view prefix : {"General_Category=", "gc="}) {
      if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    }
    const std::optional<CharSet> set = category_set(name);
    if (!set) return fail("the Unicode property " + std::string(name.substr(0, 40)));
    SLUICE_TRY_VOID(allowance_.spend(8 * set->size()));
    return negated ? complement(*set) : *set;
  }

  std::string_view pattern_;
  Allowance& allowance_;
  size_t at_ = 0;
  RegexTree tree_;
};

}  // namespace

Result<RegexTree> parse_regex(std::string_view pattern, Allowance& allowance) { return Parser(pattern, allowance).parse(); }

}  // namespace sluice::text
