// Filters, tests, methods and global functions: one kind of table entry for all four.
// Contract: an entry's function gets its arguments bound to its parameters (Kind::missing where none was given) and reports failures to the
// heap. Nothing here can reach the host. Next: template_filters.cc, template_predicates.cc, template_methods.cc, template_globals.cc.
#pragma once

#include <cstddef>
#include <string_view>

#include "text/template_value.h"

namespace sluice::text::jinja {

class Evaluator;

struct Keyword {
  const Str* name;
  Value value;
};

struct Arguments {
  static constexpr size_t kBoundMax = 6;
  HeapVector<Value> positional;
  HeapVector<Keyword> keywords;
  Value bound[kBoundMax];  // by parameter

  const Value& operator[](size_t i) const { return bound[i]; }
  bool given(size_t i) const { return !bound[i].is(Kind::missing); }
};

struct Builtin {
  std::string_view name;
  // Names of the parameters, separated by blanks; a leading '-' means positional only, "*" means that the function takes any arguments.
  std::string_view parameters;
  size_t required;
  Value (*run)(Evaluator& eval, Value self, Arguments& args);
};

struct BuiltinValue {
  const Builtin* entry;
  Value self;
};

const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_method(Value object, std::string_view name);
const Builtin* find_global(std::string_view name);

// Binds `args` to the entry's parameters and runs it.
Value run_builtin(Evaluator& eval, const Builtin& entry, Value self, Arguments& args);

// tojson as Hugging Face defines it: json.dumps(value, ensure_ascii, indent, separators, sort_keys).
struct JsonStyle {
  bool ensure_ascii = false;
  bool multiline = false;  // `indent` was given
  std::string_view indent;
  std::string_view item_separator = ", ";
  std::string_view key_separator = ": ";
  bool sort_keys = false;
};
bool append_json(Builder& out, Heap& heap, Value v, const JsonStyle& style, size_t level);

// "%s: %d" % values and "{}: {}".format(values).
Value format_percent(Evaluator& eval, const Str* format, Value values);
Value format_braces(Evaluator& eval, const Str* format, Arguments& args);
const Str* format_time(Heap& heap, const Str* format, const DateTime& now);

// Python's int() and float() of a string; false where Python raises ValueError.
bool parse_integer(std::string_view text, int base, int64_t& out);
bool parse_real(std::string_view text, double& out);

}  // namespace sluice::text::jinja
