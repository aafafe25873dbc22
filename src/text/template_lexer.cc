// Splits a template into data, tags and the tokens inside tags (template_lexer.h). The rules follow Jinja 3.1's documentation of white-space
// control and its observable behaviour on the test snippets. Contract: linear in the source. Next: template_parser.cc.
#include "text/template_lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <fmt/format.h>
#include <utf8proc.h>

#include "base/limits.h"
#include "text/template_string.h"

namespace sluice::text::jinja {

namespace {

std::string normalize_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  return out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Operator {
  std::string_view text;
  TokenKind kind;
};

constexpr Operator kOperators[] = {  // longer ones first
    {"//", TokenKind::floor_div}, {"**", TokenKind::pow},          {"==", TokenKind::equal},       {"!=", TokenKind::not_equal},
    {">=", TokenKind::greater_equal}, {"<=", TokenKind::less_equal}, {"+", TokenKind::add},        {"-", TokenKind::sub},
    {"/", TokenKind::div},        {"*", TokenKind::mul},           {"%", TokenKind::mod},          {"~", TokenKind::tilde},
    {"[", TokenKind::left_bracket}, {"]", TokenKind::right_bracket}, {"(", TokenKind::left_paren}, {")", TokenKind::right_paren},
    {"{", TokenKind::left_brace}, {"}", TokenKind::right_brace},   {">", TokenKind::greater},      {"<", TokenKind::less},
    {"=", TokenKind::assign},     {".", TokenKind::dot},           {":", TokenKind::colon},        {"|", TokenKind::pipe},
    {",", TokenKind::comma},      {";", TokenKind::semicolon},
};

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  Result<std::vector<Token>> run() {
    while (at_ < source_.size() && error_.empty()) lex_root();
    if (!error_.empty()) return Error{fmt::format("template line {}: {}", line_, error_)};
    push(TokenKind::eof);
    return std::move(tokens_);
  }

 private:
  void fail(std::string sentence) {
    if (error_.empty()) error_ = std::move(sentence);
    at_ = source_.size();
  }

  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  bool looking_at(std::string_view text) const { return rest().substr(0, text.size()) == text; }
  char peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  Token& push(TokenKind kind, std::string_view text = {}) { return tokens_.emplace_back(Token{kind, line_, std::string(text)}); }

  void advance(size_t count) {
    line_ += static_cast<uint32_t>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(at_ + count), '\n'));
    at_ += count;
    line_starting_ = count > 0 && source_[at_ - 1] == '\n';
  }

  // Bytes of white space (Python's) from `from` on.
  size_t spaces(size_t from) const {
    const char* at = source_.data() + from;
    const char* end = source_.data() + source_.size();
    while (at < end) {
      const char* next = at;
      if (!is_python_space(next_char(next))) break;
      at = next;
    }
    return static_cast<size_t>(at - source_.data()) - from;
  }

  static std::string_view trim_right(std::string_view text) {
    while (!text.empty()) {
      size_t last = text.size() - 1;
      while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
      const char* at = text.data() + last;
      if (!is_python_space(next_char(at))) break;
      text = text.substr(0, last);
    }
    return text;
  }

  // Data before a tag: `-` strips all white space, and a block tag alone at the start of its line loses its indentation.
  std::string_view strip_before_tag(std::string_view text, char sign, bool is_variable) const {
    if (sign == '-') return trim_right(text);
    if (sign == '+' || is_variable) return text;
    const size_t newline = text.rfind('\n');
    const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (line_begin == 0 && !line_starting_) return text;
    return trim_right(text.substr(line_begin)).empty() ? text.substr(0, line_begin) : text;
  }

  static char sign_of(char c) { return c == '-' || c == '+' ? c : '\0'; }

  void lex_root() {
    size_t tag = at_;
    while (true) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos || tag + 1 >= source_.size()) {
        push(TokenKind::data, rest());
        at_ = source_.size();
        return;
      }
      const char kind = source_[tag + 1];
      if (kind == '{' || kind == '%' || kind == '#') break;
      ++tag;
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? sign_of(source_[tag + 2]) : '\0';
    const std::string_view text = strip_before_tag(std::string_view(source_).substr(at_, tag - at_), sign, kind == '{');
    if (!text.empty()) push(TokenKind::data, text);
    const size_t content = tag + 2 + (sign != '\0' ? 1 : 0);
    if (kind == '#') return lex_comment(content);
    if (kind == '%' && lex_raw(content)) return;
    advance(content - at_);
    push(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin);
    lex_tag(kind == '{');
  }

  void lex_comment(size_t content) {
    const size_t end = source_.find("#}", content);
    if (end == std::string::npos) return fail("Missing end of comment tag");
    const char sign = end > content ? sign_of(source_[end - 1]) : '\0';
    advance(end + 2 + after_tag(end + 2, sign) - at_);
  }

  // White space to drop behind a block or comment tag that ends at `end`.
  size_t after_tag(size_t end, char sign) const {
    if (sign == '-') return spaces(end);
    if (sign == '+') return 0;
    return end < source_.size() && source_[end] == '\n' ? 1 : 0;
  }

  // {% raw %} ... {% endraw %}; false when the tag is another one.
  bool lex_raw(size_t content) {
    size_t at = content + spaces(content);
    if (source_.compare(at, 3, "raw") != 0) return false;
    at += 3;
    at += spaces(at);
    if (source_.compare(at, 3, "-%}") == 0) at += 3 + spaces(at + 3);
    else if (source_.compare(at, 2, "%}") == 0) at += 2;
    else return false;
    advance(at - at_);
    for (size_t tag = source_.find("{%", at); tag != std::string::npos; tag = source_.find("{%", tag + 1)) {
      const char sign = tag + 2 < source_.size() ? sign_of(source_[tag + 2]) : '\0';
      size_t end = tag + 2 + (sign != '\0' ? 1 : 0);
      end += spaces(end);
      if (source_.compare(end, 6, "endraw") != 0) continue;
      end += 6;
      end += spaces(end);
      const char end_sign = end < source_.size() ? sign_of(source_[end]) : '\0';
      end += end_sign != '\0' ? 1 : 0;
      if (source_.compare(end, 2, "%}") != 0) continue;
      const std::string_view text = strip_before_tag(std::string_view(source_).substr(at, tag - at), sign, false);
      if (!text.empty()) push(TokenKind::data, text);
      advance(end + 2 + after_tag(end + 2, end_sign) - at_);
      return true;
    }
    fail("Missing end of raw directive");
    return true;
  }

  bool lex_tag_end(bool is_variable) {
    if (!open_.empty()) return false;
    const std::string_view end = is_variable ? "}}" : "%}";
    const char sign = sign_of(peek());
    const bool signed_end = sign != '\0' && !(is_variable && sign == '+') && rest().substr(1, 2) == end;
    if (!signed_end && !looking_at(end)) return false;
    push(is_variable ? TokenKind::variable_end : TokenKind::block_end);
    const size_t past = at_ + (signed_end ? 3 : 2);
    const size_t dropped = is_variable ? (signed_end ? spaces(past) : 0) : after_tag(past, signed_end ? sign : '\0');
    advance(past + dropped - at_);
    return true;
  }

  void lex_tag(bool is_variable) {
    while (at_ < source_.size() && error_.empty()) {
      if (lex_tag_end(is_variable)) return;
      if (const size_t blank = spaces(at_); blank > 0) {
        advance(blank);
      } else if (is_digit(peek())) {
        lex_number();
      } else if (const size_t length = name_length(); length > 0) {
        push(TokenKind::name, rest().substr(0, length));
        advance(length);
      } else if ((peek() == '\'' || peek() == '"') && string_length() > 0) {
        lex_string();
      } else {
        lex_operator();
      }
    }
  }

  size_t name_length() const {
    const char* begin = source_.data() + at_;
    const char* end = source_.data() + source_.size();
    const char* at = begin;
    while (at < end) {
      const char* next = at;
      const char32_t c = next_char(next);
      if (c < 0x80) {
        if (!(is_digit(static_cast<char>(c)) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')) break;
      } else {
        const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
        if (category < UTF8PROC_CATEGORY_LU || category > UTF8PROC_CATEGORY_NO) break;  // letters, marks, numbers
      }
      at = next;
    }
    return static_cast<size_t>(at - begin);
  }

  // Digits of one class with single underscores between them.
  size_t digit_run(size_t from, bool (*accepts)(char)) const {
    size_t at = from;
    while (at < source_.size() && (accepts(source_[at]) || (source_[at] == '_' && at > from && at + 1 < source_.size() && accepts(source_[at + 1])))) {
      ++at;
    }
    return at - from;
  }

  void lex_number() {
    const size_t whole = digit_run(at_, is_digit);
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    size_t end = at_ + whole;
    bool is_real = false;
    if (!after_dot) {
      if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
        end += 1 + digit_run(end + 1, is_digit);
        is_real = true;
      }
      size_t exponent = end;
      if (exponent < source_.size() && (source_[exponent] == 'e' || source_[exponent] == 'E')) {
        ++exponent;
        if (exponent < source_.size() && sign_of(source_[exponent]) != '\0') ++exponent;
        if (exponent < source_.size() && is_digit(source_[exponent])) {
          end = exponent + digit_run(exponent, is_digit);
          is_real = true;
        }
      }
    }
    if (!is_real) return lex_integer();
    std::string digits(source_, at_, end - at_);
    std::erase(digits, '_');
    Token& token = push(TokenKind::real, digits);
    token.real = std::strtod(digits.c_str(), nullptr);
    advance(end - at_);
  }

  void lex_integer() {
    static constexpr auto is_binary = [](char c) { return c == '0' || c == '1'; };
    static constexpr auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    static constexpr auto is_hex = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
    static constexpr auto is_zero = [](char c) { return c == '0'; };
    int base = 10;
    size_t prefix = 0;
    size_t length = 0;
    if (peek() == '0') {
      const char mark = static_cast<char>(peek(1) | 0x20);
      const size_t body = at_ + 2 + (peek(2) == '_' ? 1 : 0);
      if (mark == 'b' && (length = digit_run(body, is_binary)) > 0) base = 2;
      else if (mark == 'o' && (length = digit_run(body, is_octal)) > 0) base = 8;
      else if (mark == 'x' && (length = digit_run(body, is_hex)) > 0) base = 16;
      if (base != 10) prefix = body - at_;
      else length = digit_run(at_, is_zero);
    } else {
      length = digit_run(at_, is_digit);
    }
    std::string digits(source_, at_ + prefix, length);
    std::erase(digits, '_');
    Token& token = push(TokenKind::integer, digits);
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), token.integer, base);
    if (result.ec != std::errc()) return fail(fmt::format("integer {} does not fit into 64 bits", digits));
    advance(prefix + length);
  }

  size_t string_length() const {
    const char quote = peek();
    for (size_t at = at_ + 1; at < source_.size(); ++at) {
      if (source_[at] == quote) return at + 1 - at_;
      if (source_[at] == '\\') ++at;
    }
    return 0;
  }

  void lex_string() {
    const size_t length = string_length();
    std::string text;
    if (!unescape(rest().substr(1, length - 2), text)) return;
    push(TokenKind::string, text);
    advance(length);
  }

  bool unescape(std::string_view raw, std::string& out) {
    for (size_t i = 0; i < raw.size();) {
      if (raw[i] != '\\') {
        out.push_back(raw[i++]);
        continue;
      }
      ++i;  // string_length() never ends a string right behind a backslash
      const char c = raw[i];
      const std::string_view simple = "\\'\"abfnrtv";
      const std::string_view meaning = "\\'\"\a\b\f\n\r\t\v";
      if (const size_t which = simple.find(c); which != std::string_view::npos) {
        out.push_back(meaning[which]);
        ++i;
      } else if (c == '\n') {
        ++i;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        if (!append_escaped(raw.substr(i + 1), c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, out)) return false;
        i += c == 'x' ? 3 : c == 'u' ? 5 : 9;
      } else if (c >= '0' && c <= '7') {
        size_t digits = 1;
        while (digits < 3 && i + digits < raw.size() && raw[i + digits] >= '0' && raw[i + digits] <= '7') ++digits;
        if (!append_escaped(raw.substr(i), digits, 8, out)) return false;
        i += digits;
      } else if (c == 'N') {
        fail("escapes by character name (\\N{...}) are not supported");
        return false;
      } else {
        append_unknown_escape(raw, i, out);
      }
    }
    return true;
  }

  bool append_escaped(std::string_view digits, size_t count, int base, std::string& out) {
    uint32_t code = 0;
    const auto end = digits.data() + std::min(count, digits.size());
    const auto result = std::from_chars(digits.data(), end, code, base);
    if (digits.size() < count || result.ptr != digits.data() + count || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      fail("a string holds an escape that is not a character");
      return false;
    }
    char buffer[4];
    out.append(buffer, encode_char(code, buffer));
    return true;
  }

  // Python keeps the backslash. Jinja first spells characters beyond ASCII as escapes, so a backslash before one turns that into text.
  static void append_unknown_escape(std::string_view raw, size_t& i, std::string& out) {
    const char* at = raw.data() + i;
    const char32_t c = next_char(at);
    out.push_back('\\');
    if (c < 0x80) out.push_back(static_cast<char>(c));
    else if (c < 0x100) out += fmt::format("x{:02x}", static_cast<uint32_t>(c));
    else if (c < 0x10000) out += fmt::format("u{:04x}", static_cast<uint32_t>(c));
    else out += fmt::format("U{:08x}", static_cast<uint32_t>(c));
    i = static_cast<size_t>(at - raw.data());
  }

  void lex_operator() {
    for (const Operator& op : kOperators) {
      if (!looking_at(op.text)) continue;
      if (op.text == "(" || op.text == "[" || op.text == "{") {
        if (open_.size() >= limits::kTemplateNestingMax) return fail(fmt::format("brackets nest more than {} deep", limits::kTemplateNestingMax));
        open_.push_back(op.text == "(" ? ')' : op.text == "[" ? ']' : '}');
      } else if (op.text == ")" || op.text == "]" || op.text == "}") {
        if (open_.empty()) return fail(fmt::format("unexpected '{}'", op.text));
        if (open_.back() != op.text[0]) return fail(fmt::format("unexpected '{}', expected '{}'", op.text, open_.back()));
        open_.pop_back();
      }
      push(op.kind, op.text);
      return advance(op.text.size());
    }
    const char* end = source_.data() + at_;
    next_char(end);
    fail(fmt::format("unexpected character '{}'", std::string_view(source_.data() + at_, static_cast<size_t>(end - source_.data()) - at_)));
  }

  std::string source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_starting_ = true;
  std::string open_;  // closing brackets still to come
  std::vector<Token> tokens_;
  std::string error_;
};

}  // namespace

Result<std::vector<Token>> lex(std::string_view source) {
  if (source.size() > limits::kTemplateBytesMax) {
    return Error{fmt::format("the template has {} bytes, the limit is {}", source.size(), limits::kTemplateBytesMax)};
  }
  if (!is_valid_utf8(source)) return Error{"the template is not valid UTF-8"};
  std::string text = normalize_newlines(source);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return Lexer(std::move(text)).run();
}

}  // namespace sluice::text::jinja
