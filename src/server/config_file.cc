#include "server/config_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>

namespace sluice::server {
namespace {

std::string as_flag(std::string_view name) {
  std::string flag(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

// Letters put in, left out, changed or swapped with their neighbour.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  std::iota(last.begin(), last.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(now);
  }
  return last[b.size()];
}

std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 64)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return text.size() > 64 ? out + "..." : out;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-'; }

// Bytes of the UTF-8 character at the front; 0: there is none.
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint32_t>(static_cast<unsigned char>(text[at])) : 0u; };
  const uint32_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  for (size_t i = 1; i < count; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const uint32_t second = byte(1);
  const bool too_long = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool too_high = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
  return too_long || too_high ? 0 : count;
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) return put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
  if (c < 0x10000) return put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
  put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
}

// "1_000" and "0x1f" as a flag takes them; nothing if it is no number of TOML's.
std::optional<std::string> number_of(std::string_view text) {
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') digits += text[i];
    else if (i == 0 || i + 1 == text.size() || !is_name(text[i - 1]) || !is_name(text[i + 1]) || text[i - 1] == '_') return std::nullopt;
  }
  const int base = digits.starts_with("0x") ? 16 : digits.starts_with("0o") ? 8 : digits.starts_with("0b") ? 2 : 10;
  const char* begin = digits.data() + (base != 10 ? 2 : digits.starts_with('+') ? 1 : 0);
  const char* end = digits.data() + digits.size();
  const bool signed_base = (base != 10 || digits[0] == '+') && begin != end && (*begin == '-' || *begin == '+');
  int64_t whole = 0;
  if (const auto [stop, error] = std::from_chars(begin, end, whole, base); begin != end && !signed_base && error == std::errc{} && stop == end) {
    const std::string_view bare = std::string_view(begin, static_cast<size_t>(end - begin));
    const bool leading_zero = base == 10 && bare.size() > 1 && (bare[0] == '0' || (bare[0] == '-' && bare[1] == '0'));
    return leading_zero && bare != "-0" ? std::nullopt : std::optional(fmt::format("{}", whole));
  }
  double real = 0;
  const char* first = begin != end && *begin == '-' ? begin + 1 : begin;
  const bool plain = base == 10 && !signed_base && first != end && is_digit(*first) && is_digit(end[-1]) &&
                     digits.find_first_not_of("0123456789+-.eE") == std::string::npos;
  if (!plain) return std::nullopt;
  const auto [stop, error] = std::from_chars(begin, end, real);
  return error == std::errc{} && stop == end ? std::optional(fmt::format("{}", real)) : std::nullopt;
}

// What TOML has for flat files: comments, bare and quoted names, strings, numbers, booleans and lists of those.
class Reader {
 public:
  Reader(std::string_view text, std::string_view source) : text_(text), source_(source) {}

  bool at_end() {
    skip(true);
    return text_.empty();
  }
  uint32_t line() const { return line_; }
  Error error(std::string_view what) const { return Error{fmt::format("{}:{}: {}", source_, line_, what)}; }

  Result<std::string> name() {
    if (text_[0] == '[') return error("there are no sections; write `flag = value` lines only");
    std::string out;
    if (text_[0] == '"' || text_[0] == '\'') {
      SLUICE_TRY(out, string());
    } else {
      while (!text_.empty() && is_name(text_[0])) out += take();
    }
    if (out.empty()) return error("a line begins with the name of a flag");
    skip(false);
    if (!text_.empty() && text_[0] == '.') return error(fmt::format("{}: there are no sections; write `flag = value` lines only", shown(out)));
    if (text_.empty() || text_[0] != '=') return error(fmt::format("{}: '=' must come after the name", shown(out)));
    take();
    return out;
  }

  Result<std::vector<std::string>> values(std::string_view name) {
    skip(false);
    std::vector<std::string> out;
    if (!text_.empty() && text_[0] == '[') {
      take();
      for (;;) {
        skip(true);
        if (text_.empty()) return error(fmt::format("{}: the list has no end", name));
        if (text_[0] == ']') break;
        SLUICE_TRY(out.emplace_back(), scalar(name));
        skip(true);
        if (!text_.empty() && text_[0] == ',') take();
        else if (text_.empty() || text_[0] != ']') return error(fmt::format("{}: ',' or ']' must come after a value of a list", name));
      }
      take();
    } else {
      SLUICE_TRY(out.emplace_back(), scalar(name));
    }
    skip(false);
    if (!text_.empty() && text_[0] != '\n' && text_[0] != '\r') return error(fmt::format("{}: nothing may come after the value", name));
    return out;
  }

 private:
  char take() {
    const char c = text_[0];
    line_ += c == '\n';
    text_.remove_prefix(1);
    return c;
  }

  // Blanks and comments; with `lines` also what separates lines.
  void skip(bool lines) {
    while (!text_.empty()) {
      const char c = text_[0];
      if (c == '#') {
        while (!text_.empty() && text_[0] != '\n') take();
      } else if (c == ' ' || c == '\t' || (lines && (c == '\n' || c == '\r'))) {
        take();
      } else {
        return;
      }
    }
  }

  Result<std::string> scalar(std::string_view name) {
    if (!text_.empty() && (text_[0] == '"' || text_[0] == '\'')) return string();
    std::string word;
    while (!text_.empty() && (is_name(text_[0]) || text_[0] == '.' || text_[0] == '+' || text_[0] == ':')) word += take();
    if (word == "true" || word == "false") return word;
    std::optional<std::string> number = number_of(word);
    if (number) return std::move(*number);
    return error(fmt::format("{}: must be a text in quotes, a number, true, false, or a list of those", name));
  }

  Result<std::string> string() {
    const char quote = take();
    std::string out;
    if (text_.starts_with(std::string(2, quote))) return error("texts of several lines are not taken");
    for (;;) {
      if (text_.empty() || text_[0] == '\n' || text_[0] == '\r') return error("a text has no end on its line");
      const char c = take();
      if (c == quote) return out;
      if (c == '\\' && quote == '"') {
        SLUICE_TRY_VOID(escape(out));
      } else {
        out += c;
      }
    }
  }

  Status escape(std::string& out) {
    constexpr std::string_view kLetters = "btnfr\"\\", kMeanings = "\b\t\n\f\r\"\\";
    const char c = text_.empty() ? '\0' : take();
    if (const size_t at = kLetters.find(c); at != std::string_view::npos) {
      out += kMeanings[at];
      return {};
    }
    const size_t digits = c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t value = 0;
    const auto [stop, code] = std::from_chars(text_.data(), text_.data() + std::min(digits, text_.size()), value, 16);
    const bool character = value != 0 && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
    if (digits == 0 || code != std::errc{} || stop != text_.data() + digits || !character) {
      return error("there is no such escape in a text (a path can stand in single quotes)");
    }
    text_.remove_prefix(digits);
    append_utf8(out, value);
    return {};
  }

  std::string_view text_;
  std::string_view source_;
  uint32_t line_ = 1;
};

// TOML is UTF-8 without control characters.
Status check_characters(std::string_view text, std::string_view source) {
  uint32_t line = 1;
  while (!text.empty()) {
    const size_t bytes = character_bytes(text);
    const unsigned char c = static_cast<unsigned char>(text[0]);
    if (bytes == 0) return Error{fmt::format("{}:{}: not UTF-8", source, line)};
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) return Error{fmt::format("{}:{}: a control character (byte {})", source, line, c)};
    line += c == '\n';
    text.remove_prefix(bytes);
  }
  return {};
}

}  // namespace

std::string_view nearest_name(std::string_view name, std::span<const std::string> names) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& one : names) {
    if (one.size() > name.size() + best_distance || name.size() > one.size() + best_distance) continue;
    const size_t d = distance(name, one);
    if (d < best_distance) {
      best = one;
      best_distance = d;
    }
  }
  return best;
}

Result<std::vector<Setting>> parse_config(std::string_view text, std::string_view source, std::span<const std::string> names) {
  if (text.size() > kConfigFileBytesMax) {
    return Error{fmt::format("{}: {} bytes; a configuration file has at most {}", source, text.size(), kConfigFileBytesMax)};
  }
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  SLUICE_TRY_VOID(check_characters(text, source));
  Reader reader(text, source);
  std::vector<Setting> settings;
  while (!reader.at_end()) {
    Setting setting{"", {}, reader.line()};
    SLUICE_TRY(setting.name, reader.name());
    const std::string flag = as_flag(setting.name);
    if (std::find(names.begin(), names.end(), flag) == names.end()) {
      const std::string_view near = nearest_name(flag, names);
      return reader.error(fmt::format("{}: no such setting{}", shown(setting.name),
                                      near.empty() ? " (`sluice serve --help` lists them)" : fmt::format("; did you mean {}?", near)));
    }
    for (const Setting& other : settings) {
      if (as_flag(other.name) == flag) return reader.error(fmt::format("{}: set twice, also on line {}", shown(setting.name), other.line));
    }
    SLUICE_TRY(setting.values, reader.values(shown(setting.name)));
    settings.push_back(std::move(setting));
  }
  return settings;
}

}  // namespace sluice::server
