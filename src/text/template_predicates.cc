// Tests, as in `x is defined` (template_builtins.h). Contract: Jinja 3.1's answers. Next: template_globals.cc.
#include <cmath>

#include <utf8proc.h>

#include "text/template_arguments.h"

namespace sluice::text::jinja {

namespace {

bool is_integer(Value v) { return v.is(Kind::integer) || v.is(Kind::boolean); }

Value run_defined(Evaluator&, Value self, Arguments&) { return Value::of(!self.is_undefined()); }
Value run_undefined(Evaluator&, Value self, Arguments&) { return Value::of(self.is_undefined()); }
Value run_none(Evaluator&, Value self, Arguments&) { return Value::of(self.is(Kind::none)); }
Value run_boolean(Evaluator&, Value self, Arguments&) { return Value::of(self.is(Kind::boolean)); }
Value run_true(Evaluator&, Value self, Arguments&) { return Value::of(self.is(Kind::boolean) && self.boolean); }
Value run_false(Evaluator&, Value self, Arguments&) { return Value::of(self.is(Kind::boolean) && !self.boolean); }
Value run_integer(Evaluator&, Value self, Arguments&) { return Value::of(self.is(Kind::integer)); }
Value run_float(Evaluator&, Value self, Arguments&) { return Value::of(self.is(Kind::real)); }
Value run_number(Evaluator&, Value self, Arguments&) { return Value::of(self.is_number()); }
Value run_string(Evaluator&, Value self, Arguments&) { return Value::of(self.is_string()); }
Value run_mapping(Evaluator&, Value self, Arguments&) { return Value::of(self.is(Kind::dict)); }
Value run_iterable(Evaluator&, Value self, Arguments&) { return Value::of(is_iterable(self)); }
Value run_escaped(Evaluator&, Value self, Arguments&) { return Value::of(self.is_string() && self.string->markup); }
Value run_sameas(Evaluator&, Value self, Arguments& args) { return Value::of(same_object(self, args[0])); }

Value run_callable(Evaluator&, Value self, Arguments&) {
  const bool has_call = self.is(Kind::macro) || self.is(Kind::builtin) || self.is(Kind::joiner) || self.is(Kind::loop);
  return Value::of(has_call || self.is_undefined());  // Undefined has __call__, which then raises
}

// len() and __getitem__: views and generators have not both.
Value run_sequence(Evaluator&, Value self, Arguments&) {
  const bool is_view = self.is(Kind::sequence) && self.sequence->flavor != Flavor::list && self.sequence->flavor != Flavor::tuple;
  return Value::of(has_length(self) && !is_view && !self.is(Kind::loop));
}

Value run_in(Evaluator& eval, Value self, Arguments& args) { return contains(eval.heap(), args[0], self); }

Value remainder_of(Evaluator& eval, Value self, Value divisor) {
  if (self.is_undefined()) return fail_undefined(eval.heap(), self);
  if (!self.is_number() || !divisor.is_number()) return fail_type(eval.heap(), fmt::format("'{}' has no remainder", type_name(self)));
  if (is_integer(self) && is_integer(divisor)) {
    const int64_t a = self.is(Kind::boolean) ? self.boolean : self.integer;
    const int64_t b = divisor.is(Kind::boolean) ? divisor.boolean : divisor.integer;
    if (b == 0) return fail_type(eval.heap(), "integer division or modulo by zero");
    if (b == -1) return Value::of(int64_t{0});
    const int64_t rest = a % b;
    return Value::of(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
  }
  const auto real = [](Value v) { return v.is(Kind::real) ? v.real : static_cast<double>(v.is(Kind::boolean) ? v.boolean : v.integer); };
  if (real(divisor) == 0) return fail_type(eval.heap(), "float modulo");
  const double rest = std::fmod(real(self), real(divisor));
  return Value::of(rest != 0 && (rest < 0) != (real(divisor) < 0) ? rest + real(divisor) : rest);
}

bool is_number(Value v, double wanted) { return v.is(Kind::real) ? v.real == wanted : static_cast<double>(v.integer) == wanted; }

Value run_odd(Evaluator& eval, Value self, Arguments&) {
  const Value rest = remainder_of(eval, self, Value::of(int64_t{2}));
  return rest.failed() ? rest : Value::of(is_number(rest, 1));
}
Value run_even(Evaluator& eval, Value self, Arguments&) {
  const Value rest = remainder_of(eval, self, Value::of(int64_t{2}));
  return rest.failed() ? rest : Value::of(is_number(rest, 0));
}
Value run_divisibleby(Evaluator& eval, Value self, Arguments& args) {
  const Value rest = remainder_of(eval, self, args[0]);
  return rest.failed() ? rest : Value::of(is_number(rest, 0));
}

Value has_case(Evaluator& eval, Value self, bool upper) {
  const Str* s = to_str(eval.heap(), self);
  if (s == nullptr || !eval.heap().walk_bytes(s->size)) return Value::failure();
  bool cased = false;
  for (const char* at = s->data; at < s->data + s->size;) {
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(next_char(at)));
    const bool is_upper = category == UTF8PROC_CATEGORY_LU;
    const bool is_lower = category == UTF8PROC_CATEGORY_LL;
    if (category == UTF8PROC_CATEGORY_LT || (upper ? is_lower : is_upper)) return Value::of(false);
    cased = cased || is_upper || is_lower;
  }
  return Value::of(cased);
}

Value run_upper(Evaluator& eval, Value self, Arguments&) { return has_case(eval, self, true); }
Value run_lower(Evaluator& eval, Value self, Arguments&) { return has_case(eval, self, false); }

Value run_filter(Evaluator&, Value self, Arguments&) { return Value::of(self.is_string() && find_filter(self.text()) != nullptr); }
Value run_test(Evaluator&, Value self, Arguments&) { return Value::of(self.is_string() && find_test(self.text()) != nullptr); }

Value run_eq(Evaluator& eval, Value self, Arguments& args) { return Value::of(equal(eval.heap(), self, args[0])); }
Value run_ne(Evaluator& eval, Value self, Arguments& args) { return Value::of(!equal(eval.heap(), self, args[0])); }
Value run_lt(Evaluator& eval, Value self, Arguments& args) { return Value::of(compare(eval.heap(), self, args[0]) == Order::less); }
Value run_gt(Evaluator& eval, Value self, Arguments& args) { return Value::of(compare(eval.heap(), self, args[0]) == Order::greater); }
Value run_le(Evaluator& eval, Value self, Arguments& args) {
  const Order order = compare(eval.heap(), self, args[0]);
  return Value::of(order == Order::less || order == Order::same);
}
Value run_ge(Evaluator& eval, Value self, Arguments& args) {
  const Order order = compare(eval.heap(), self, args[0]);
  return Value::of(order == Order::greater || order == Order::same);
}

constexpr Builtin kTests[] = {
    {"!=", "-other", 1, run_ne},
    {"<", "-other", 1, run_lt},
    {"<=", "-other", 1, run_le},
    {"==", "-other", 1, run_eq},
    {">", "-other", 1, run_gt},
    {">=", "-other", 1, run_ge},
    {"boolean", "", 0, run_boolean},
    {"callable", "", 0, run_callable},
    {"defined", "", 0, run_defined},
    {"divisibleby", "num", 1, run_divisibleby},
    {"eq", "-other", 1, run_eq},
    {"equalto", "-other", 1, run_eq},
    {"escaped", "", 0, run_escaped},
    {"even", "", 0, run_even},
    {"false", "", 0, run_false},
    {"filter", "", 0, run_filter},
    {"float", "", 0, run_float},
    {"ge", "-other", 1, run_ge},
    {"greaterthan", "-other", 1, run_gt},
    {"gt", "-other", 1, run_gt},
    {"in", "seq", 1, run_in},
    {"integer", "", 0, run_integer},
    {"iterable", "", 0, run_iterable},
    {"le", "-other", 1, run_le},
    {"lessthan", "-other", 1, run_lt},
    {"lower", "", 0, run_lower},
    {"lt", "-other", 1, run_lt},
    {"mapping", "", 0, run_mapping},
    {"ne", "-other", 1, run_ne},
    {"none", "", 0, run_none},
    {"number", "", 0, run_number},
    {"odd", "", 0, run_odd},
    {"sameas", "other", 1, run_sameas},
    {"sequence", "", 0, run_sequence},
    {"string", "", 0, run_string},
    {"test", "", 0, run_test},
    {"true", "", 0, run_true},
    {"undefined", "", 0, run_undefined},
    {"upper", "", 0, run_upper},
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  for (const Builtin& entry : kTests) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
