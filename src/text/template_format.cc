// "..." % values, "...".format(values), strftime, and Python's readings of numbers (template_builtins.h).
// Contract: the subset of the format language in the tables below; anything else fails with a sentence. Next: template_repr.cc.
#include <array>
#include <charconv>
#include <cmath>

#include "text/template_arguments.h"

namespace sluice::text::jinja {

namespace {

constexpr int64_t kWidthMax = 1000;  // of one formatted field

struct Field {
  char32_t fill = ' ';
  char align = '\0';  // '<', '>', '^', '='
  char sign = '-';    // '-', '+', ' '
  bool alternate = false;
  bool grouped = false;
  int64_t width = 0;
  int64_t precision = -1;
  char type = '\0';
};

std::string group_thousands(std::string digits) {
  const size_t point = digits.find_first_not_of("0123456789");
  for (size_t at = point == std::string::npos ? digits.size() : point; at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

void trim_zeros(std::string& digits) {
  const size_t e = digits.find('e');
  std::string exponent = e == std::string::npos ? "" : digits.substr(e);
  digits.resize(e == std::string::npos ? digits.size() : e);
  if (digits.find('.') != std::string::npos) {
    while (digits.back() == '0') digits.pop_back();
    if (digits.back() == '.') digits.pop_back();
  }
  digits += exponent;
}

std::string real_digits(double d, const Field& field) {  // of a non-negative number
  std::array<char, 1500> buffer;
  const int precision = static_cast<int>(field.precision < 0 ? 6 : std::min(field.precision, kWidthMax));
  const char type = static_cast<char>(field.type | 0x20);
  if (std::isnan(d) || std::isinf(d)) {
    const bool upper = field.type >= 'A' && field.type <= 'Z';
    return std::isnan(d) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf");
  }
  if (field.type == '\0' && field.precision < 0) return format_real(d);
  const double scaled = field.type == '%' ? d * 100 : d;
  const auto format = type == 'e' ? std::chars_format::scientific : type == 'f' || field.type == '%' ? std::chars_format::fixed : std::chars_format::general;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), scaled, format,
                                 format == std::chars_format::general && precision == 0 ? 1 : precision).ptr;
  std::string digits(buffer.data(), end);
  if (format == std::chars_format::general && !field.alternate) trim_zeros(digits);
  if (field.type >= 'A' && field.type <= 'Z') {
    for (char& c : digits) c = c == 'e' ? 'E' : c;
  }
  return field.type == '%' ? digits + "%" : digits;
}

std::string integer_digits(uint64_t magnitude, const Field& field) {
  switch (field.type) {
    case 'x': return (field.alternate ? "0x" : "") + fmt::format("{:x}", magnitude);
    case 'X': return (field.alternate ? "0X" : "") + fmt::format("{:X}", magnitude);
    case 'o': return (field.alternate ? "0o" : "") + fmt::format("{:o}", magnitude);
    case 'b': return (field.alternate ? "0b" : "") + fmt::format("{:b}", magnitude);
    default: return fmt::format("{}", magnitude);
  }
}

bool append_padded(Builder& out, Heap& heap, const Field& field, char default_align, std::string_view sign, const Str& body) {
  const auto length = static_cast<int64_t>(sign.size() + count_chars(body));
  const int64_t missing = std::max<int64_t>(field.width - length, 0);
  const char align = field.align == '\0' ? default_align : field.align;
  const int64_t before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  if (!heap.work(1 + static_cast<uint64_t>(missing))) return false;
  if (align == '=') out.append(sign, body.input);
  for (int64_t i = 0; i < before; ++i) out.append_char(field.fill, false);
  if (align != '=') out.append(sign, body.input);
  out.append(body);
  for (int64_t i = before; i < missing; ++i) out.append_char(field.fill, false);
  return !heap.failed();
}

bool append_number(Builder& out, Heap& heap, Field field, Value v) {
  const bool is_real = v.is(Kind::real) || (field.type != '\0' && std::string_view("eEfFgG%").find(field.type) != std::string_view::npos);
  bool negative = false;
  std::string digits;
  if (is_real) {
    const double d = v.is(Kind::real) ? v.real : static_cast<double>(v.is(Kind::boolean) ? v.boolean : v.integer);
    negative = std::signbit(d) && !std::isnan(d);
    digits = real_digits(std::abs(d), field);
    if (field.type == '\0' && field.precision >= 0 && digits.find_first_of(".enif") == std::string::npos) digits += ".0";
  } else {
    const int64_t i = v.is(Kind::boolean) ? v.boolean : v.integer;
    negative = i < 0;
    digits = integer_digits(negative ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i), field);
  }
  if (field.grouped) digits = group_thousands(std::move(digits));
  const std::string_view sign = negative ? "-" : field.sign == '+' ? "+" : field.sign == ' ' ? " " : "";
  Str body;
  body.data = digits.data();
  body.size = digits.size();
  body.input = v.input;
  return append_padded(out, heap, field, '>', sign, body);
}

bool append_text(Builder& out, Heap& heap, const Field& field, const Str* s, char default_align) {
  if (s == nullptr || !heap.walk_bytes(s->size)) return false;
  if (field.precision >= 0) s = substring(heap, s, 0, byte_of_char(*s, static_cast<size_t>(field.precision)));
  return s != nullptr && append_padded(out, heap, field, default_align, "", *s);
}

const Str* repr_of(Heap& heap, Value v) {
  Builder out(heap);
  append_repr(out, heap, v);
  return out.finish();
}

bool read_digits(std::string_view text, size_t& at, int64_t& out) {
  const auto result = std::from_chars(text.data() + at, text.data() + text.size(), out);
  if (result.ec != std::errc()) return false;
  at = static_cast<size_t>(result.ptr - text.data());
  return true;
}

class PercentFormatter {
 public:
  PercentFormatter(Evaluator& eval, const Str* format, Value values)
      : heap_(eval.heap()), format_(*format), text_(format->view()), values_(values), out_(heap_) {}

  Value run() {
    size_t plain = 0;
    while (heap_.work(1)) {
      size_t at = text_.find('%', plain);
      if (at == std::string_view::npos) break;
      out_.append(format_, plain, at);
      ++at;
      if (!conversion(at)) return Value::failure();
      plain = at;
    }
    out_.append(format_, plain, format_.size);
    const bool is_tuple = values_.is(Kind::sequence) && values_.sequence->flavor == Flavor::tuple;
    const size_t given = is_tuple ? values_.sequence->items.size : values_.is(Kind::dict) ? used_ : 1;
    if (used_ < given && !values_.is(Kind::dict) && !(values_.is(Kind::sequence) && !is_tuple)) {
      return fail_type(heap_, "not all arguments converted during string formatting");
    }
    return heap_.failed() ? Value::failure() : Value::of(out_.finish());
  }

 private:
  bool next_value(Value& out) {
    if (values_.is(Kind::sequence) && values_.sequence->flavor == Flavor::tuple) {
      if (used_ >= values_.sequence->items.size) {
        heap_.fail("not enough arguments for format string");
        return false;
      }
      out = values_.sequence->items.items[used_++];
      return true;
    }
    if (used_++ > 0) {
      heap_.fail("not enough arguments for format string");
      return false;
    }
    out = values_;
    return true;
  }

  bool width_or_star(size_t& at, int64_t& out) {
    if (at < text_.size() && text_[at] == '*') {
      Value v;
      ++at;
      if (!next_value(v) || !read_integer(heap_, v, out)) return false;
    } else if (at < text_.size() && text_[at] >= '0' && text_[at] <= '9') {
      if (!read_digits(text_, at, out)) out = kWidthMax + 1;
    }
    if (out > kWidthMax) heap_.fail(fmt::format("a formatted field is wider than {}", kWidthMax));
    return !heap_.failed();
  }

  bool conversion(size_t& at) {
    Field field;
    Value value = Value::of_kind(Kind::missing);
    if (at < text_.size() && text_[at] == '(') {
      const size_t close = text_.find(')', at);
      if (close == std::string_view::npos || !values_.is(Kind::dict)) return refuse("format requires a mapping");
      const Dict::Entry* entry = values_.dict->find(text_.substr(at + 1, close - at - 1));
      if (entry == nullptr) return refuse("the mapping lacks a key that the format names");
      value = entry->value;
      at = close + 1;
    }
    for (; at < text_.size() && std::string_view("-+ #0").find(text_[at]) != std::string_view::npos; ++at) {
      const char flag = text_[at];
      if (flag == '-') field.align = '<';
      else if (flag == '#') field.alternate = true;
      else if (flag == '0') field.fill = '0';
      else if (field.sign != '+') field.sign = flag;
    }
    if (!width_or_star(at, field.width)) return false;
    if (at < text_.size() && text_[at] == '.') {
      ++at;
      field.precision = 0;
      if (!width_or_star(at, field.precision)) return false;
    }
    while (at < text_.size() && (text_[at] == 'h' || text_[at] == 'l' || text_[at] == 'L')) ++at;
    if (at >= text_.size()) return refuse("incomplete format");
    field.type = text_[at++];
    if (field.type == '%') {
      out_.append("%", false);
      return true;
    }
    if (value.is(Kind::missing) && !next_value(value)) return false;
    return convert(field, value);
  }

  bool convert(Field field, Value value) {
    const bool left = field.align == '<';
    switch (field.type) {
      case 's':
      case 'r':
      case 'a':
        field.fill = ' ';
        return append_text(out_, heap_, field, field.type == 's' ? to_str(heap_, value) : repr_of(heap_, value), '>');
      case 'c': {
        if (value.is_string() && count_chars(*value.string) == 1) return append_text(out_, heap_, field, value.string, '>');
        if (!value.is(Kind::integer) || value.integer < 0 || value.integer > 0x10FFFF || (value.integer >= 0xD800 && value.integer < 0xE000)) {
          return refuse("%c requires a character");
        }
        Builder one(heap_);
        one.append_char(static_cast<char32_t>(value.integer), value.input);
        return append_text(out_, heap_, field, one.finish(), '>');
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        if (!value.is_number() || (value.is(Kind::real) && std::string_view("xXo").find(field.type) != std::string_view::npos)) {
          return refuse(fmt::format("%{} format: a number is required, not {}", field.type, type_name(value)));
        }
        if (value.is(Kind::real)) {
          if (!(std::abs(value.real) < 0x1p63)) return refuse("a number does not fit into 64 bits");
          value = Value::of(static_cast<int64_t>(value.real), value.input);
        }
        field.precision = -1;
        break;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!value.is_number()) return refuse(fmt::format("must be real number, not {}", type_name(value)));
        break;
      default: return refuse(fmt::format("unsupported format character '{}'", field.type));
    }
    if (field.fill == '0' && left) field.fill = ' ';
    if (field.fill == '0') field.align = '=';
    return append_number(out_, heap_, field, value);
  }

  bool refuse(std::string sentence) {
    heap_.fail(std::move(sentence));
    return false;
  }

  Heap& heap_;
  const Str& format_;
  std::string_view text_;
  Value values_;
  Builder out_;
  size_t used_ = 0;
};

class BraceFormatter {
 public:
  BraceFormatter(Evaluator& eval, const Str* format, const Arguments& args)
      : heap_(eval.heap()), format_(*format), text_(format->view()), args_(args), out_(heap_) {}

  Value run() {
    size_t plain = 0;
    while (heap_.work(1)) {
      const size_t at = text_.find_first_of("{}", plain);
      if (at == std::string_view::npos) break;
      out_.append(format_, plain, at);
      if (at + 1 < text_.size() && text_[at + 1] == text_[at]) {
        out_.append(format_, at, at + 1);
        plain = at + 2;
        continue;
      }
      const size_t close = text_.find('}', at);
      if (text_[at] == '}' || close == std::string_view::npos) return fail_type(heap_, "Single '{' or '}' encountered in format string");
      if (!replacement(text_.substr(at + 1, close - at - 1))) return Value::failure();
      plain = close + 1;
    }
    out_.append(format_, plain, format_.size);
    return heap_.failed() ? Value::failure() : Value::of(out_.finish());
  }

 private:
  bool refuse(std::string sentence) {
    heap_.fail(std::move(sentence));
    return false;
  }

  bool find_value(std::string_view name, Value& out) {
    int64_t index = 0;
    size_t at = 0;
    if (name.empty()) {
      index = next_++;
    } else if (!(name[0] >= '0' && name[0] <= '9' && read_digits(name, at, index) && at == name.size())) {
      for (const Keyword& k : args_.keywords) {
        if (k.name->view() != name) continue;
        out = k.value;
        return true;
      }
      return refuse(fmt::format("format(): no argument is called '{}' (attributes and items in fields are not supported)", name));
    }
    if (index < 0 || static_cast<size_t>(index) >= args_.positional.size) return refuse("Replacement index out of range for positional args tuple");
    out = args_.positional.items[index];
    return true;
  }

  bool replacement(std::string_view inside) {
    const size_t colon = inside.find(':');
    std::string_view name = inside.substr(0, colon);
    char conversion = '\0';
    if (name.size() >= 2 && name[name.size() - 2] == '!') {
      conversion = name.back();
      name.remove_suffix(2);
    }
    Value value;
    if (!find_value(name, value)) return false;
    if (conversion == 'r' || conversion == 's') value = Value::of(conversion == 'r' ? repr_of(heap_, value) : to_str(heap_, value));
    else if (conversion != '\0') return refuse("unknown conversion in a format string");
    if (value.failed()) return false;
    Field field;
    const std::string_view spec = colon == std::string_view::npos ? std::string_view() : inside.substr(colon + 1);
    if (spec.empty()) {
      append_str(out_, heap_, value);
      return !heap_.failed();
    }
    return parse_spec(spec, field) && write(field, value);
  }

  bool parse_spec(std::string_view spec, Field& field) {
    size_t at = 0;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    const char* next = spec.data();
    const char32_t first = next_char(next);
    const auto after = static_cast<size_t>(next - spec.data());
    if (after < spec.size() && is_align(spec[after])) {
      field.fill = first;
      field.align = spec[after];
      at = after + 1;
    } else if (is_align(spec[0])) {
      field.align = spec[0];
      at = 1;
    }
    if (at < spec.size() && (spec[at] == '+' || spec[at] == '-' || spec[at] == ' ')) field.sign = spec[at++];
    if (at < spec.size() && spec[at] == '#') field.alternate = (++at, true);
    if (at < spec.size() && spec[at] == '0') {
      ++at;
      if (field.align == '\0') {
        field.fill = '0';
        field.align = '=';
      }
    }
    if (at < spec.size() && spec[at] >= '0' && spec[at] <= '9' && !read_digits(spec, at, field.width)) field.width = kWidthMax + 1;
    if (at < spec.size() && spec[at] == ',') field.grouped = (++at, true);
    if (at < spec.size() && spec[at] == '.') {
      ++at;
      if (at >= spec.size() || spec[at] < '0' || spec[at] > '9') return refuse("Format specifier missing precision");
      if (!read_digits(spec, at, field.precision)) field.precision = kWidthMax + 1;
    }
    if (at < spec.size()) field.type = spec[at++];
    if (at < spec.size()) return refuse("Invalid format specifier");
    if (field.width > kWidthMax || field.precision > kWidthMax) return refuse(fmt::format("a formatted field is wider than {}", kWidthMax));
    return true;
  }

  bool write(const Field& field, Value value) {
    if (value.is_string()) {
      if (field.type != '\0' && field.type != 's') return refuse(fmt::format("Unknown format code '{}' for object of type 'str'", field.type));
      if (field.align == '=' && field.fill != '0') return refuse("'=' alignment not allowed in string format specifier");
      Field plain = field;
      if (plain.align == '=') plain.align = '<';
      return append_text(out_, heap_, plain, value.string, '<');
    }
    if (!value.is_number()) return refuse(fmt::format("unsupported format string passed to {}.__format__", type_name(value)));
    if (value.is(Kind::boolean) && field.type == '\0') value = Value::of(int64_t{value.boolean});
    const std::string_view types = value.is(Kind::real) ? "eEfFgG%" : "dxXobneEfFgG%";
    if (field.type != '\0' && types.find(field.type) == std::string_view::npos) {
      return refuse(fmt::format("Unknown format code '{}' for object of type '{}'", field.type, type_name(value)));
    }
    if (!value.is(Kind::real) && field.precision >= 0 && std::string_view("eEfFgG%").find(field.type) == std::string_view::npos) {
      return refuse("Precision not allowed in integer format specifier");
    }
    return append_number(out_, heap_, field, value);
  }

  Heap& heap_;
  const Str& format_;
  std::string_view text_;
  const Arguments& args_;
  Builder out_;
  int64_t next_ = 0;
};

}  // namespace

Value format_percent(Evaluator& eval, const Str* format, Value values) { return PercentFormatter(eval, format, values).run(); }
Value format_braces(Evaluator& eval, const Str* format, Arguments& args) { return BraceFormatter(eval, format, args).run(); }

namespace {

std::string_view trim_blank(std::string_view text) {
  while (!text.empty()) {
    const char* at = text.data();
    if (!is_python_space(next_char(at))) break;
    text.remove_prefix(static_cast<size_t>(at - text.data()));
  }
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    const char* at = text.data() + last;
    if (!is_python_space(next_char(at))) break;
    text = text.substr(0, last);
  }
  return text;
}

// Removes single underscores between digits; false where Python refuses them.
bool drop_underscores(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out.push_back(text[i]);
      continue;
    }
    const auto is_word = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    if (i == 0 || i + 1 == text.size() || !is_word(text[i - 1]) || !is_word(text[i + 1])) return false;
  }
  return true;
}

}  // namespace

bool parse_integer(std::string_view text, int base, int64_t& out) {
  text = trim_blank(text);
  if (base != 0 && (base < 2 || base > 36)) return false;
  const bool negative = !text.empty() && text[0] == '-';
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.size() > 2 && text[0] == '0') {
    const char mark = static_cast<char>(text[1] | 0x20);
    const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked != 0 && (base == marked || base == 0)) {
      base = marked;
      text.remove_prefix(text[2] == '_' ? 3 : 2);
    }
  }
  if (base == 0) {
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != std::string_view::npos) return false;
    base = 10;
  }
  std::string digits;
  if (negative) digits = "-";
  std::string plain;
  if (text.empty() || text[0] == '-' || !drop_underscores(text, plain)) return false;
  digits += plain;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), out, base);
  return result.ec == std::errc() && result.ptr == digits.data() + digits.size();
}

bool parse_real(std::string_view text, double& out) {
  text = trim_blank(text);
  std::string digits;
  if (!drop_underscores(text, digits) || digits.empty()) return false;
  const bool negative = digits[0] == '-';
  if (digits[0] == '-' || digits[0] == '+') digits.erase(0, 1);
  std::string lower;
  for (const char c : digits) lower.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  double value = 0;
  if (lower == "inf" || lower == "infinity") {
    value = HUGE_VAL;
  } else if (lower == "nan") {
    value = std::nan("");
  } else {
    if (lower.empty() || lower.find_first_not_of("0123456789.e+-") != std::string::npos || lower[0] == '-' || lower[0] == '+') return false;
    const auto result = std::from_chars(lower.data(), lower.data() + lower.size(), value);
    if (result.ptr != lower.data() + lower.size() || result.ec == std::errc::invalid_argument) return false;
    if (result.ec == std::errc::result_out_of_range) {  // too large, or so small that it is zero
      const size_t e = lower.find('e');
      value = e != std::string::npos && lower[e + 1] == '-' ? 0.0 : HUGE_VAL;
    }
  }
  out = negative ? -value : value;
  return true;
}

}  // namespace sluice::text::jinja
