// Truth, equality, order, membership and iteration of values, as Python defines them (template_value.h).
// Contract: every walk over nested values charges the heap and is bounded by its depth limit. Next: template_dict.cc, template_repr.cc.
#include "text/template_value.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"

namespace sluice::text::jinja {

const char* type_name(Value v) {
  switch (v.kind) {
    case Kind::failed:
    case Kind::missing:
    case Kind::undefined: return "Undefined";
    case Kind::none: return "NoneType";
    case Kind::boolean: return "bool";
    case Kind::integer: return "int";
    case Kind::real: return "float";
    case Kind::string: return "str";
    case Kind::dict: return "dict";
    case Kind::range: return "range";
    case Kind::name_space: return "Namespace";
    case Kind::macro: return "Macro";
    case Kind::builtin: return "function";
    case Kind::loop: return "LoopContext";
    case Kind::cycler: return "Cycler";
    case Kind::joiner: return "Joiner";
    case Kind::sequence: break;
  }
  switch (v.sequence->flavor) {
    case Flavor::list: return "list";
    case Flavor::tuple: return "tuple";
    case Flavor::generator: return "generator";
    case Flavor::keys: return "dict_keys";
    case Flavor::values: return "dict_values";
    case Flavor::items: return "dict_items";
  }
  return "object";
}

Value make_undefined(Heap& heap, const Str* name, const char* owner) {
  Value v;
  v.undefined = heap.make<UndefinedInfo>(UndefinedInfo{name, owner});
  return v;
}

Value fail_undefined(Heap& heap, Value v) {
  const UndefinedInfo* info = v.undefined;
  if (info == nullptr || info->name == nullptr) {
    heap.fail("an undefined value was used");
  } else if (info->owner == nullptr) {
    heap.fail(fmt::format("'{}' is undefined", info->name->view()));
  } else {
    heap.fail(fmt::format("'{} object' has no attribute '{}'", info->owner, info->name->view()));
  }
  return Value::failure();
}

Value fail_type(Heap& heap, std::string sentence) {
  heap.fail(std::move(sentence));
  return Value::failure();
}

bool truthy(Value v) {
  switch (v.kind) {
    case Kind::failed:
    case Kind::missing:
    case Kind::undefined:
    case Kind::none: return false;
    case Kind::boolean: return v.boolean;
    case Kind::integer: return v.integer != 0;
    case Kind::real: return v.real != 0.0;
    case Kind::string: return v.string->size > 0;
    case Kind::sequence: return v.sequence->flavor == Flavor::generator || v.sequence->items.size > 0;
    case Kind::dict: return v.dict->live > 0;
    case Kind::range: return v.range->count > 0;
    default: return true;
  }
}

namespace {

int64_t as_integer(Value v) { return v.is(Kind::boolean) ? v.boolean : v.integer; }

// Exact: an int64 and a double are compared by value, as Python does, not after rounding the integer.
Order compare_integer_real(int64_t i, double d) {
  if (std::isnan(d)) return Order::unordered;
  if (d >= 0x1p63) return Order::less;
  if (d < -0x1p63) return Order::greater;
  const auto whole = static_cast<int64_t>(d);
  if (i != whole) return i < whole ? Order::less : Order::greater;
  const double rest = d - static_cast<double>(whole);
  return rest > 0 ? Order::less : rest < 0 ? Order::greater : Order::same;
}

Order compare_numbers(Value a, Value b) {
  if (a.is(Kind::real) && b.is(Kind::real)) {
    if (std::isnan(a.real) || std::isnan(b.real)) return Order::unordered;
    return a.real < b.real ? Order::less : a.real > b.real ? Order::greater : Order::same;
  }
  if (b.is(Kind::real)) return compare_integer_real(as_integer(a), b.real);
  if (a.is(Kind::real)) {
    const Order flipped = compare_integer_real(as_integer(b), a.real);
    return flipped == Order::less ? Order::greater : flipped == Order::greater ? Order::less : flipped;
  }
  const int64_t x = as_integer(a);
  const int64_t y = as_integer(b);
  return x < y ? Order::less : x > y ? Order::greater : Order::same;
}

Order compare_text(std::string_view a, std::string_view b) {  // byte order of UTF-8 is code point order
  const int c = a.compare(b);
  return c < 0 ? Order::less : c > 0 ? Order::greater : Order::same;
}

bool equal_sequences(Heap& heap, const Sequence& a, const Sequence& b) {
  if (a.flavor != b.flavor || a.items.size != b.items.size) return false;
  if (a.flavor != Flavor::list && a.flavor != Flavor::tuple) {
    if (a.flavor == Flavor::values || a.flavor == Flavor::generator) return &a == &b;
  }
  for (size_t i = 0; i < a.items.size && i < b.items.size; ++i) {
    if (!equal(heap, a.items.items[i], b.items.items[i])) return false;
  }
  return true;
}

bool equal_dicts(Heap& heap, const Dict& a, const Dict& b) {
  if (a.live != b.live) return false;
  for (const Dict::Entry& entry : a.entries) {
    if (!entry.live) continue;
    const Dict::Entry* other = b.find(heap, entry.key);
    if (other == nullptr || !equal(heap, entry.value, other->value)) return false;
  }
  return true;
}

bool equal_ranges(const RangeValue& a, const RangeValue& b) {
  if (a.count != b.count) return false;
  if (a.count == 0) return true;
  return a.start == b.start && (a.count == 1 || a.step == b.step);
}

}  // namespace

bool same_object(Value a, Value b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::none: return true;
    case Kind::boolean: return a.boolean == b.boolean;
    // Python shares small integers and interned strings; equal values are as close as a value type comes.
    case Kind::integer: return a.integer == b.integer;
    case Kind::real: return a.real == b.real;
    case Kind::string: return a.string == b.string || a.text() == b.text();
    case Kind::builtin: return false;
    default: return a.sequence == b.sequence;
  }
}

bool equal(Heap& heap, Value a, Value b) {
  if (!heap.work(1)) return false;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == Order::same;
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::string: return heap.walk_bytes(std::min(a.string->size, b.string->size)) && a.text() == b.text();
    case Kind::undefined:
    case Kind::none: return true;
    case Kind::range: return equal_ranges(*a.range, *b.range);
    case Kind::sequence:
    case Kind::dict: {
      if (a.sequence == b.sequence) return true;
      if (!heap.enter()) return false;
      const bool same = a.is(Kind::dict) ? equal_dicts(heap, *a.dict, *b.dict) : equal_sequences(heap, *a.sequence, *b.sequence);
      heap.leave();
      return same && !heap.failed();
    }
    default: return same_object(a, b);
  }
}

Order compare(Heap& heap, Value a, Value b) {
  if (!heap.work(1)) return Order::failed;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is_undefined() || b.is_undefined()) {
    fail_undefined(heap, a.is_undefined() ? a : b);
    return Order::failed;
  }
  if (a.is_string() && b.is_string()) {
    return heap.walk_bytes(std::min(a.string->size, b.string->size)) ? compare_text(a.text(), b.text()) : Order::failed;
  }
  if (a.is(Kind::sequence) && b.is(Kind::sequence) && a.sequence->flavor == b.sequence->flavor &&
      (a.sequence->flavor == Flavor::list || a.sequence->flavor == Flavor::tuple)) {
    if (!heap.enter()) return Order::failed;
    const auto& x = a.sequence->items;
    const auto& y = b.sequence->items;
    Order order = x.size < y.size ? Order::less : x.size > y.size ? Order::greater : Order::same;
    for (size_t i = 0; i < std::min(x.size, y.size); ++i) {
      if (equal(heap, x.items[i], y.items[i])) continue;
      order = heap.failed() ? Order::failed : compare(heap, x.items[i], y.items[i]);
      break;
    }
    heap.leave();
    return heap.failed() ? Order::failed : order;
  }
  fail_type(heap, fmt::format("values of type '{}' and '{}' have no order", type_name(a), type_name(b)));
  return Order::failed;
}

namespace {

Value contains_in_range(const RangeValue& r, Value item) {
  if (!item.is_number()) return Value::of(false);
  if (item.is(Kind::real) && (item.real != std::floor(item.real) || std::abs(item.real) >= 0x1p63)) return Value::of(false);
  const int64_t i = item.is(Kind::real) ? static_cast<int64_t>(item.real) : as_integer(item);
  const bool inside = r.step > 0 ? i >= r.start && i < r.stop : i <= r.start && i > r.stop;
  // Differences as unsigned: both ends may be far apart.
  const uint64_t offset = r.step > 0 ? static_cast<uint64_t>(i) - static_cast<uint64_t>(r.start)
                                     : static_cast<uint64_t>(r.start) - static_cast<uint64_t>(i);
  const uint64_t stride = r.step > 0 ? static_cast<uint64_t>(r.step) : 0 - static_cast<uint64_t>(r.step);
  return Value::of(inside && offset % stride == 0);
}

}  // namespace

Value contains(Heap& heap, Value container, Value item) {
  switch (container.kind) {
    case Kind::string:
      if (item.is_undefined()) return fail_type(heap, "'in <string>' requires string as left operand, not Undefined");
      if (!item.is_string()) {
        return fail_type(heap, fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
      }
      if (!heap.walk_bytes(container.string->size)) return Value::failure();
      if (item.string->size == 0) return Value::of(true);
      // memmem is linear in glibc; std::string_view::find is not.
      return Value::of(memmem(container.string->data, container.string->size, item.string->data, item.string->size) != nullptr);
    case Kind::dict: {
      const bool found = container.dict->find(heap, item) != nullptr;
      return heap.failed() ? Value::failure() : Value::of(found);
    }
    case Kind::range: return contains_in_range(*container.range, item);
    default: break;
  }
  if (!is_iterable(container)) {
    return fail_type(heap, fmt::format("argument of type '{}' is not iterable", type_name(container)));
  }
  Iterator items;
  if (!Iterator::open(heap, container, items)) return Value::failure();
  for (Value candidate; items.next(heap, candidate);) {
    if (equal(heap, candidate, item)) return Value::of(true);
  }
  return heap.failed() ? Value::failure() : Value::of(false);
}

bool has_length(Value v) {
  switch (v.kind) {
    case Kind::undefined:
    case Kind::string:
    case Kind::dict:
    case Kind::range:
    case Kind::loop: return true;
    case Kind::sequence: return v.sequence->flavor != Flavor::generator;
    default: return false;
  }
}

bool length_of(Heap& heap, Value v, int64_t& out) {
  if (!has_length(v) || v.is(Kind::loop)) {
    fail_type(heap, fmt::format("object of type '{}' has no len()", type_name(v)));
    return false;
  }
  if (v.is_undefined()) {
    out = 0;
  } else if (v.is_string()) {
    if (!heap.walk_bytes(v.string->size)) return false;
    out = static_cast<int64_t>(count_chars(*v.string));
  } else if (v.is(Kind::dict)) {
    out = static_cast<int64_t>(v.dict->live);
  } else if (v.is(Kind::range)) {
    out = v.range->count;
  } else {
    out = static_cast<int64_t>(v.sequence->items.size);
  }
  return true;
}

bool is_iterable(Value v) {
  return v.is_undefined() || v.is_string() || v.is(Kind::sequence) || v.is(Kind::dict) || v.is(Kind::range) || v.is(Kind::loop);
}

Value range_item(const RangeValue& r, int64_t index) { return Value::of(r.start + r.step * index); }

bool Iterator::open(Heap& heap, Value v, Iterator& out) {
  if (!is_iterable(v) || v.is(Kind::loop)) {
    fail_type(heap, fmt::format("'{}' object is not iterable", type_name(v)));
    return false;
  }
  out = Iterator();
  out.source_ = v;
  if (v.is(Kind::dict)) out.size_at_start_ = v.dict->live;
  return true;
}

bool Iterator::next(Heap& heap, Value& out) {
  if (!heap.work(1)) return false;
  switch (source_.kind) {
    case Kind::string: {
      if (position_ >= source_.string->size) return false;
      const char* at = source_.string->data + position_;
      next_char(at);
      const auto end = static_cast<size_t>(at - source_.string->data);
      out = Value::of(substring(heap, source_.string, position_, end));
      position_ = end;
      return !out.failed();
    }
    case Kind::sequence: {
      Sequence& sequence = *source_.sequence;
      size_t& position = sequence.flavor == Flavor::generator ? sequence.consumed : position_;
      if (position >= sequence.items.size) return false;
      out = sequence.items.items[position++];
      return true;
    }
    case Kind::dict: {
      if (source_.dict->live != size_at_start_) {
        heap.fail("dictionary changed size during iteration");
        return false;
      }
      while (position_ < source_.dict->entries.size && !source_.dict->entries.items[position_].live) ++position_;
      if (position_ >= source_.dict->entries.size) return false;
      out = source_.dict->entries.items[position_++].key;
      return true;
    }
    case Kind::range: {
      const RangeValue& range = *source_.range;
      if (position_ >= static_cast<size_t>(range.count)) return false;
      out = range_item(range, static_cast<int64_t>(position_++));
      return true;
    }
    default: return false;  // undefined is empty
  }
}

Sequence* make_sequence(Heap& heap, Flavor flavor) {
  Sequence* s = heap.make<Sequence>();
  s->flavor = flavor;
  return s;
}

Sequence* to_list(Heap& heap, Value v) {
  Sequence* list = make_sequence(heap, Flavor::list);
  Iterator items;
  if (!Iterator::open(heap, v, items)) return nullptr;
  if (v.is(Kind::sequence) && !list->items.reserve(heap, v.sequence->items.size)) return nullptr;
  for (Value item; items.next(heap, item);) {
    if (!list->items.push(heap, item)) return nullptr;
  }
  return heap.failed() ? nullptr : list;
}

}  // namespace sluice::text::jinja
