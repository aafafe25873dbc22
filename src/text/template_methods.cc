// Methods of strings, as Python has them (template_builtins.h); those of lists, dictionaries and the rest are in template_containers.cc.
// Contract: positions are code points; pieces keep their origin. Next: template_containers.cc.
#include "text/template_methods.h"

#include <algorithm>
#include <cstring>

#include <utf8proc.h>

#include "text/template_arguments.h"

namespace sluice::text::jinja {

namespace {

constexpr size_t kNotFound = SIZE_MAX;

size_t find_in(const Str& s, std::string_view what, size_t from) {
  if (from > s.size) return kNotFound;
  if (what.empty()) return from;
  const void* at = memmem(s.data + from, s.size - from, what.data(), what.size());  // linear, unlike std::string_view::find
  return at == nullptr ? kNotFound : static_cast<size_t>(static_cast<const char*>(at) - s.data);
}

bool is_line_break(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool push_piece(Heap& heap, Sequence& out, const Str* s, size_t begin, size_t end) {
  const Value piece = Value::of(substring(heap, s, begin, end));
  return !piece.failed() && heap.work(1) && out.items.push(heap, piece);
}

}  // namespace

Sequence* split_lines(Heap& heap, const Str* s, bool keep_ends) {
  if (!heap.walk_bytes(s->size)) return nullptr;
  Sequence* out = make_sequence(heap, Flavor::list);
  size_t begin = 0;
  for (const char* at = s->data; at < s->data + s->size;) {
    const auto end = static_cast<size_t>(at - s->data);
    const char32_t c = next_char(at);
    if (!is_line_break(c)) continue;
    if (c == '\r' && at < s->data + s->size && *at == '\n') ++at;
    const auto past = static_cast<size_t>(at - s->data);
    if (!push_piece(heap, *out, s, begin, keep_ends ? past : end)) return nullptr;
    begin = past;
  }
  if (begin < s->size && !push_piece(heap, *out, s, begin, s->size)) return nullptr;
  return out;
}

const Str* replace_all(Heap& heap, const Str* s, const Str* from, const Str* to, int64_t count) {
  count = std::max<int64_t>(count, -1);  // -1: all of them
  if (!heap.walk_bytes(s->size)) return nullptr;
  Builder out(heap);
  size_t begin = 0;
  size_t at = 0;
  for (; count != 0 && heap.work(1); --count) {
    if (from->empty()) {  // before every code point and at the end
      out.append(*s, begin, at);
      out.append(*to);
      begin = at;
      if (at == s->size) break;
      const char* next = s->data + at;
      next_char(next);
      at = static_cast<size_t>(next - s->data);
      continue;
    }
    const size_t found = find_in(*s, from->view(), begin);
    if (found == kNotFound) break;
    out.append(*s, begin, found);
    out.append(*to);
    begin = found + from->size;
  }
  out.append(*s, begin, s->size);
  return heap.failed() ? nullptr : out.finish();
}

const Str* pad_string(Heap& heap, const Str* s, int64_t width, char32_t fill, bool fill_input, bool left, bool right) {
  const auto chars = static_cast<int64_t>(count_chars(*s));
  if (width <= chars) return s;
  const auto missing = static_cast<size_t>(width - chars);
  if (!heap.afford(missing) || !heap.walk_bytes(missing)) return nullptr;
  // Python's center() puts the odd blank to the left when the width is odd.
  const size_t before = !left ? 0 : !right ? missing : missing / 2 + (missing & static_cast<size_t>(width) & 1);
  Builder out(heap);
  for (size_t i = 0; i < before && !heap.failed(); ++i) out.append_char(fill, fill_input);
  out.append(*s);
  for (size_t i = before; i < missing && !heap.failed(); ++i) out.append_char(fill, fill_input);
  return heap.failed() ? nullptr : out.finish();
}

namespace {

Value run_case(Evaluator& eval, Value self, Case mode) { return Value::of(change_case(eval.heap(), self.string, mode)); }
Value run_upper(Evaluator& e, Value self, Arguments&) { return run_case(e, self, Case::upper); }
Value run_lower(Evaluator& e, Value self, Arguments&) { return run_case(e, self, Case::lower); }
Value run_title(Evaluator& e, Value self, Arguments&) { return run_case(e, self, Case::title); }
Value run_capitalize(Evaluator& e, Value self, Arguments&) { return run_case(e, self, Case::capitalize); }
Value run_swapcase(Evaluator& e, Value self, Arguments&) { return run_case(e, self, Case::swap); }

Value strip(Evaluator& eval, Value self, Arguments& args, bool left, bool right) {
  const Str* chars = nullptr;
  if (args.given(0) && !args[0].is(Kind::none) && (chars = read_string(eval.heap(), args[0])) == nullptr) return Value::failure();
  return Value::of(strip_string(eval.heap(), self.string, chars, left, right));
}
Value run_strip(Evaluator& e, Value self, Arguments& args) { return strip(e, self, args, true, true); }
Value run_lstrip(Evaluator& e, Value self, Arguments& args) { return strip(e, self, args, true, false); }
Value run_rstrip(Evaluator& e, Value self, Arguments& args) { return strip(e, self, args, false, true); }

// split() without a separator: runs of white space, none at the ends. From the right, the pieces come last first.
Sequence* split_blank(Heap& heap, const Str* s, int64_t limit) {
  Sequence* out = make_sequence(heap, Flavor::list);
  const char* at = s->data;
  const char* end = s->data + s->size;
  while (true) {
    for (const char* next = at; at < end && is_python_space(next_char(next)); at = next) {
    }
    if (at == end) return out;
    const char* begin = at;
    if (limit-- == 0) {
      return push_piece(heap, *out, s, static_cast<size_t>(begin - s->data), s->size) ? out : nullptr;
    }
    for (const char* next = at; at < end && !is_python_space(next_char(next)); at = next) {
    }
    if (!push_piece(heap, *out, s, static_cast<size_t>(begin - s->data), static_cast<size_t>(at - s->data))) return nullptr;
  }
}

Sequence* split_by(Heap& heap, const Str* s, std::string_view separator, int64_t limit) {
  Sequence* out = make_sequence(heap, Flavor::list);
  size_t begin = 0;
  for (; limit != 0; --limit) {
    const size_t found = find_in(*s, separator, begin);
    if (found == kNotFound) break;
    if (!push_piece(heap, *out, s, begin, found)) return nullptr;
    begin = found + separator.size();
  }
  return push_piece(heap, *out, s, begin, s->size) ? out : nullptr;
}

// The last `limit` separators, or blanks, split; everything before them stays whole.
Sequence* split_from_right(Heap& heap, const Str* s, const Str* separator, int64_t limit) {
  Sequence* all = separator != nullptr ? split_by(heap, s, separator->view(), -1) : split_blank(heap, s, -1);
  if (all == nullptr || limit < 0 || static_cast<int64_t>(all->items.size) <= limit + (separator != nullptr ? 1 : 0)) return all;
  const size_t first = all->items.size - static_cast<size_t>(limit);  // of the pieces that stay apart
  Sequence* out = make_sequence(heap, Flavor::list);
  size_t end = 0;
  if (separator != nullptr) {
    for (size_t i = 0; i < first; ++i) end += all->items.items[i].string->size + (i > 0 ? separator->size : 0);
  } else {  // pieces without blanks are views into s, never empty
    end = static_cast<size_t>(all->items.items[first - 1].string->data - s->data) + all->items.items[first - 1].string->size;
  }
  if (!push_piece(heap, *out, s, 0, end)) return nullptr;
  for (size_t i = first; i < all->items.size; ++i) {
    if (!out->items.push(heap, all->items.items[i])) return nullptr;
  }
  return out;
}

Value split(Evaluator& eval, Value self, Arguments& args, bool from_right) {
  Heap& heap = eval.heap();
  int64_t limit = -1;
  const Str* separator = nullptr;
  if (!read_optional_integer(heap, args, 1, limit) || !heap.walk_bytes(self.string->size)) return Value::failure();
  limit = std::max<int64_t>(limit, -1);  // -1: no limit
  if (args.given(0) && !args[0].is(Kind::none)) {
    separator = read_string(heap, args[0]);
    if (separator == nullptr) return Value::failure();
    if (separator->empty()) return fail_type(heap, "empty separator");
  }
  Sequence* out = from_right            ? split_from_right(heap, self.string, separator, limit)
                  : separator != nullptr ? split_by(heap, self.string, separator->view(), limit)
                                         : split_blank(heap, self.string, limit);
  return out == nullptr ? Value::failure() : Value::of(out);
}
Value run_split(Evaluator& e, Value self, Arguments& args) { return split(e, self, args, false); }
Value run_rsplit(Evaluator& e, Value self, Arguments& args) { return split(e, self, args, true); }

Value run_splitlines(Evaluator& eval, Value self, Arguments& args) {
  Sequence* lines = split_lines(eval.heap(), self.string, read_flag(args, 0));
  return lines == nullptr ? Value::failure() : Value::of(lines);
}

// The bytes of s[start:end], where start and end are arguments i and i + 1.
bool read_window(Heap& heap, const Str& s, const Arguments& args, size_t i, size_t& begin, size_t& end) {
  int64_t bounds[2] = {0, INT64_MAX};
  const auto chars = static_cast<int64_t>(count_chars(s));
  for (size_t k = 0; k < 2; ++k) {
    if (!read_optional_integer(heap, args, i + k, bounds[k])) return false;
    if (bounds[k] < 0) bounds[k] = std::max<int64_t>(bounds[k] < -chars ? 0 : bounds[k] + chars, 0);
  }
  begin = bounds[0] > chars ? SIZE_MAX : byte_of_char(s, static_cast<size_t>(bounds[0]));
  end = byte_of_char(s, static_cast<size_t>(std::min(bounds[1], chars)));
  return heap.walk_bytes(s.size);
}

Value affix(Evaluator& eval, Value self, Arguments& args, bool at_end) {
  Heap& heap = eval.heap();
  size_t begin = 0;
  size_t end = 0;
  if (!read_window(heap, *self.string, args, 1, begin, end)) return Value::failure();
  const auto matches = [&](std::string_view affix) {
    if (begin > end) return false;
    const std::string_view window = self.text().substr(begin, end - begin);
    return at_end ? window.ends_with(affix) : window.starts_with(affix);
  };
  if (args[0].is_string()) return Value::of(matches(args[0].text()));
  if (!args[0].is(Kind::sequence) || args[0].sequence->flavor != Flavor::tuple) {
    return fail_type(heap, fmt::format("{} first arg must be str or a tuple of str, not {}", at_end ? "endswith" : "startswith", type_name(args[0])));
  }
  for (const Value& v : args[0].sequence->items) {
    const Str* s = read_string(heap, v);
    if (s == nullptr || !heap.walk_bytes(s->size)) return Value::failure();
    if (matches(s->view())) return Value::of(true);
  }
  return Value::of(false);
}
Value run_startswith(Evaluator& e, Value self, Arguments& args) { return affix(e, self, args, false); }
Value run_endswith(Evaluator& e, Value self, Arguments& args) { return affix(e, self, args, true); }

Value search(Evaluator& eval, Value self, Arguments& args, bool from_right, bool must_exist) {
  Heap& heap = eval.heap();
  const Str* what = read_string(heap, args[0]);
  size_t begin = 0;
  size_t end = 0;
  if (what == nullptr || !read_window(heap, *self.string, args, 1, begin, end)) return Value::failure();
  size_t found = kNotFound;
  if (begin <= end) {
    Str window = *self.string;
    window.size = end;
    found = find_in(window, what->view(), begin);
    if (from_right && what->empty()) found = end;
    while (from_right && !what->empty() && found != kNotFound && heap.work(1)) {
      const size_t next = find_in(window, what->view(), found + 1);
      if (next == kNotFound) break;
      found = next;
    }
  }
  if (heap.failed()) return Value::failure();
  if (found == kNotFound) return must_exist ? fail_type(heap, "substring not found") : Value::of(int64_t{-1});
  Str before = *self.string;
  before.size = found;
  before.chars = Str::kUncounted;
  return Value::of(static_cast<int64_t>(count_chars(before)));
}
Value run_find(Evaluator& e, Value self, Arguments& args) { return search(e, self, args, false, false); }
Value run_rfind(Evaluator& e, Value self, Arguments& args) { return search(e, self, args, true, false); }
Value run_index(Evaluator& e, Value self, Arguments& args) { return search(e, self, args, false, true); }
Value run_rindex(Evaluator& e, Value self, Arguments& args) { return search(e, self, args, true, true); }

Value run_count(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  const Str* what = read_string(heap, args[0]);
  size_t begin = 0;
  size_t end = 0;
  if (what == nullptr || !read_window(heap, *self.string, args, 1, begin, end)) return Value::failure();
  if (begin > end) return Value::of(int64_t{0});
  Str window = *self.string;
  window.size = end;
  int64_t count = 0;
  if (what->empty()) {
    window.data += begin;
    window.size = end - begin;
    window.chars = Str::kUncounted;
    return Value::of(static_cast<int64_t>(count_chars(window)) + 1);
  }
  for (size_t at = begin; heap.work(1) && (at = find_in(window, what->view(), at)) != kNotFound; at += what->size) ++count;
  return Value::of(count);
}

Value run_replace(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  const Str* from = read_string(heap, args[0]);
  const Str* to = from == nullptr ? nullptr : read_string(heap, args[1]);
  int64_t count = -1;
  if (to == nullptr || !read_optional_integer(heap, args, 2, count)) return Value::failure();
  return Value::of(replace_all(heap, self.string, from, to, count));
}

Value run_join(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  Iterator source;
  if (!Iterator::open(heap, args[0], source)) return Value::failure();
  Builder out(heap);
  bool first = true;
  for (Value v; source.next(heap, v);) {
    if (!v.is_string()) return fail_type(heap, fmt::format("sequence item: expected str instance, {} found", type_name(v)));
    if (!first) out.append(*self.string);
    first = false;
    append_str(out, heap, v);
  }
  return heap.failed() ? Value::failure() : Value::of(out.finish());
}

Value pad(Evaluator& eval, Value self, Arguments& args, bool left, bool right) {
  Heap& heap = eval.heap();
  int64_t width = 0;
  char32_t fill = ' ';
  bool fill_input = false;
  if (!read_integer(heap, args[0], width)) return Value::failure();
  if (args.given(1)) {
    const Str* s = read_string(heap, args[1]);
    if (s == nullptr) return Value::failure();
    if (count_chars(*s) != 1) return fail_type(heap, "The fill character must be exactly one character long");
    const char* at = s->data;
    fill = next_char(at);
    fill_input = is_input_at(*s, 0);
  }
  return Value::of(pad_string(heap, self.string, width, fill, fill_input, left, right));
}
Value run_center(Evaluator& e, Value self, Arguments& args) { return pad(e, self, args, true, true); }
Value run_ljust(Evaluator& e, Value self, Arguments& args) { return pad(e, self, args, false, true); }
Value run_rjust(Evaluator& e, Value self, Arguments& args) { return pad(e, self, args, true, false); }

Value run_zfill(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  int64_t width = 0;
  if (!read_integer(heap, args[0], width)) return Value::failure();
  width = std::max<int64_t>(width, 0);
  const bool is_signed = self.string->size > 0 && (self.string->data[0] == '-' || self.string->data[0] == '+');
  const size_t sign = is_signed ? 1 : 0;
  const Str* digits = substring(heap, self.string, sign, self.string->size);
  const Str* padded = digits == nullptr ? nullptr : pad_string(heap, digits, width - static_cast<int64_t>(sign), '0', false, true, false);
  if (padded == nullptr) return Value::failure();
  return Value::of(join_strings(heap, substring(heap, self.string, 0, sign), padded));
}

Value partition(Evaluator& eval, Value self, Arguments& args, bool from_right) {
  Heap& heap = eval.heap();
  const Str* separator = read_string(heap, args[0]);
  if (separator == nullptr || !heap.walk_bytes(self.string->size)) return Value::failure();
  if (separator->empty()) return fail_type(heap, "empty separator");
  const Str* s = self.string;
  size_t found = find_in(*s, separator->view(), 0);
  for (size_t next = found; from_right && next != kNotFound && heap.work(1); next = find_in(*s, separator->view(), next + 1)) found = next;
  Sequence* out = make_sequence(heap, Flavor::tuple);
  const Str* empty = heap.make<Str>();
  if (found == kNotFound) {
    for (const Str* part : {from_right ? empty : s, empty, from_right ? s : empty}) out->items.push(heap, Value::of(part));
  } else {
    const size_t past = found + separator->size;
    for (const Str* part : {substring(heap, s, 0, found), separator, substring(heap, s, past, s->size)}) out->items.push(heap, Value::of(part));
  }
  return heap.failed() ? Value::failure() : Value::of(out);
}
Value run_partition(Evaluator& e, Value self, Arguments& args) { return partition(e, self, args, false); }
Value run_rpartition(Evaluator& e, Value self, Arguments& args) { return partition(e, self, args, true); }

Value run_removeprefix(Evaluator& eval, Value self, Arguments& args) {
  const Str* affix = read_string(eval.heap(), args[0]);
  if (affix == nullptr) return Value::failure();
  return self.text().starts_with(affix->view()) ? Value::of(substring(eval.heap(), self.string, affix->size, self.string->size)) : self;
}
Value run_removesuffix(Evaluator& eval, Value self, Arguments& args) {
  const Str* affix = read_string(eval.heap(), args[0]);
  if (affix == nullptr) return Value::failure();
  return self.text().ends_with(affix->view()) ? Value::of(substring(eval.heap(), self.string, 0, self.string->size - affix->size)) : self;
}

Value run_expandtabs(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  int64_t width = 8;
  if (!read_optional_integer(heap, args, 0, width) || !heap.walk_bytes(self.string->size)) return Value::failure();
  if (width > 1000) return fail_type(heap, fmt::format("expandtabs({}) is beyond the limit of 1000", width));
  Builder out(heap);
  int64_t column = 0;
  for (const char* at = self.string->data; at < self.string->data + self.string->size && !heap.failed();) {
    const auto begin = static_cast<size_t>(at - self.string->data);
    const char32_t c = next_char(at);
    if (c == '\t') {
      for (int64_t n = width > 0 ? width - column % width : 0; n > 0; --n, ++column) out.append(" ", is_input_at(*self.string, begin));
    } else {
      out.append(*self.string, begin, static_cast<size_t>(at - self.string->data));
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return heap.failed() ? Value::failure() : Value::of(out.finish());
}

Value run_format(Evaluator& eval, Value self, Arguments& args) { return format_braces(eval, self.string, args); }

using Classifier = bool (*)(char32_t c, utf8proc_category_t category);

Value all_of(Evaluator& eval, Value self, Classifier is_one) {
  if (!eval.heap().walk_bytes(self.string->size)) return Value::failure();
  for (const char* at = self.string->data; at < self.string->data + self.string->size;) {
    const char32_t c = next_char(at);
    if (!is_one(c, utf8proc_category(static_cast<utf8proc_int32_t>(c)))) return Value::of(false);
  }
  return Value::of(self.string->size > 0);
}
bool is_letter(char32_t, utf8proc_category_t k) { return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO; }
bool is_decimal(char32_t, utf8proc_category_t k) { return k == UTF8PROC_CATEGORY_ND; }
bool is_numeric(char32_t, utf8proc_category_t k) { return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO; }
// Superscripts, subscripts and circled digits count as digits for Python; of category No these blocks are the common ones.
bool is_digit(char32_t c, utf8proc_category_t k) {
  const bool is_script = c == 0xB2 || c == 0xB3 || c == 0xB9 || (c >= 0x2070 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
  return k == UTF8PROC_CATEGORY_ND || (k == UTF8PROC_CATEGORY_NO && is_script);
}

Value run_isalpha(Evaluator& e, Value self, Arguments&) { return all_of(e, self, is_letter); }
Value run_isdecimal(Evaluator& e, Value self, Arguments&) { return all_of(e, self, is_decimal); }
Value run_isdigit(Evaluator& e, Value self, Arguments&) { return all_of(e, self, is_digit); }
Value run_isnumeric(Evaluator& e, Value self, Arguments&) { return all_of(e, self, is_numeric); }
Value run_isalnum(Evaluator& e, Value self, Arguments&) {
  return all_of(e, self, [](char32_t c, utf8proc_category_t k) { return is_letter(c, k) || is_numeric(c, k); });
}
Value run_isspace(Evaluator& e, Value self, Arguments&) {
  return all_of(e, self, [](char32_t c, utf8proc_category_t) { return is_python_space(c); });
}
Value run_isascii(Evaluator& eval, Value self, Arguments&) {
  return Value::of(eval.heap().walk_bytes(self.string->size) && count_chars(*self.string) == self.string->size);
}
Value run_isupper(Evaluator& e, Value self, Arguments& args) { return find_test("upper")->run(e, self, args); }
Value run_islower(Evaluator& e, Value self, Arguments& args) { return find_test("lower")->run(e, self, args); }

constexpr Builtin kStringMethods[] = {
    {"capitalize", "", 0, run_capitalize},
    {"center", "-width -fillchar", 1, run_center},
    {"count", "-sub -start -end", 1, run_count},
    {"endswith", "-suffix -start -end", 1, run_endswith},
    {"expandtabs", "tabsize", 0, run_expandtabs},
    {"find", "-sub -start -end", 1, run_find},
    {"format", "*", 0, run_format},
    {"index", "-sub -start -end", 1, run_index},
    {"isalnum", "", 0, run_isalnum},
    {"isalpha", "", 0, run_isalpha},
    {"isascii", "", 0, run_isascii},
    {"isdecimal", "", 0, run_isdecimal},
    {"isdigit", "", 0, run_isdigit},
    {"islower", "", 0, run_islower},
    {"isnumeric", "", 0, run_isnumeric},
    {"isspace", "", 0, run_isspace},
    {"isupper", "", 0, run_isupper},
    {"join", "-iterable", 1, run_join},
    {"ljust", "-width -fillchar", 1, run_ljust},
    {"lower", "", 0, run_lower},
    {"lstrip", "-chars", 0, run_lstrip},
    {"partition", "-sep", 1, run_partition},
    {"removeprefix", "-prefix", 1, run_removeprefix},
    {"removesuffix", "-suffix", 1, run_removesuffix},
    {"replace", "-old -new -count", 2, run_replace},
    {"rfind", "-sub -start -end", 1, run_rfind},
    {"rindex", "-sub -start -end", 1, run_rindex},
    {"rjust", "-width -fillchar", 1, run_rjust},
    {"rpartition", "-sep", 1, run_rpartition},
    {"rsplit", "sep maxsplit", 0, run_rsplit},
    {"rstrip", "-chars", 0, run_rstrip},
    {"split", "sep maxsplit", 0, run_split},
    {"splitlines", "keepends", 0, run_splitlines},
    {"startswith", "-prefix -start -end", 1, run_startswith},
    {"strip", "-chars", 0, run_strip},
    {"swapcase", "", 0, run_swapcase},
    {"title", "", 0, run_title},
    {"upper", "", 0, run_upper},
    {"zfill", "-width", 1, run_zfill},
};

}  // namespace

const Builtin* find_string_method(std::string_view name) {
  for (const Builtin& entry : kStringMethods) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
