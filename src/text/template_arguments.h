// Small readers for the arguments of filters and methods. Contract: false or nullptr means that the heap has failed. Next: template_builtins.h.
#pragma once

#include <fmt/format.h>

#include "text/template_builtins.h"
#include "text/template_eval.h"

namespace sluice::text::jinja {

inline bool read_integer(Heap& heap, Value v, int64_t& out) {
  if (v.is(Kind::integer) || v.is(Kind::boolean)) {
    out = v.is(Kind::integer) ? v.integer : v.boolean;
    return true;
  }
  fail_type(heap, fmt::format("'{}' object cannot be interpreted as an integer", type_name(v)));
  return false;
}

// Leaves `out` alone when the argument was not given or is None.
inline bool read_optional_integer(Heap& heap, const Arguments& args, size_t i, int64_t& out) {
  return !args.given(i) || args[i].is(Kind::none) || read_integer(heap, args[i], out);
}

inline bool read_flag(const Arguments& args, size_t i) { return args.given(i) && truthy(args[i]); }

// A parameter that must be a string.
inline const Str* read_string(Heap& heap, Value v) {
  if (v.is_string()) return v.string;
  fail_type(heap, fmt::format("a string is wanted, not '{}'", type_name(v)));
  return nullptr;
}

inline Value make_generator(Sequence* s) {
  if (s == nullptr) return Value::failure();
  s->flavor = Flavor::generator;
  return Value::of(s);
}

inline Value pair_of(Heap& heap, Value a, Value b) {
  Sequence* pair = make_sequence(heap, Flavor::tuple);
  if (!pair->items.push(heap, a) || !pair->items.push(heap, b)) return Value::failure();
  return Value::of(pair);
}

// Text methods that filters share (template_methods.cc).
Sequence* split_lines(Heap& heap, const Str* s, bool keep_ends);
const Str* replace_all(Heap& heap, const Str* s, const Str* from, const Str* to, int64_t count);
const Str* pad_string(Heap& heap, const Str* s, int64_t width, char32_t fill, bool fill_input, bool left, bool right);

}  // namespace sluice::text::jinja
