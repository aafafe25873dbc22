// str() and repr() of values, byte for byte as Python prints them (template_value.h).
// Contract: floats print the shortest digits that read back; strings keep their origin. Next: template_json.cc for tojson.
#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <utf8proc.h>

#include "text/template_eval.h"
#include "text/template_value.h"

namespace sluice::text::jinja {

std::string format_real(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  std::array<char, 64> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), d, std::chars_format::scientific).ptr;
  std::string_view text(buffer.data(), static_cast<size_t>(end - buffer.data()));
  std::string out;
  if (text[0] == '-') {
    out = "-";
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  int exponent = 0;
  const size_t sign = text[e + 1] == '+' ? 2 : 1;
  std::from_chars(text.data() + e + sign, text.data() + text.size(), exponent);
  std::string digits(text.substr(0, 1));
  if (e > 1) digits += text.substr(2, e - 2);
  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {  // Python's float_repr_style 'short'
    out += digits[0];
    if (count > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (count <= exponent + 1) return out + digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  return out + digits.substr(0, static_cast<size_t>(exponent + 1)) + "." + digits.substr(static_cast<size_t>(exponent + 1));
}

namespace {

bool is_printable(char32_t c) {
  if (c < 0x80) return c >= 0x20 && c < 0x7F;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

void append_string_repr(Builder& out, const Str& s) {
  const bool has_single = s.view().find('\'') != std::string_view::npos;
  const bool has_double = s.view().find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out.append({&quote, 1}, false);
  const char* at = s.data;
  const char* end = s.data + s.size;
  const char* plain = at;  // start of the stretch that needs no escape
  const auto flush = [&](const char* to) { out.append(s, static_cast<size_t>(plain - s.data), static_cast<size_t>(to - s.data)); };
  while (at < end) {
    const char* start = at;
    const char32_t c = next_char(at);
    std::string escape;
    if (c == static_cast<char32_t>(quote) || c == '\\') escape = std::string("\\") + static_cast<char>(c);
    else if (c == '\n') escape = "\\n";
    else if (c == '\r') escape = "\\r";
    else if (c == '\t') escape = "\\t";
    else if (is_printable(c)) continue;
    else if (c < 0x100) escape = fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    else if (c < 0x10000) escape = fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    else escape = fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
    flush(start);
    out.append(escape, is_input_at(s, static_cast<size_t>(start - s.data)));
    plain = at;
  }
  flush(end);
  out.append({&quote, 1}, false);
}

void append_items(Builder& out, Heap& heap, const HeapVector<Value>& items) {
  for (size_t i = 0; i < items.size && heap.work(1); ++i) {
    if (i > 0) out.append(", ", false);
    append_repr(out, heap, items.items[i]);
  }
}

void append_dict_repr(Builder& out, Heap& heap, const Dict& dict) {
  out.append("{", false);
  bool first = true;
  for (const Dict::Entry& entry : dict.entries) {
    if (!entry.live) continue;
    if (!heap.work(1)) return;
    if (!first) out.append(", ", false);
    first = false;
    append_repr(out, heap, entry.key);
    out.append(": ", false);
    append_repr(out, heap, entry.value);
  }
  out.append("}", false);
}

void append_sequence_repr(Builder& out, Heap& heap, const Sequence& sequence) {
  switch (sequence.flavor) {
    case Flavor::list:
      out.append("[", false);
      append_items(out, heap, sequence.items);
      out.append("]", false);
      return;
    case Flavor::tuple:
      out.append("(", false);
      append_items(out, heap, sequence.items);
      out.append(sequence.items.size == 1 ? ",)" : ")", false);
      return;
    case Flavor::generator: out.append("<generator object>", false); return;
    default:
      out.append(sequence.flavor == Flavor::keys ? "dict_keys([" : sequence.flavor == Flavor::values ? "dict_values([" : "dict_items([", false);
      append_items(out, heap, sequence.items);
      out.append("])", false);
  }
}

void append_object_repr(Builder& out, Heap& heap, Value v) {
  switch (v.kind) {
    case Kind::range:
      out.append(v.range->step == 1 ? fmt::format("range({}, {})", v.range->start, v.range->stop)
                                    : fmt::format("range({}, {}, {})", v.range->start, v.range->stop, v.range->step),
                 false);
      return;
    case Kind::name_space:
      out.append("<Namespace ", false);
      append_dict_repr(out, heap, *v.dict);
      out.append(">", false);
      return;
    case Kind::macro:
      out.append("<Macro ", false);
      out.append(v.macro->name == nullptr ? "anonymous" : fmt::format("'{}'", v.macro->name->view()), false);
      out.append(">", false);
      return;
    case Kind::loop: {
      int64_t length = v.loop->length;
      if (length < 0 && has_length(v.loop->iterable)) (void)length_of(heap, v.loop->iterable, length);
      out.append(fmt::format("<LoopContext {}/{}>", v.loop->index0 + 1, length), false);
      return;
    }
    case Kind::builtin: out.append(fmt::format("<function {}>", v.builtin->entry->name), false); return;
    default: out.append(fmt::format("<{}>", type_name(v)), false); return;
  }
}

}  // namespace

void append_repr(Builder& out, Heap& heap, Value v) {
  switch (v.kind) {
    case Kind::failed:
    case Kind::missing: return;
    case Kind::undefined: out.append("Undefined", false); return;
    case Kind::none: out.append("None", false); return;
    case Kind::boolean: out.append(v.boolean ? "True" : "False", false); return;
    case Kind::integer: out.append(fmt::format("{}", v.integer), v.input); return;
    case Kind::real: out.append(format_real(v.real), v.input); return;
    case Kind::string:
      if (!heap.walk_bytes(v.string->size)) return;
      if (v.string->markup) out.append("Markup(", false);
      append_string_repr(out, *v.string);
      if (v.string->markup) out.append(")", false);
      return;
    default: break;
  }
  if (!heap.enter()) return;
  if (v.is(Kind::sequence)) append_sequence_repr(out, heap, *v.sequence);
  else if (v.is(Kind::dict)) append_dict_repr(out, heap, *v.dict);
  else append_object_repr(out, heap, v);
  heap.leave();
}

void append_str(Builder& out, Heap& heap, Value v) {
  if (v.is_string()) {
    if (heap.walk_bytes(v.string->size)) out.append(*v.string);
  } else if (!v.is_undefined()) {
    append_repr(out, heap, v);
  }
}

const Str* to_str(Heap& heap, Value v) {
  if (v.is_string() && !v.string->markup) return v.string;
  if (v.is_undefined()) return heap.make<Str>();
  if (v.is_string()) {
    Str* plain = heap.make<Str>(*v.string);
    plain->markup = false;
    return plain;
  }
  Builder out(heap);
  append_str(out, heap, v);
  return out.finish();
}

}  // namespace sluice::text::jinja
