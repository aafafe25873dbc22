// tojson: json.dumps as Hugging Face calls it (template_builtins.h). Contract: strings keep their origin, punctuation is the template's; what
// Python cannot serialise (undefined, macros, generators) fails. Next: template_context.cc.
#include <cmath>

#include <fmt/format.h>

#include "text/template_builtins.h"

namespace sluice::text::jinja {

namespace {

std::string escape_of(char32_t c, bool ensure_ascii) {
  switch (c) {
    case '"': return "\\\"";
    case '\\': return "\\\\";
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '\f': return "\\f";
    case '\b': return "\\b";
    default: break;
  }
  if (c >= 0x20 && (c < 0x7F || !ensure_ascii)) return {};
  if (c < 0x10000) return fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  const auto rest = static_cast<uint32_t>(c) - 0x10000;
  return fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
}

void append_json_string(Builder& out, const Str& s, bool ensure_ascii) {
  out.append("\"", false);
  size_t plain = 0;
  for (const char* at = s.data; at < s.data + s.size;) {
    const auto start = static_cast<size_t>(at - s.data);
    const auto first = static_cast<unsigned char>(*at);
    if (first >= 0x20 && first < 0x7F && first != '"' && first != '\\') {
      ++at;
      continue;
    }
    const std::string escape = escape_of(next_char(at), ensure_ascii);
    if (escape.empty()) continue;
    out.append(s, plain, start);
    out.append(escape, is_input_at(s, start));
    plain = static_cast<size_t>(at - s.data);
  }
  out.append(s, plain, s.size);
  out.append("\"", false);
}

std::string json_real(double d) {
  if (std::isnan(d)) return "NaN";
  if (std::isinf(d)) return d > 0 ? "Infinity" : "-Infinity";
  return format_real(d);
}

class Writer {
 public:
  Writer(Builder& out, Heap& heap, const JsonStyle& style) : out_(out), heap_(heap), style_(style) {}

  bool write(Value v, size_t level) {
    if (!heap_.work(1)) return false;
    switch (v.kind) {
      case Kind::none: out_.append("null", false); return true;
      case Kind::boolean: out_.append(v.boolean ? "true" : "false", false); return true;
      case Kind::integer: out_.append(fmt::format("{}", v.integer), v.input); return true;
      case Kind::real: out_.append(json_real(v.real), v.input); return true;
      case Kind::string:
        if (!heap_.walk_bytes(v.string->size)) return false;
        append_json_string(out_, *v.string, style_.ensure_ascii);
        return true;
      case Kind::dict:
      case Kind::sequence: break;
      default: return refuse(v);
    }
    const bool is_list = v.is(Kind::sequence) && (v.sequence->flavor == Flavor::list || v.sequence->flavor == Flavor::tuple);
    if (!is_list && !v.is(Kind::dict)) return refuse(v);
    if (!heap_.enter()) return false;
    const bool done = is_list ? write_list(*v.sequence, level) : write_dict(*v.dict, level);
    heap_.leave();
    return done;
  }

 private:
  bool refuse(Value v) {
    heap_.fail(fmt::format("Object of type {} is not JSON serializable", type_name(v)));
    return false;
  }

  void line(size_t level) {
    if (!style_.multiline) return;
    out_.append("\n", false);
    for (size_t i = 0; i < level && !style_.indent.empty() && heap_.work(1); ++i) out_.append(style_.indent, false);
  }

  bool write_list(const Sequence& list, size_t level) {
    if (list.items.size == 0) {
      out_.append("[]", false);
      return true;
    }
    out_.append("[", false);
    for (size_t i = 0; i < list.items.size; ++i) {
      if (i > 0) out_.append(style_.item_separator, false);
      line(level + 1);
      if (!write(list.items.items[i], level + 1)) return false;
    }
    line(level);
    out_.append("]", false);
    return true;
  }

  bool write_key(Value key) {
    switch (key.kind) {
      case Kind::string: append_json_string(out_, *key.string, style_.ensure_ascii); return true;
      case Kind::none: out_.append("\"null\"", false); return true;
      case Kind::boolean: out_.append(key.boolean ? "\"true\"" : "\"false\"", false); return true;
      case Kind::integer: out_.append(fmt::format("\"{}\"", key.integer), key.input); return true;
      case Kind::real: out_.append("\"" + json_real(key.real) + "\"", key.input); return true;
      default:
        heap_.fail(fmt::format("keys must be str, int, float, bool or None, not {}", type_name(key)));
        return false;
    }
  }

  bool write_dict(const Dict& dict, size_t level) {
    if (dict.live == 0) {
      out_.append("{}", false);
      return true;
    }
    HeapVector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries) {
      if (entry.live && !entries.push(heap_, &entry)) return false;
    }
    if (style_.sort_keys && !sort(entries)) return false;
    out_.append("{", false);
    bool first = true;
    for (const Dict::Entry* entry : entries) {
      if (!first) out_.append(style_.item_separator, false);
      first = false;
      line(level + 1);
      if (!write_key(entry->key)) return false;
      out_.append(style_.key_separator, false);
      if (!write(entry->value, level + 1)) return false;
    }
    line(level);
    out_.append("}", false);
    return true;
  }

  // Insertion by halving: keys are unique, so the order is total, and the comparison may fail.
  bool sort(HeapVector<const Dict::Entry*>& entries) {
    for (size_t i = 1; i < entries.size; ++i) {
      const Dict::Entry* moved = entries.items[i];
      size_t low = 0;
      size_t high = i;
      while (low < high) {
        const size_t middle = (low + high) / 2;
        const Order order = compare(heap_, moved->key, entries.items[middle]->key);
        if (order == Order::failed) return false;
        (order == Order::less ? high : low) = order == Order::less ? middle : middle + 1;
      }
      if (!heap_.work((i - low) / 8)) return false;
      for (size_t k = i; k > low; --k) entries.items[k] = entries.items[k - 1];
      entries.items[low] = moved;
    }
    return true;
  }

  Builder& out_;
  Heap& heap_;
  const JsonStyle& style_;
};

}  // namespace

bool append_json(Builder& out, Heap& heap, Value v, const JsonStyle& style, size_t level) { return Writer(out, heap, style).write(v, level); }

}  // namespace sluice::text::jinja
