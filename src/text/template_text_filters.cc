// Filters on text and numbers (template_text_filters.h), with Jinja 3.1's results.
// Contract: the origin of every byte is kept; bytes that a filter itself adds are the template's. Next: template_methods.cc.
#include "text/template_text_filters.h"

#include <array>
#include <charconv>
#include <cmath>

#include <utf8proc.h>

#include "text/template_arguments.h"

namespace sluice::text::jinja {

namespace {

Value cased(Evaluator& eval, Value self, Case mode) {
  const Str* s = to_str(eval.heap(), self);
  return s == nullptr ? Value::failure() : Value::of(change_case(eval.heap(), s, mode));
}

Value run_upper(Evaluator& eval, Value self, Arguments&) { return cased(eval, self, Case::upper); }
Value run_lower(Evaluator& eval, Value self, Arguments&) { return cased(eval, self, Case::lower); }
Value run_capitalize(Evaluator& eval, Value self, Arguments&) { return cased(eval, self, Case::capitalize); }

// Words begin behind white space, '-', '(', '{', '[' and '<'.
Value run_title(Evaluator& eval, Value self, Arguments&) {
  Heap& heap = eval.heap();
  const Str* s = to_str(heap, self);
  if (s == nullptr) return Value::failure();
  const Str* lower = nullptr;
  Builder out(heap);
  size_t at = 0;
  while (at < s->size && !heap.failed()) {
    const auto is_break = [&](size_t position, size_t& past) {
      const char* next = s->data + position;
      const char32_t c = next_char(next);
      past = static_cast<size_t>(next - s->data);
      return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_python_space(c);
    };
    size_t past = 0;
    if (is_break(at, past)) {
      out.append(*s, at, past);
      at = past;
      continue;
    }
    lower = change_case(heap, substring(heap, s, at, past), Case::upper);
    if (lower == nullptr) return Value::failure();
    out.append(*lower);
    size_t end = past;
    size_t next = 0;
    while (end < s->size && !is_break(end, next)) end = next;
    lower = change_case(heap, substring(heap, s, past, end), Case::lower);
    if (lower == nullptr) return Value::failure();
    out.append(*lower);
    at = end;
  }
  return heap.failed() ? Value::failure() : Value::of(out.finish());
}

Value run_string(Evaluator& eval, Value self, Arguments&) { return self.is_string() ? self : Value::of(to_str(eval.heap(), self)); }

Value run_trim(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  const Str* s = self.is_string() ? self.string : to_str(heap, self);
  const Str* chars = nullptr;
  if (args.given(0) && !args[0].is(Kind::none) && (chars = read_string(heap, args[0])) == nullptr) return Value::failure();
  return s == nullptr ? Value::failure() : Value::of(strip_string(heap, s, chars, true, true));
}

Value run_replace(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  const Str* s = to_str(heap, self);
  const Str* from = to_str(heap, args[0]);
  const Str* to = to_str(heap, args[1]);
  int64_t count = -1;
  if (s == nullptr || from == nullptr || to == nullptr || !read_optional_integer(heap, args, 2, count)) return Value::failure();
  return Value::of(replace_all(heap, s, from, to, count));
}

Value run_indent(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  if (self.is_undefined()) return fail_undefined(heap, self);
  const Str* s = read_string(heap, self);
  if (s == nullptr) return Value::failure();
  const Str* indentation = nullptr;
  if (args.given(0) && args[0].is_string()) {
    indentation = args[0].string;
  } else {
    int64_t width = 4;
    if (args.given(0) && !read_integer(heap, args[0], width)) return Value::failure();
    indentation = pad_string(heap, heap.make<Str>(), width, ' ', false, false, true);
    if (indentation == nullptr) return Value::failure();
  }
  const Str* newline = copy_string(heap, "\n", false);
  const Str* with_end = newline == nullptr ? nullptr : join_strings(heap, s, newline);
  const Sequence* lines = with_end == nullptr ? nullptr : split_lines(heap, with_end, false);
  if (lines == nullptr) return Value::failure();
  const bool blank = read_flag(args, 2);
  Builder out(heap);
  for (size_t i = 0; i < lines->items.size && heap.work(1); ++i) {
    const Str& line = *lines->items.items[i].string;
    if (i > 0) out.append("\n", false);
    if (i == 0 ? read_flag(args, 1) : blank || !line.empty()) out.append(*indentation);
    out.append(line);
  }
  return heap.failed() ? Value::failure() : Value::of(out.finish());
}

Value run_center(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  int64_t width = 80;
  const Str* s = to_str(heap, self);
  if (s == nullptr || !read_optional_integer(heap, args, 0, width)) return Value::failure();
  return Value::of(pad_string(heap, s, width, ' ', false, true, true));
}

Value run_truncate(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  if (self.is_undefined()) return Value::of(heap.make<Str>());
  const Str* s = read_string(heap, self);
  int64_t length = 255;
  int64_t leeway = 5;
  const Str* end = args.given(2) ? read_string(heap, args[2]) : copy_string(heap, "...", false);
  if (s == nullptr || end == nullptr || !read_optional_integer(heap, args, 0, length) || !read_optional_integer(heap, args, 3, leeway)) {
    return Value::failure();
  }
  const auto end_chars = static_cast<int64_t>(count_chars(*end));
  if (length < end_chars) return fail_type(heap, fmt::format("expected length >= {}, got {}", end_chars, length));
  if (leeway < 0) return fail_type(heap, fmt::format("expected leeway >= 0, got {}", leeway));
  if (static_cast<int64_t>(count_chars(*s)) - leeway <= length) return Value::of(s);
  size_t cut = byte_of_char(*s, static_cast<size_t>(length - end_chars));
  if (!read_flag(args, 1)) {
    const size_t blank = s->view().substr(0, cut).rfind(' ');
    if (blank != std::string_view::npos) cut = blank;
  }
  const Str* head = substring(heap, s, 0, cut);
  return head == nullptr ? Value::failure() : Value::of(join_strings(heap, head, end));
}

Value run_wordcount(Evaluator& eval, Value self, Arguments&) {
  const Str* s = to_str(eval.heap(), self);
  if (s == nullptr || !eval.heap().walk_bytes(s->size)) return Value::failure();
  int64_t words = 0;
  bool inside = false;
  for (const char* at = s->data; at < s->data + s->size;) {
    const char32_t c = next_char(at);
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
    const bool is_letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
    const bool is_number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
    const bool is_word = c == '_' || is_letter || is_number;
    words += is_word && !inside;
    inside = is_word;
  }
  return Value::of(words);
}

Value run_escape(Evaluator& eval, Value self, Arguments&) {
  Heap& heap = eval.heap();
  const Str* s = self.is_string() ? self.string : to_str(heap, self);
  if (s == nullptr || s->markup || !heap.walk_bytes(s->size)) return Value::of(s);
  Builder out(heap);
  size_t plain = 0;
  for (size_t i = 0; i <= s->size; ++i) {
    std::string_view entity;
    switch (i < s->size ? s->data[i] : '\0') {
      case '&': entity = "&amp;"; break;
      case '<': entity = "&lt;"; break;
      case '>': entity = "&gt;"; break;
      case '\'': entity = "&#39;"; break;
      case '"': entity = "&#34;"; break;
      default: break;
    }
    if (entity.empty() && i < s->size) continue;
    out.append(*s, plain, i);
    if (i < s->size) out.append(entity, is_input_at(*s, i));
    plain = i + 1;
  }
  const Str* escaped = out.finish();
  if (escaped == nullptr) return Value::failure();
  Str* result = heap.make<Str>(*escaped);
  result->markup = true;
  return Value::of(result);
}

Value run_safe(Evaluator& eval, Value self, Arguments&) {
  const Str* s = self.is_string() ? self.string : to_str(eval.heap(), self);
  if (s == nullptr) return Value::failure();
  Str* result = eval.heap().make<Str>(*s);
  result->markup = true;
  return Value::of(result);
}

Value run_forceescape(Evaluator& eval, Value self, Arguments& args) {
  const Str* plain = to_str(eval.heap(), self);
  return plain == nullptr ? Value::failure() : run_escape(eval, Value::of(plain), args);
}

void append_quoted(Builder& out, const Str& s, bool for_query) {
  for (size_t i = 0; i < s.size; ++i) {
    const char c = s.data[i];
    const bool is_safe = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-' || c == '~';
    if (is_safe || (c == '/' && !for_query)) out.append(s, i, i + 1);
    else if (c == ' ' && for_query) out.append("+", is_input_at(s, i));
    else out.append(fmt::format("%{:02X}", static_cast<unsigned char>(c)), is_input_at(s, i));
  }
}

Value run_urlencode(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  Builder out(heap);
  if (self.is_string() || !is_iterable(self)) {
    const Str* s = to_str(heap, self);
    if (s == nullptr || !heap.work(1 + s->size / 8)) return Value::failure();
    append_quoted(out, *s, false);
    return Value::of(out.finish());
  }
  const Value pairs = self.is(Kind::dict) ? find_filter("items")->run(eval, self, args) : self;
  Iterator source;
  if (!Iterator::open(heap, pairs, source)) return Value::failure();
  for (Value pair; source.next(heap, pair);) {
    const Sequence* parts = to_list(heap, pair);
    if (parts == nullptr) return Value::failure();
    if (parts->items.size != 2) return fail_type(heap, "urlencode needs pairs of key and value");
    const Str* key = to_str(heap, parts->items.items[0]);
    const Str* text = to_str(heap, parts->items.items[1]);
    if (key == nullptr || text == nullptr || !heap.work(1 + (key->size + text->size) / 8)) return Value::failure();
    if (out.size() > 0) out.append("&", false);
    append_quoted(out, *key, true);
    out.append("=", false);
    append_quoted(out, *text, true);
  }
  return heap.failed() ? Value::failure() : Value::of(out.finish());
}

Value run_format(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  const Str* s = to_str(heap, self);
  if (s == nullptr) return Value::failure();
  if (args.positional.size > 0 && args.keywords.size > 0) return fail_type(heap, "can't handle positional and keyword arguments at the same time");
  if (args.keywords.size > 0) {
    Dict* values = heap.make<Dict>();
    for (const Keyword& k : args.keywords) {
      if (!values->set(heap, Value::of(k.name), k.value)) return Value::failure();
    }
    return format_percent(eval, s, Value::of(values));
  }
  Sequence* values = make_sequence(heap, Flavor::tuple);
  values->items = args.positional;
  return format_percent(eval, s, Value::of(values));
}

Value run_tojson(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  JsonStyle style;
  style.ensure_ascii = read_flag(args, 0);
  style.sort_keys = read_flag(args, 3);
  std::string spaces;
  if (args.given(1) && !args[1].is(Kind::none)) {
    style.multiline = true;
    style.item_separator = ",";
    if (args[1].is_string()) {
      style.indent = args[1].text();
    } else {
      int64_t width = 0;
      if (!read_integer(heap, args[1], width)) return Value::failure();
      if (width > 1000) return fail_type(heap, fmt::format("tojson(indent={}) is beyond the limit of 1000", width));
      spaces.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
      style.indent = spaces;
    }
  }
  if (args.given(2) && !args[2].is(Kind::none)) {
    const Value s = args[2];
    const bool is_pair = s.is(Kind::sequence) && s.sequence->items.size == 2 && s.sequence->items.items[0].is_string() &&
                         s.sequence->items.items[1].is_string();
    if (!is_pair) return fail_type(heap, "separators must be a pair of strings");
    style.item_separator = s.sequence->items.items[0].text();
    style.key_separator = s.sequence->items.items[1].text();
  }
  Builder out(heap);
  if (!append_json(out, heap, self, style, 0)) return Value::failure();
  return heap.failed() ? Value::failure() : Value::of(out.finish());
}

Value run_abs(Evaluator& eval, Value self, Arguments&) {
  if (self.is(Kind::real)) return Value::of(std::abs(self.real), self.input);
  if (self.is(Kind::boolean)) return Value::of(int64_t{self.boolean});
  if (self.is(Kind::integer) && self.integer != INT64_MIN) return Value::of(std::abs(self.integer), self.input);
  return self.is_undefined() ? fail_type(eval.heap(), "bad operand type for abs(): 'Undefined'")
                             : fail_type(eval.heap(), fmt::format("bad operand for abs(): '{}'", type_name(self)));
}

Value fallback_or(const Arguments& args, Value fallback) { return args.given(0) ? args[0] : fallback; }

Value real_to_integer(Evaluator& eval, double d, bool input, const Arguments& args) {
  if (std::isnan(d)) return fallback_or(args, Value::of(int64_t{0}));  // ValueError
  if (std::isinf(d)) return fail_type(eval.heap(), "cannot convert float infinity to integer");
  if (std::abs(d) >= 0x1p63) return fail_type(eval.heap(), fmt::format("{} does not fit into 64 bits", d));
  return Value::of(static_cast<int64_t>(d), input);
}

Value run_int(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  if (self.is_undefined()) return fail_undefined(heap, self);
  if (self.is(Kind::integer)) return self;
  if (self.is(Kind::boolean)) return Value::of(int64_t{self.boolean});
  if (self.is(Kind::real)) return real_to_integer(eval, self.real, self.input, args);
  if (self.is_string()) {
    int64_t base = 10;
    int64_t result = 0;
    double real = 0;
    if (!read_optional_integer(heap, args, 1, base) || !heap.walk_bytes(self.string->size)) return Value::failure();
    const bool input = self.string->input || self.string->run_count > 0;
    if (parse_integer(self.text(), static_cast<int>(base), result)) return Value::of(result, input);
    if (parse_real(self.text(), real)) return real_to_integer(eval, real, input, args);
  }
  return fallback_or(args, Value::of(int64_t{0}));
}

Value run_float(Evaluator& eval, Value self, Arguments& args) {
  if (self.is_undefined()) return fail_undefined(eval.heap(), self);
  if (self.is(Kind::real)) return self;
  if (self.is(Kind::integer)) return Value::of(static_cast<double>(self.integer), self.input);
  if (self.is(Kind::boolean)) return Value::of(self.boolean ? 1.0 : 0.0);
  double real = 0;
  if (self.is_string() && parse_real(self.text(), real)) return Value::of(real, self.string->input || self.string->run_count > 0);
  return fallback_or(args, Value::of(0.0));
}

// Correctly rounded to `digits` decimals, ties to even, as Python's round().
double round_real(double d, int64_t digits) {
  if (!std::isfinite(d) || digits > 22) return d;
  if (digits < -308) return std::copysign(0.0, d);
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(d / unit) * unit;
  }
  std::array<char, 400> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), d, std::chars_format::fixed, static_cast<int>(digits)).ptr;
  double result = d;
  std::from_chars(buffer.data(), end, result);
  return result;
}

Value run_round(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  int64_t precision = 0;
  if (self.is_undefined()) return fail_undefined(heap, self);
  if (args.given(0) && !read_integer(heap, args[0], precision)) return Value::failure();
  const std::string_view method = !args.given(1) ? "common" : args[1].is_string() ? args[1].text() : "";
  if (method != "common" && method != "ceil" && method != "floor") return fail_type(heap, "method must be common, ceil or floor");
  if (!self.is_number()) return fail_type(heap, fmt::format("type {} doesn't define __round__ method", type_name(self)));
  const double d = self.is(Kind::real) ? self.real : static_cast<double>(self.is(Kind::boolean) ? self.boolean : self.integer);
  if (method == "common") {
    if (self.is(Kind::real)) return Value::of(round_real(d, precision), self.input);
    if (precision >= 0) return Value::of(self.is(Kind::boolean) ? int64_t{self.boolean} : self.integer, self.input);
    const double rounded = round_real(d, precision);
    if (!(std::abs(rounded) < 0x1p63)) return fail_type(heap, fmt::format("{} does not fit into 64 bits", rounded));
    return Value::of(static_cast<int64_t>(rounded), self.input);
  }
  const double unit = std::pow(10.0, static_cast<double>(precision));
  return Value::of((method == "ceil" ? std::ceil(d * unit) : std::floor(d * unit)) / unit, self.input);
}

constexpr Builtin kTextFilters[] = {
    {"abs", "", 0, run_abs},
    {"capitalize", "", 0, run_capitalize},
    {"center", "width", 0, run_center},
    {"e", "", 0, run_escape},
    {"escape", "", 0, run_escape},
    {"float", "default", 0, run_float},
    {"forceescape", "", 0, run_forceescape},
    {"format", "*", 0, run_format},
    {"indent", "width first blank", 0, run_indent},
    {"int", "default base", 0, run_int},
    {"lower", "", 0, run_lower},
    {"replace", "old new count", 2, run_replace},
    {"round", "precision method", 0, run_round},
    {"safe", "", 0, run_safe},
    {"string", "", 0, run_string},
    {"title", "", 0, run_title},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, run_tojson},
    {"trim", "chars", 0, run_trim},
    {"truncate", "length killwords end leeway", 0, run_truncate},
    {"upper", "", 0, run_upper},
    {"urlencode", "", 0, run_urlencode},
    {"wordcount", "", 0, run_wordcount},
};

}  // namespace

const Builtin* find_text_filter(std::string_view name) {
  for (const Builtin& entry : kTextFilters) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
