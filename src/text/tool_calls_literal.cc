// A recursive reader of JSON and Python literals. Contract: text/tool_calls_literal.h. Next: text/tool_calls.cc.
#include "text/tool_calls_literal.h"

#include "base/limits.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool whole(std::string& json, uint8_t& type) {
    skip();
    if (!value(json, type)) return false;
    skip();
    return at_ == text_.size();
  }

 private:
  bool more() const { return at_ < text_.size(); }
  char now() const { return text_[at_]; }
  bool take(char c) {
    if (!more() || now() != c) return false;
    ++at_;
    return true;
  }
  void skip() {
    while (more() && (now() == ' ' || now() == '\n' || now() == '\t' || now() == '\r')) ++at_;
  }

  bool value(std::string& out, uint8_t& type) {
    if (!more() || depth_ > limits::kConstraintNestingMax) return false;
    const char c = now();
    if (c == '"' || c == '\'') return type = kIsString, string(out);
    if (c == '[' || c == '(') return type = kIsArray, list(out, c == '[' ? ']' : ')');
    if (c == '{') return type = kIsObject, object(out);
    if (c == '-' || is_digit(c)) return number(out, type);
    return word(out, type);
  }

  bool word(std::string& out, uint8_t& type) {
    struct Word {
      std::string_view text, json;
      uint8_t type;
    };
    constexpr Word kWords[] = {{"true", "true", kIsBoolean},   {"True", "true", kIsBoolean}, {"false", "false", kIsBoolean},
                               {"False", "false", kIsBoolean}, {"null", "null", kIsNull},    {"None", "null", kIsNull}};
    for (const Word& word : kWords) {
      if (!text_.substr(at_).starts_with(word.text)) continue;
      at_ += word.text.size();
      out += word.json;
      type = word.type;
      return true;
    }
    return false;
  }

  bool digits(std::string& out) {
    const size_t from = at_;
    while (more() && is_digit(now())) out += text_[at_++];
    return at_ > from;
  }

  bool number(std::string& out, uint8_t& type) {
    type = kIsInteger;
    if (take('-')) out += '-';
    if (take('0')) {
      out += '0';
      if (more() && is_digit(now())) return false;
    } else if (!digits(out)) {
      return false;
    }
    if (take('.')) {
      type = kIsNumber;
      out += '.';
      if (!digits(out)) return false;
    }
    if (more() && (now() == 'e' || now() == 'E')) {
      type = kIsNumber;
      out += text_[at_++];
      if (more() && (now() == '+' || now() == '-')) out += text_[at_++];
      if (!digits(out)) return false;
    }
    return true;
  }

  bool list(std::string& out, char close) {
    ++at_, ++depth_;
    out += '[';
    for (bool first = true;; first = false) {
      skip();
      if (take(close)) break;
      if (!first) {
        if (!take(',')) return false;
        skip();
        if (take(close)) break;  // Python allows a comma behind the last one
        out += ", ";
      }
      uint8_t type = 0;
      if (!value(out, type)) return false;
    }
    out += ']';
    --depth_;
    return true;
  }

  bool object(std::string& out) {
    ++at_, ++depth_;
    out += '{';
    for (bool first = true;; first = false) {
      skip();
      if (take('}')) break;
      if (!first) {
        if (!take(',')) return false;
        skip();
        if (take('}')) break;
        out += ", ";
      }
      std::string key;
      uint8_t type = 0;
      if (!value(key, type) || type == kIsArray || type == kIsObject) return false;
      out += type == kIsString ? key : '"' + key + '"';
      skip();
      if (!take(':')) return false;
      skip();
      out += ": ";
      if (!value(out, type)) return false;
    }
    out += '}';
    --depth_;
    return true;
  }

  bool string(std::string& out) {
    const char quote = text_[at_++];
    std::string content;
    while (true) {
      if (!more()) return false;
      const char c = text_[at_++];
      if (c == quote) break;
      if (c != '\\') {
        content += c;
      } else if (!escape(content)) {
        return false;
      }
    }
    out += '"';
    append_json_escaped(out, content);
    out += '"';
    return true;
  }

  bool hex(size_t digits, uint32_t& code) {
    code = 0;
    if (text_.size() - at_ < digits) return false;
    for (size_t i = 0; i < digits; ++i) {
      const char c = text_[at_++];
      const uint32_t lower = static_cast<uint32_t>(c) | 32;
      if (!is_digit(c) && (lower < 'a' || lower > 'f')) return false;
      code = code * 16 + (is_digit(c) ? static_cast<uint32_t>(c - '0') : lower - 'a' + 10);
    }
    return true;
  }

  bool escape(std::string& content) {
    if (!more()) return false;
    const char c = text_[at_++];
    constexpr std::string_view kLetters = "nrtbfav0", kMeaning("\n\r\t\b\f\a\v\0", 8);
    if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
      content += kMeaning[i];
    } else if (c == '\\' || c == '"' || c == '\'' || c == '/') {
      content += c;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      uint32_t code = 0, low = 0;
      if (!hex(c == 'x' ? 2 : c == 'u' ? 4 : 8, code)) return false;
      if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
        at_ += 2;
        if (!hex(4, low) || low < 0xDC00 || low > 0xDFFF) return false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      }
      if ((code >= 0xD800 && code <= 0xDFFF) || code > 0x10FFFF) return false;
      append_utf8(content, code);
    } else if (c != '\n') {  // Python keeps an escape that it does not know, and joins lines
      content += '\\';
      content += c;
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  uint32_t depth_ = 0;
};

}  // namespace

bool read_literal(std::string_view text, std::string& json, uint8_t& type) {
  json.clear();
  return Reader(text).whole(json, type);
}

void append_json_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view kNamed = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt", kHex = "0123456789abcdef";
  for (const char c : text) {
    if (const size_t i = kNamed.find(c); i != std::string_view::npos) {
      out += '\\';
      out += kLetters[i];
    } else if (static_cast<uint8_t>(c) < 0x20) {
      out += std::string("\\u00") + kHex[static_cast<uint8_t>(c) >> 4] + kHex[c & 15];
    } else {
      out += c;
    }
  }
}

}  // namespace sluice::text
