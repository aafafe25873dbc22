// The table of filters, and those that work on sequences and mappings (template_builtins.h); the ones on text are in
// template_text_filters.cc. Contract: Jinja 3.1's results; lazily evaluated filters run at once but give a generator, which has no length.
// Next: template_text_filters.cc, template_predicates.cc.
#include <algorithm>
#include <charconv>

#include "text/template_arguments.h"
#include "text/template_text_filters.h"

namespace sluice::text::jinja {

namespace {

// "a.0.b" or an integer: the steps from an item to one of its attributes.
bool split_attribute(Heap& heap, Value attribute, HeapVector<Value>& out) {
  if (attribute.is(Kind::missing) || attribute.is(Kind::none)) return true;
  if (!attribute.is_string()) return out.push(heap, attribute);
  std::string_view rest = attribute.text();
  while (true) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    const bool digits = !part.empty() && std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    int64_t number = 0;
    if (digits && std::from_chars(part.data(), part.data() + part.size(), number).ec == std::errc()) {
      if (!out.push(heap, Value::of(number))) return false;
    } else if (!out.push(heap, Value::of(borrow_string(heap, part, false)))) {
      return false;
    }
    if (dot == std::string_view::npos) return true;
    rest.remove_prefix(dot + 1);
  }
}

Value ignore_case(Heap& heap, Value v) { return v.is_string() ? Value::of(change_case(heap, v.string, Case::lower)) : v; }

class Getter {
 public:
  static bool make(Evaluator& eval, Value attribute, bool fold_case, Value fallback, Getter& out) {
    out.eval_ = &eval;
    out.fold_case_ = fold_case;
    out.fallback_ = fallback;
    return split_attribute(eval.heap(), attribute, out.path_);
  }
  Value operator()(Value v) const {
    for (const Value& step : path_) {
      v = eval_->item(v, step);
      if (v.failed()) return v;
      if (v.is_undefined() && !fallback_.is(Kind::missing) && !fallback_.is(Kind::none)) v = fallback_;
    }
    return fold_case_ ? ignore_case(eval_->heap(), v) : v;
  }

 private:
  Evaluator* eval_ = nullptr;
  HeapVector<Value> path_;
  bool fold_case_ = false;
  Value fallback_ = Value::of_kind(Kind::missing);
};

struct Keyed {
  Value key;
  Value value;
};

// Stable merge sort. The comparison can fail, so it is ours and not std::stable_sort.
bool sort_keyed(Heap& heap, HeapVector<Keyed>& items, bool reverse) {
  HeapVector<Keyed> scratch;
  if (!scratch.reserve(heap, items.size)) return false;
  for (size_t width = 1; width < items.size; width *= 2) {
    scratch.size = 0;
    for (size_t begin = 0; begin < items.size; begin += 2 * width) {
      size_t a = begin;
      const size_t a_end = std::min(begin + width, items.size);
      size_t b = a_end;
      const size_t b_end = std::min(a_end + width, items.size);
      while (a < a_end || b < b_end) {
        bool take_b = a == a_end;
        if (a < a_end && b < b_end) {
          const Order order = compare(heap, items.items[b].key, items.items[a].key);
          if (order == Order::failed) return false;
          take_b = order == (reverse ? Order::greater : Order::less);
        }
        if (!scratch.push(heap, items.items[take_b ? b++ : a++])) return false;
      }
    }
    std::swap(items, scratch);
  }
  return true;
}

Value values_of(Heap& heap, const HeapVector<Keyed>& items) {
  Sequence* out = make_sequence(heap, Flavor::list);
  if (!out->items.reserve(heap, items.size)) return Value::failure();
  for (const Keyed& item : items) out->items.push(heap, item.value);
  return Value::of(out);
}

Value run_length(Evaluator& eval, Value self, Arguments&) {
  Heap& heap = eval.heap();
  if (self.is(Kind::loop)) return eval.loop_attribute(*self.loop, "length");
  int64_t length = 0;
  return length_of(heap, self, length) ? Value::of(length) : Value::failure();
}

Value run_default(Evaluator& eval, Value self, Arguments& args) {
  const bool replace = self.is_undefined() || (read_flag(args, 1) && !truthy(self));
  if (!replace) return self;
  return args.given(0) ? args[0] : Value::of(eval.heap().make<Str>());
}

Value run_attr(Evaluator& eval, Value self, Arguments& args) {
  const Str* name = read_string(eval.heap(), args[0]);
  if (name == nullptr) return Value::failure();
  if (self.is(Kind::dict) && find_method(self, name->view()) == nullptr) return make_undefined(eval.heap(), name, "dict");
  return eval.attribute(self, name);
}

Value run_first(Evaluator& eval, Value self, Arguments&) {
  Iterator items;
  Value first;
  if (!Iterator::open(eval.heap(), self, items)) return Value::failure();
  return items.next(eval.heap(), first) ? first : Value();
}

Value run_reverse(Evaluator& eval, Value self, Arguments&) {
  if (self.is_string()) return eval.slice(self, Value::none(), Value::none(), Value::of(int64_t{-1}));
  const bool is_generator = self.is(Kind::sequence) && self.sequence->flavor == Flavor::generator;
  Sequence* list = to_list(eval.heap(), self);
  if (list == nullptr) return Value::failure();
  std::reverse(list->items.begin(), list->items.end());
  return is_generator ? Value::of(list) : make_generator(list);
}

Value run_last(Evaluator& eval, Value self, Arguments&) {
  if (!has_length(self)) return fail_type(eval.heap(), fmt::format("'{}' object is not reversible", type_name(self)));
  if (self.is_string() || self.is(Kind::range)) {
    const Value last = eval.item(self, Value::of(int64_t{-1}));
    return last.is_undefined() ? Value() : last;
  }
  Sequence* list = to_list(eval.heap(), self);
  if (list == nullptr) return Value::failure();
  return list->items.size == 0 ? Value() : list->items.items[list->items.size - 1];
}

Value run_list(Evaluator& eval, Value self, Arguments&) {
  Sequence* list = to_list(eval.heap(), self);
  return list == nullptr ? Value::failure() : Value::of(list);
}

Value run_items(Evaluator& eval, Value self, Arguments&) {
  Heap& heap = eval.heap();
  Sequence* out = make_sequence(heap, Flavor::generator);
  if (self.is_undefined()) return Value::of(out);
  if (!self.is(Kind::dict)) return fail_type(heap, "Can only get item pairs from a mapping.");
  for (const Dict::Entry& entry : self.dict->entries) {
    if (!entry.live) continue;
    const Value pair = pair_of(heap, entry.key, entry.value);
    if (pair.failed() || !out->items.push(heap, pair)) return Value::failure();
  }
  return Value::of(out);
}

Value run_dictsort(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  if (self.is_undefined()) return fail_undefined(heap, self);
  if (!self.is(Kind::dict)) return fail_type(heap, fmt::format("'{}' object has no items to sort", type_name(self)));
  const bool case_sensitive = read_flag(args, 0);
  const std::string_view by = args.given(1) && args[1].is_string() ? args[1].text() : "key";
  if (by != "key" && by != "value") return fail_type(heap, "You can only sort by either \"key\" or \"value\"");
  HeapVector<Keyed> items;
  for (const Dict::Entry& entry : self.dict->entries) {
    if (!entry.live) continue;
    const Value key = by == "key" ? entry.key : entry.value;
    const Keyed keyed{case_sensitive ? key : ignore_case(heap, key), pair_of(heap, entry.key, entry.value)};
    if (keyed.key.failed() || keyed.value.failed() || !items.push(heap, keyed)) return Value::failure();
  }
  return sort_keyed(heap, items, read_flag(args, 2)) ? values_of(heap, items) : Value::failure();
}

Value run_sort(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  const bool fold_case = !read_flag(args, 1);
  HeapVector<Getter> getters;  // "a,b" sorts by a, then by b
  const Value attribute = args.given(2) ? args[2] : Value::none();
  std::string_view rest = attribute.is_string() ? attribute.text() : std::string_view();
  do {
    const size_t comma = rest.find(',');
    const Value part = attribute.is_string() ? Value::of(borrow_string(heap, rest.substr(0, comma), false)) : attribute;
    Getter getter;
    if (!Getter::make(eval, part, fold_case, Value::none(), getter) || !getters.push(heap, getter)) return Value::failure();
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  } while (!rest.empty());
  Iterator source;
  if (!Iterator::open(heap, self, source)) return Value::failure();
  HeapVector<Keyed> items;
  for (Value v; source.next(heap, v);) {
    Sequence* key = make_sequence(heap, Flavor::list);
    for (const Getter& getter : getters) {
      const Value part = getter(v);
      if (part.failed() || !key->items.push(heap, part)) return Value::failure();
    }
    if (!items.push(heap, Keyed{Value::of(key), v})) return Value::failure();
  }
  return !heap.failed() && sort_keyed(heap, items, read_flag(args, 0)) ? values_of(heap, items) : Value::failure();
}

Value run_unique(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  Getter getter;
  if (!Getter::make(eval, args[1], !read_flag(args, 0), Value::none(), getter)) return Value::failure();
  Iterator source;
  if (!Iterator::open(heap, self, source)) return Value::failure();
  Dict seen;
  Sequence* out = make_sequence(heap, Flavor::generator);
  for (Value v; source.next(heap, v);) {
    const Value key = getter(v);
    if (key.failed()) return key;
    if (seen.find(heap, key) != nullptr) continue;
    if (heap.failed() || !seen.set(heap, key, Value::none()) || !out->items.push(heap, v)) return Value::failure();
  }
  return heap.failed() ? Value::failure() : Value::of(out);
}

Value min_or_max(Evaluator& eval, Value self, Arguments& args, Order wanted) {
  Heap& heap = eval.heap();
  Getter getter;
  if (!Getter::make(eval, args[1], !read_flag(args, 0), Value::none(), getter)) return Value::failure();
  Iterator source;
  if (!Iterator::open(heap, self, source)) return Value::failure();
  Value best;
  Value best_key = Value::of_kind(Kind::missing);
  for (Value v; source.next(heap, v);) {
    const Value key = getter(v);
    if (key.failed()) return key;
    if (!best_key.is(Kind::missing)) {
      const Order order = compare(heap, key, best_key);
      if (order == Order::failed) return Value::failure();
      if (order != wanted) continue;
    }
    best = v;
    best_key = key;
  }
  return heap.failed() ? Value::failure() : best;
}

Value run_min(Evaluator& eval, Value self, Arguments& args) { return min_or_max(eval, self, args, Order::less); }
Value run_max(Evaluator& eval, Value self, Arguments& args) { return min_or_max(eval, self, args, Order::greater); }

Value run_sum(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  Getter getter;
  if (!Getter::make(eval, args[0], false, Value::none(), getter)) return Value::failure();
  Iterator source;
  if (!Iterator::open(heap, self, source)) return Value::failure();
  Value total = args.given(1) ? args[1] : Value::of(int64_t{0});
  if (total.is_string()) return fail_type(heap, "sum() can't sum strings [use ''.join(seq) instead]");
  for (Value v; source.next(heap, v);) {
    const Value part = getter(v);
    if (part.failed()) return part;
    total = eval.add(total, part);
    if (total.failed()) return total;
  }
  return heap.failed() ? Value::failure() : total;
}

Value run_join(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  Getter getter;
  if (!Getter::make(eval, args[1], false, Value::none(), getter)) return Value::failure();
  const Str* between = args.given(0) ? to_str(heap, args[0]) : heap.make<Str>();
  Iterator source;
  if (between == nullptr || !Iterator::open(heap, self, source)) return Value::failure();
  Builder out(heap);
  bool first = true;
  for (Value v; source.next(heap, v);) {
    const Value part = getter(v);
    if (part.failed()) return part;
    if (!first) out.append(*between);
    first = false;
    append_str(out, heap, part);
  }
  return heap.failed() ? Value::failure() : Value::of(out.finish());
}

// map('filter', args...) or map(attribute='name', default=x).
Value run_map(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  Sequence* out = make_sequence(heap, Flavor::generator);
  if (!truthy(self)) return Value::of(out);
  Getter getter;
  const Builtin* filter = nullptr;
  if (args.positional.size == 0) {
    Value attribute = Value::of_kind(Kind::missing);
    Value fallback = Value::of_kind(Kind::missing);
    for (const Keyword& k : args.keywords) {
      if (k.name->view() == "attribute") attribute = k.value;
      else if (k.name->view() == "default") fallback = k.value;
      else return fail_type(heap, fmt::format("Unexpected keyword argument '{}'", k.name->view()));
    }
    if (attribute.is(Kind::missing)) return fail_type(heap, "map requires a filter argument");
    if (!Getter::make(eval, attribute, false, fallback, getter)) return Value::failure();
  } else {
    const Value name = args.positional.items[0];
    filter = name.is_string() ? find_filter(name.text()) : nullptr;
    if (filter == nullptr) return fail_type(heap, "map names a filter that does not exist");
  }
  Iterator source;
  if (!Iterator::open(heap, self, source)) return Value::failure();
  for (Value v; source.next(heap, v);) {
    Value mapped;
    if (filter == nullptr) {
      mapped = getter(v);
    } else {
      Arguments rest;
      for (size_t i = 1; i < args.positional.size; ++i) rest.positional.push(heap, args.positional.items[i]);
      rest.keywords = args.keywords;
      mapped = run_builtin(eval, *filter, v, rest);
    }
    if (mapped.failed() || !out->items.push(heap, mapped)) return Value::failure();
  }
  return heap.failed() ? Value::failure() : Value::of(out);
}

// select, reject, selectattr, rejectattr: [attribute,] [test, arguments...].
Value select_items(Evaluator& eval, Value self, Arguments& args, bool keep, bool by_attribute) {
  Heap& heap = eval.heap();
  Sequence* out = make_sequence(heap, Flavor::generator);
  if (!truthy(self)) return Value::of(out);
  const size_t offset = by_attribute ? 1 : 0;
  Getter getter;
  if (by_attribute && args.positional.size == 0) return fail_type(heap, "Missing parameter for attribute name");
  if (!Getter::make(eval, by_attribute ? args.positional.items[0] : Value::none(), false, Value::none(), getter)) return Value::failure();
  const Builtin* test = nullptr;
  if (args.positional.size > offset) {
    const Value name = args.positional.items[offset];
    test = name.is_string() ? find_test(name.text()) : nullptr;
    if (test == nullptr) return fail_type(heap, "the test that select or reject names does not exist");
  }
  Iterator source;
  if (!Iterator::open(heap, self, source)) return Value::failure();
  for (Value v; source.next(heap, v);) {
    Value verdict = getter(v);
    if (verdict.failed()) return verdict;
    if (test != nullptr) {
      Arguments rest;
      for (size_t i = offset + 1; i < args.positional.size; ++i) rest.positional.push(heap, args.positional.items[i]);
      rest.keywords = args.keywords;
      verdict = run_builtin(eval, *test, verdict, rest);
      if (verdict.failed()) return verdict;
    }
    if (truthy(verdict) == keep && !out->items.push(heap, v)) return Value::failure();
  }
  return heap.failed() ? Value::failure() : Value::of(out);
}

Value run_select(Evaluator& e, Value self, Arguments& args) { return select_items(e, self, args, true, false); }
Value run_reject(Evaluator& e, Value self, Arguments& args) { return select_items(e, self, args, false, false); }
Value run_selectattr(Evaluator& e, Value self, Arguments& args) { return select_items(e, self, args, true, true); }
Value run_rejectattr(Evaluator& e, Value self, Arguments& args) { return select_items(e, self, args, false, true); }

Value run_batch(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  int64_t size = 0;
  Iterator source;
  if (!read_integer(heap, args[0], size) || !Iterator::open(heap, self, source)) return Value::failure();
  Sequence* out = make_sequence(heap, Flavor::generator);
  Sequence* row = nullptr;
  for (Value v; source.next(heap, v);) {
    if (row == nullptr || static_cast<int64_t>(row->items.size) == size) {
      row = make_sequence(heap, Flavor::list);
      if (!out->items.push(heap, Value::of(row))) return Value::failure();
    }
    if (!row->items.push(heap, v)) return Value::failure();
  }
  while (row != nullptr && args.given(1) && !args[1].is(Kind::none) && static_cast<int64_t>(row->items.size) < size) {
    if (!heap.work(1) || !row->items.push(heap, args[1])) return Value::failure();
  }
  return heap.failed() ? Value::failure() : Value::of(out);
}

Value run_slice(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  int64_t slices = 0;
  Sequence* items = to_list(heap, self);
  if (items == nullptr || !read_integer(heap, args[0], slices)) return Value::failure();
  if (slices <= 0) return fail_type(heap, "slice needs a positive number of slices");
  const auto length = static_cast<int64_t>(items->items.size);
  const int64_t each = length / slices;
  const int64_t longer = length % slices;
  Sequence* out = make_sequence(heap, Flavor::generator);
  int64_t at = 0;
  for (int64_t i = 0; i < slices && heap.work(1); ++i) {
    Sequence* row = make_sequence(heap, Flavor::list);
    for (const int64_t end = at + each + (i < longer ? 1 : 0); at < end; ++at) row->items.push(heap, items->items.items[at]);
    if (args.given(1) && !args[1].is(Kind::none) && i >= longer) row->items.push(heap, args[1]);
    if (!out->items.push(heap, Value::of(row))) return Value::failure();
  }
  return heap.failed() ? Value::failure() : Value::of(out);
}

Value run_groupby(Evaluator& eval, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  Getter key_of;
  Getter shown;
  const bool fold_case = !read_flag(args, 2);
  if (!Getter::make(eval, args[0], fold_case, args[1], key_of) || !Getter::make(eval, args[0], false, args[1], shown)) return Value::failure();
  Iterator source;
  if (!Iterator::open(heap, self, source)) return Value::failure();
  HeapVector<Keyed> items;
  for (Value v; source.next(heap, v);) {
    const Value key = key_of(v);
    if (key.failed() || !items.push(heap, Keyed{key, v})) return Value::failure();
  }
  if (heap.failed() || !sort_keyed(heap, items, false)) return Value::failure();
  Sequence* out = make_sequence(heap, Flavor::list);
  Sequence* group = nullptr;
  Value group_key;
  for (const Keyed& item : items) {
    if (group == nullptr || !equal(heap, group_key, item.key)) {
      group = make_sequence(heap, Flavor::list);
      group_key = item.key;
      const Value pair = pair_of(heap, shown(item.value), Value::of(group));
      if (pair.failed() || !out->items.push(heap, pair)) return Value::failure();
    }
    if (!group->items.push(heap, item.value)) return Value::failure();
  }
  return heap.failed() ? Value::failure() : Value::of(out);
}

constexpr Builtin kFilters[] = {
    {"attr", "name", 1, run_attr},
    {"batch", "linecount fill_with", 1, run_batch},
    {"count", "", 0, run_length},
    {"d", "default_value boolean", 0, run_default},
    {"default", "default_value boolean", 0, run_default},
    {"dictsort", "case_sensitive by reverse", 0, run_dictsort},
    {"first", "", 0, run_first},
    {"groupby", "attribute default case_sensitive", 1, run_groupby},
    {"items", "", 0, run_items},
    {"join", "d attribute", 0, run_join},
    {"last", "", 0, run_last},
    {"length", "", 0, run_length},
    {"list", "", 0, run_list},
    {"map", "*", 0, run_map},
    {"max", "case_sensitive attribute", 0, run_max},
    {"min", "case_sensitive attribute", 0, run_min},
    {"reject", "*", 0, run_reject},
    {"rejectattr", "*", 0, run_rejectattr},
    {"reverse", "", 0, run_reverse},
    {"select", "*", 0, run_select},
    {"selectattr", "*", 0, run_selectattr},
    {"slice", "slices fill_with", 1, run_slice},
    {"sort", "reverse case_sensitive attribute", 0, run_sort},
    {"sum", "attribute start", 0, run_sum},
    {"unique", "case_sensitive attribute", 0, run_unique},
};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  for (const Builtin& entry : kFilters) {
    if (entry.name == name) return &entry;
  }
  return find_text_filter(name);
}

}  // namespace sluice::text::jinja
