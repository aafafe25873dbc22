// Expressions (template_eval.h): names, operators, attributes, items and slices, with Python's arithmetic and Jinja's undefined.
// Contract: integers are 64 bits wide; what does not fit fails with a sentence instead of wrapping. Next: template_call.cc.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "text/template_eval.h"

namespace sluice::text::jinja {

Value Evaluator::evaluate(NodeId id) {
  const Node& node = ast_.nodes[id];
  if (!heap_.work(1)) return Value::failure();
  if (node.kind == NodeKind::constant) return ast_.constants[node.a];
  if (node.kind == NodeKind::name) return evaluate_name(node);
  if (!heap_.enter()) return Value::failure();
  const Value v = evaluate_inner(node);
  heap_.leave();
  return v;
}

Value Evaluator::evaluate_name(const Node& node) {
  const Value v = *slot(node.b, node.c);
  return v.is(Kind::missing) ? make_undefined(heap_, ast_.string(node.a), nullptr) : v;
}

Value Evaluator::evaluate_inner(const Node& node) {
  switch (node.kind) {
    case NodeKind::captured: return captured_;
    case NodeKind::attribute: {
      const Value object = evaluate(node.a);
      return object.failed() ? object : attribute(object, ast_.string(node.b));
    }
    case NodeKind::item: {
      const Value object = evaluate(node.a);
      if (object.failed()) return object;
      const Value key = evaluate(node.b);
      return key.failed() ? key : item(object, key);
    }
    case NodeKind::slice: return evaluate_slice(node);
    case NodeKind::call: return evaluate_call(node, Value::of_kind(Kind::missing));
    case NodeKind::filter: return evaluate_filter(node);
    case NodeKind::test: return evaluate_test(node);
    case NodeKind::not_:
    case NodeKind::negative:
    case NodeKind::positive: return evaluate_unary(node);
    case NodeKind::binary: {
      const Value a = evaluate(node.a);
      if (a.failed()) return a;
      const Value b = evaluate(node.b);
      return b.failed() ? b : binary(static_cast<Binary>(node.op), a, b);
    }
    case NodeKind::and_:
    case NodeKind::or_: {
      const Value a = evaluate(node.a);
      if (a.failed() || truthy(a) == (node.kind == NodeKind::or_)) return a;
      return evaluate(node.b);
    }
    case NodeKind::compare: return evaluate_compare(node);
    case NodeKind::concat: return evaluate_concat(node);
    case NodeKind::conditional: {
      const Value test = evaluate(node.a);
      if (test.failed()) return test;
      if (truthy(test)) return evaluate(node.b);
      return node.c == kNone ? Value() : evaluate(node.c);
    }
    case NodeKind::list:
    case NodeKind::tuple: return evaluate_collection(node);
    case NodeKind::dict: return evaluate_dict(node);
    default: return fail_type(heap_, "a statement stands where an expression belongs");
  }
}

Value Evaluator::evaluate_unary(const Node& node) {
  const Value v = evaluate(node.a);
  if (v.failed()) return v;
  if (node.kind == NodeKind::not_) return Value::of(!truthy(v));
  if (v.is_undefined()) return fail_undefined(heap_, v);
  const bool negates = node.kind == NodeKind::negative;
  if (v.is(Kind::real)) return Value::of(negates ? -v.real : v.real, v.input);
  if (!v.is_number()) return fail_type(heap_, fmt::format("bad operand type for unary {}: '{}'", negates ? '-' : '+', type_name(v)));
  const int64_t i = v.is(Kind::boolean) ? v.boolean : v.integer;
  if (!negates) return Value::of(i, v.input);
  return integer_operation(Binary::subtract, 0, i, v.input);
}

Value Evaluator::evaluate_compare(const Node& node) {
  Value left = evaluate(node.a);
  if (left.failed()) return left;
  Value result = Value::of(true);
  for (uint32_t i = 0; i < ast_.list_size(node.b); i += 2) {
    const Value right = evaluate(ast_.list_item(node.b, i + 1));
    if (right.failed()) return right;
    result = compare_pair(static_cast<Comparison>(ast_.list_item(node.b, i)), left, right);
    if (result.failed() || !truthy(result)) return result;
    left = right;
  }
  return result;
}

Value Evaluator::compare_pair(Comparison op, Value a, Value b) {
  switch (op) {
    case Comparison::equal:
    case Comparison::not_equal: {
      const bool same = equal(heap_, a, b);
      return heap_.failed() ? Value::failure() : Value::of(same == (op == Comparison::equal));
    }
    case Comparison::in: return contains(heap_, b, a);
    case Comparison::not_in: {
      const Value found = contains(heap_, b, a);
      return found.failed() ? found : Value::of(!found.boolean);
    }
    default: break;
  }
  const Order order = compare(heap_, a, b);
  switch (order) {
    case Order::failed: return Value::failure();
    case Order::unordered: return Value::of(false);
    case Order::less: return Value::of(op == Comparison::less || op == Comparison::less_equal);
    case Order::same: return Value::of(op == Comparison::less_equal || op == Comparison::greater_equal);
    case Order::greater: return Value::of(op == Comparison::greater || op == Comparison::greater_equal);
  }
  return Value::failure();
}

Value Evaluator::evaluate_concat(const Node& node) {
  const Str* joined = nullptr;
  HeapVector<Value> parts;
  const uint32_t count = ast_.list_size(node.b);
  if (!parts.reserve(heap_, count)) return Value::failure();
  for (uint32_t i = 0; i < count; ++i) {  // all parts are evaluated before any is turned into text
    const Value v = evaluate(ast_.list_item(node.b, i));
    if (v.failed() || !parts.push(heap_, v)) return Value::failure();
  }
  for (const Value& part : parts) {
    const Str* text = to_str(heap_, part);
    if (text == nullptr) return Value::failure();
    joined = joined == nullptr ? text : join_strings(heap_, joined, text);
    if (joined == nullptr) return Value::failure();
  }
  return Value::of(joined);
}

Value Evaluator::evaluate_collection(const Node& node) {
  Sequence* sequence = make_sequence(heap_, node.kind == NodeKind::list ? Flavor::list : Flavor::tuple);
  const uint32_t count = ast_.list_size(node.b);
  if (!sequence->items.reserve(heap_, count)) return Value::failure();
  for (uint32_t i = 0; i < count; ++i) {
    const Value v = evaluate(ast_.list_item(node.b, i));
    if (v.failed() || !sequence->items.push(heap_, v)) return Value::failure();
  }
  return Value::of(sequence);
}

Value Evaluator::evaluate_dict(const Node& node) {
  Dict* dict = heap_.make<Dict>();
  for (uint32_t i = 0; i < ast_.list_size(node.b); i += 2) {
    const Value key = evaluate(ast_.list_item(node.b, i));
    if (key.failed()) return key;
    const Value v = evaluate(ast_.list_item(node.b, i + 1));
    if (v.failed() || !dict->set(heap_, key, v)) return Value::failure();
  }
  return Value::of(dict);
}

Value Evaluator::attribute(Value object, const Str* name) {
  if (object.is_undefined()) return fail_undefined(heap_, object);
  if (const Builtin* method = find_method(object, name->view())) {
    Value bound = Value::of_kind(Kind::builtin);
    bound.builtin = heap_.make<BuiltinValue>(BuiltinValue{method, object});
    return bound;
  }
  if (object.is(Kind::dict) || object.is(Kind::name_space)) {
    if (const Dict::Entry* entry = object.dict->find(name->view())) return entry->value;
  } else if (object.is(Kind::loop)) {
    const Value v = loop_attribute(*object.loop, name->view());
    if (!v.is(Kind::missing)) return v;
  } else if (object.is(Kind::cycler) && name->view() == "current") {
    return object.cycler->items.items[object.cycler->position];
  } else if (object.is(Kind::macro) && name->view() == "name") {
    return object.macro->name == nullptr ? Value::none() : Value::of(object.macro->name);
  }
  return make_undefined(heap_, name, type_name(object));
}

namespace {

// Python's index: an integer or a boolean.
bool index_of(Value key, int64_t& out) {
  if (!key.is(Kind::integer) && !key.is(Kind::boolean)) return false;
  out = key.is(Kind::integer) ? key.integer : key.boolean;
  return true;
}

bool in_range(int64_t& index, int64_t size) {
  if (index < 0) index += size;
  return index >= 0 && index < size;
}

}  // namespace

Value Evaluator::item(Value object, Value key) {
  if (object.is_undefined()) return fail_undefined(heap_, object);
  int64_t index = 0;
  if (object.is(Kind::dict)) {
    const bool hashable = !key.is(Kind::dict) && !(key.is(Kind::sequence) && key.sequence->flavor != Flavor::tuple);
    const Dict::Entry* entry = !hashable ? nullptr : key.is_string() ? object.dict->find(key.text()) : object.dict->find(heap_, key);
    if (heap_.failed()) return Value::failure();
    if (entry != nullptr) return entry->value;
  } else if (index_of(key, index)) {
    if (object.is_string()) {
      if (!heap_.walk_bytes(object.string->size)) return Value::failure();
      if (in_range(index, static_cast<int64_t>(count_chars(*object.string)))) {
        const size_t begin = byte_of_char(*object.string, static_cast<size_t>(index));
        const char* end = object.string->data + begin;
        next_char(end);
        return Value::of(substring(heap_, object.string, begin, static_cast<size_t>(end - object.string->data)));
      }
    } else if (object.is(Kind::sequence) && (object.sequence->flavor == Flavor::list || object.sequence->flavor == Flavor::tuple)) {
      if (in_range(index, static_cast<int64_t>(object.sequence->items.size))) return object.sequence->items.items[index];
    } else if (object.is(Kind::range)) {
      if (in_range(index, object.range->count)) return range_item(*object.range, index);
    }
  }
  if (key.is_string()) {
    if (object.is(Kind::dict)) {  // the items were searched already
      if (find_method(object, key.text()) == nullptr) return make_undefined(heap_, key.string, "dict");
    }
    return attribute(object, key.string);
  }
  return make_undefined(heap_, to_str(heap_, key), type_name(object));
}

Value Evaluator::evaluate_slice(const Node& node) {
  const Value object = evaluate(node.a);
  if (object.failed()) return object;
  Value bounds[3];
  for (uint32_t i = 0; i < 3; ++i) {
    const NodeId bound = ast_.list_item(node.b, i);
    bounds[i] = bound == kNone ? Value::none() : evaluate(bound);
    if (bounds[i].failed()) return bounds[i];
  }
  return slice(object, bounds[0], bounds[1], bounds[2]);
}

namespace {

// Python's slice.indices(): the positions start, start + step, ... `count` of them.
bool resolve_slice(Heap& heap, Value start, Value stop, Value step, int64_t size, int64_t& first, int64_t& stride, int64_t& count) {
  int64_t bounds[3] = {0, 0, 1};
  const Value given[3] = {start, stop, step};
  for (size_t i = 0; i < 3; ++i) {
    if (given[i].is(Kind::none)) continue;
    if (!index_of(given[i], bounds[i])) {
      heap.fail("slice indices must be integers or None");
      return false;
    }
  }
  stride = bounds[2];
  if (stride == 0) {
    heap.fail("slice step cannot be zero");
    return false;
  }
  stride = std::clamp<int64_t>(stride, -size - 1, size + 1);
  const int64_t low = stride < 0 ? -1 : 0;
  const int64_t high = stride < 0 ? size - 1 : size;
  for (size_t i = 0; i < 2; ++i) {
    if (bounds[i] < 0) bounds[i] = bounds[i] < -size ? low : bounds[i] + size;
    bounds[i] = std::clamp(bounds[i], low, high);
  }
  first = start.is(Kind::none) ? (stride < 0 ? high : low) : bounds[0];
  const int64_t last = stop.is(Kind::none) ? (stride < 0 ? low : high) : bounds[1];
  const int64_t span = stride < 0 ? first - last : last - first;
  const int64_t pace = stride < 0 ? -stride : stride;
  count = span <= 0 ? 0 : (span + pace - 1) / pace;
  return true;
}

const Str* slice_string(Heap& heap, const Str* s, int64_t first, int64_t stride, int64_t count) {
  if (!heap.walk_bytes(s->size)) return nullptr;
  if (stride == 1 || count == 0) {
    const size_t begin = byte_of_char(*s, static_cast<size_t>(first));
    return substring(heap, s, begin, count == 0 ? begin : byte_of_char(*s, static_cast<size_t>(first + count)));
  }
  HeapVector<size_t> starts;  // byte position of every code point, so that strides stay linear
  if (!starts.reserve(heap, count_chars(*s) + 1)) return nullptr;
  for (const char* at = s->data; at < s->data + s->size; next_char(at)) {
    if (!starts.push(heap, static_cast<size_t>(at - s->data))) return nullptr;
  }
  if (!starts.push(heap, s->size)) return nullptr;
  Builder out(heap);
  for (int64_t i = 0, at = first; i < count && heap.work(1); ++i, at += stride) out.append(*s, starts.items[at], starts.items[at + 1]);
  return out.finish();
}

}  // namespace

Value Evaluator::slice(Value object, Value start, Value stop, Value step) {
  if (object.is_undefined()) return fail_undefined(heap_, object);
  const bool is_list = object.is(Kind::sequence) && (object.sequence->flavor == Flavor::list || object.sequence->flavor == Flavor::tuple);
  if (!is_list && !object.is_string() && !object.is(Kind::range)) {
    return fail_type(heap_, fmt::format("'{}' object cannot be sliced", type_name(object)));
  }
  int64_t size = 0;
  int64_t first = 0;
  int64_t stride = 1;
  int64_t count = 0;
  if (!length_of(heap_, object, size) || !resolve_slice(heap_, start, stop, step, size, first, stride, count)) return Value::failure();
  if (object.is_string()) return Value::of(slice_string(heap_, object.string, first, stride, count));
  if (object.is(Kind::range)) {
    const RangeValue& r = *object.range;
    Value v = Value::of_kind(Kind::range);
    int64_t step_now = 0;
    int64_t reach = 0;
    int64_t end = 0;
    const int64_t begin = r.start + first * r.step;  // an item, or one step beyond
    if (__builtin_mul_overflow(r.step, stride, &step_now) || __builtin_mul_overflow(step_now, count, &reach) ||
        __builtin_add_overflow(begin, reach, &end) || end > kRangeBoundMax || end < -kRangeBoundMax ||
        step_now > 2 * kRangeBoundMax || step_now < -2 * kRangeBoundMax) {
      return fail_type(heap_, fmt::format("a slice of a range goes beyond the limit of {}", kRangeBoundMax));
    }
    v.range = heap_.make<RangeValue>(RangeValue{begin, end, step_now, count});
    return v;
  }
  Sequence* out = make_sequence(heap_, object.sequence->flavor);
  if (!heap_.work(static_cast<uint64_t>(count) / 4) || !out->items.reserve(heap_, static_cast<size_t>(count))) return Value::failure();
  for (int64_t i = 0, at = first; i < count; ++i, at += stride) {
    if (!out->items.push(heap_, object.sequence->items.items[at])) return Value::failure();
  }
  return Value::of(out);
}

namespace {

constexpr const char* kOperatorNames[] = {"+", "-", "*", "/", "//", "%", "**"};

double to_real(Value v) { return v.is(Kind::real) ? v.real : static_cast<double>(v.is(Kind::boolean) ? v.boolean : v.integer); }
int64_t to_integer(Value v) { return v.is(Kind::boolean) ? v.boolean : v.integer; }

}  // namespace

Value Evaluator::binary(Binary op, Value a, Value b) {
  if (op == Binary::add) return add(a, b);
  // A string formats an undefined argument; every other operation on undefined fails.
  if (op == Binary::modulo && a.is_string()) return format_percent(*this, a.string, b);
  if (a.is_undefined() || b.is_undefined()) return fail_undefined(heap_, a.is_undefined() ? a : b);
  if (op == Binary::multiply && !(a.is_number() && b.is_number())) return multiply(a, b);
  if (!a.is_number() || !b.is_number()) {
    return fail_type(heap_, fmt::format("unsupported operand types for {}: '{}' and '{}'", kOperatorNames[static_cast<size_t>(op)],
                                        type_name(a), type_name(b)));
  }
  const bool input = a.input || b.input;
  if (a.is(Kind::real) || b.is(Kind::real) || op == Binary::divide) return real_operation(op, to_real(a), to_real(b), input);
  return integer_operation(op, to_integer(a), to_integer(b), input);
}

Value Evaluator::add(Value a, Value b) {
  if (a.is_string() && b.is_string()) {
    const Str* left = a.string;
    const Str* right = b.string;
    if (left->markup != right->markup) {  // Markup escapes what it is joined with
      Arguments none;
      const Value escaped = find_filter("escape")->run(*this, left->markup ? b : a, none);
      if (escaped.failed()) return escaped;
      (left->markup ? right : left) = escaped.string;
    }
    return Value::of(join_strings(heap_, left, right));
  }
  if (a.is_undefined() || b.is_undefined()) return fail_undefined(heap_, a.is_undefined() ? a : b);
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::real) || b.is(Kind::real)) return real_operation(Binary::add, to_real(a), to_real(b), a.input || b.input);
    return integer_operation(Binary::add, to_integer(a), to_integer(b), a.input || b.input);
  }
  const bool lists = a.is(Kind::sequence) && b.is(Kind::sequence) && a.sequence->flavor == b.sequence->flavor &&
                     (a.sequence->flavor == Flavor::list || a.sequence->flavor == Flavor::tuple);
  if (!lists) return fail_type(heap_, fmt::format("unsupported operand types for +: '{}' and '{}'", type_name(a), type_name(b)));
  Sequence* joined = make_sequence(heap_, a.sequence->flavor);
  const size_t total = a.sequence->items.size + b.sequence->items.size;
  if (!heap_.work(total / 4) || !joined->items.reserve(heap_, total)) return Value::failure();
  for (const Value& v : a.sequence->items) joined->items.push(heap_, v);
  for (const Value& v : b.sequence->items) joined->items.push(heap_, v);
  return Value::of(joined);
}

Value Evaluator::multiply(Value a, Value b) {
  int64_t count = 0;
  if (index_of(b, count)) return repeat(a, count);
  if (index_of(a, count)) return repeat(b, count);
  return fail_type(heap_, fmt::format("unsupported operand types for *: '{}' and '{}'", type_name(a), type_name(b)));
}

Value Evaluator::repeat(Value what, int64_t count) {
  const auto times = static_cast<size_t>(std::max<int64_t>(count, 0));
  if (what.is_string()) {
    const size_t size = what.string->size;
    if (size > 0 && (times > SIZE_MAX / size || !heap_.walk_bytes(size * times) || !heap_.afford(size * times))) {
      (void)heap_.afford(SIZE_MAX);
      return Value::failure();
    }
    Builder out(heap_);
    for (size_t i = 0; i < times && size > 0 && heap_.work(1); ++i) out.append(*what.string);
    return Value::of(out.finish());
  }
  const bool is_list = what.is(Kind::sequence) && (what.sequence->flavor == Flavor::list || what.sequence->flavor == Flavor::tuple);
  if (!is_list) return fail_type(heap_, fmt::format("a value of type '{}' cannot be repeated", type_name(what)));
  const size_t size = what.sequence->items.size;
  Sequence* out = make_sequence(heap_, what.sequence->flavor);
  if (size == 0) return Value::of(out);
  if (times > SIZE_MAX / size / sizeof(Value) || !heap_.work(size * times / 4) || !out->items.reserve(heap_, size * times)) {
    (void)heap_.afford(SIZE_MAX);
    return Value::failure();
  }
  for (size_t i = 0; i < times; ++i) {
    for (size_t k = 0; k < size; ++k) out->items.push(heap_, what.sequence->items.items[k]);
  }
  return Value::of(out);
}

Value Evaluator::integer_operation(Binary op, int64_t a, int64_t b, bool input) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Binary::add: overflow = __builtin_add_overflow(a, b, &result); break;
    case Binary::subtract: overflow = __builtin_sub_overflow(a, b, &result); break;
    case Binary::multiply: overflow = __builtin_mul_overflow(a, b, &result); break;
    case Binary::floor_divide:
    case Binary::modulo: {
      if (b == 0) return fail_type(heap_, "integer division or modulo by zero");
      if (b == -1) return op == Binary::modulo ? Value::of(int64_t{0}, input) : integer_operation(Binary::subtract, 0, a, input);
      const int64_t quotient = a / b;
      const int64_t rest = a % b;
      const bool floors = rest != 0 && (rest < 0) != (b < 0);  // C++ truncates, Python rounds down
      result = op == Binary::modulo ? (floors ? rest + b : rest) : (floors ? quotient - 1 : quotient);
      break;
    }
    case Binary::power: {
      if (b < 0) return real_operation(op, static_cast<double>(a), static_cast<double>(b), input);
      result = 1;
      int64_t factor = a;
      for (int64_t rest = b; rest > 0 && !overflow; rest /= 2) {
        if (rest % 2 == 1) overflow = __builtin_mul_overflow(result, factor, &result);
        if (rest > 1 && !overflow) overflow = __builtin_mul_overflow(factor, factor, &factor);
      }
      break;
    }
    case Binary::divide: return real_operation(op, static_cast<double>(a), static_cast<double>(b), input);
  }
  if (overflow) return fail_type(heap_, fmt::format("{} {} {} does not fit into 64 bits", a, kOperatorNames[static_cast<size_t>(op)], b));
  return Value::of(result, input);
}

Value Evaluator::real_operation(Binary op, double a, double b, bool input) {
  switch (op) {
    case Binary::add: return Value::of(a + b, input);
    case Binary::subtract: return Value::of(a - b, input);
    case Binary::multiply: return Value::of(a * b, input);
    case Binary::divide:
      if (b == 0) return fail_type(heap_, "division by zero");
      return Value::of(a / b, input);
    case Binary::floor_divide:
    case Binary::modulo: {
      if (b == 0) return fail_type(heap_, "float floor division or modulo by zero");
      double rest = std::fmod(a, b);
      double quotient = (a - rest) / b;
      if (rest != 0 && (rest < 0) != (b < 0)) {
        rest += b;
        quotient -= 1;
      } else if (rest == 0) {
        rest = std::copysign(0.0, b);
      }
      if (op == Binary::modulo) return Value::of(rest, input);
      double floored = quotient == 0 ? std::copysign(0.0, a / b) : std::floor(quotient);
      if (quotient - floored > 0.5) floored += 1;
      return Value::of(floored, input);
    }
    case Binary::power: {
      if (a == 0 && b < 0) return fail_type(heap_, "0.0 cannot be raised to a negative power");
      if (a < 0 && b != std::floor(b)) return fail_type(heap_, "complex numbers are not supported");
      const double result = std::pow(a, b);
      if (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) return fail_type(heap_, "the result of ** is too large");
      return Value::of(result, input);
    }
  }
  return Value::failure();
}

}  // namespace sluice::text::jinja
