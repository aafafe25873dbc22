// Methods of lists, tuples, dictionaries, loops and cyclers (template_builtins.h).
// Contract: lists and dictionaries are shared by reference, as in Python; the context itself is never changed. Next: template_globals.cc.
#include <algorithm>

#include "text/template_arguments.h"
#include "text/template_methods.h"

namespace sluice::text::jinja {

namespace {

Value run_append(Evaluator& eval, Value self, Arguments& args) {
  return self.sequence->items.push(eval.heap(), args[0]) ? Value::none() : Value::failure();
}

Value run_extend(Evaluator& eval, Value self, Arguments& args) {
  const Sequence* more = to_list(eval.heap(), args[0]);
  if (more == nullptr) return Value::failure();
  for (const Value& v : more->items) {
    if (!self.sequence->items.push(eval.heap(), v)) return Value::failure();
  }
  return Value::none();
}

Value run_insert(Evaluator& eval, Value self, Arguments& args) {
  auto& items = self.sequence->items;
  int64_t at = 0;
  if (!read_integer(eval.heap(), args[0], at) || !eval.heap().work(1 + items.size / 8)) return Value::failure();
  const auto size = static_cast<int64_t>(items.size);
  at = std::clamp<int64_t>(at < 0 ? std::max<int64_t>(at, -size) + size : at, 0, size);
  if (!items.push(eval.heap(), args[1])) return Value::failure();
  std::rotate(items.begin() + at, items.end() - 1, items.end());
  return Value::none();
}

Value remove_at(HeapVector<Value>& items, size_t at) {
  const Value v = items.items[at];
  for (size_t i = at + 1; i < items.size; ++i) items.items[i - 1] = items.items[i];
  --items.size;
  return v;
}

Value run_list_pop(Evaluator& eval, Value self, Arguments& args) {
  auto& items = self.sequence->items;
  int64_t at = -1;
  if (args.given(0) && !read_integer(eval.heap(), args[0], at)) return Value::failure();
  if (items.size == 0) return fail_type(eval.heap(), "pop from empty list");
  if (at < 0) at += static_cast<int64_t>(items.size);
  if (at < 0 || at >= static_cast<int64_t>(items.size)) return fail_type(eval.heap(), "pop index out of range");
  if (!eval.heap().work(1 + items.size / 8)) return Value::failure();
  return remove_at(items, static_cast<size_t>(at));
}

Value run_remove(Evaluator& eval, Value self, Arguments& args) {
  auto& items = self.sequence->items;
  for (size_t i = 0; i < items.size; ++i) {
    if (!equal(eval.heap(), items.items[i], args[0])) continue;
    remove_at(items, i);
    return Value::none();
  }
  return fail_type(eval.heap(), "list.remove(x): x not in list");
}

Value run_list_reverse(Evaluator& eval, Value self, Arguments&) {
  if (!eval.heap().work(1 + self.sequence->items.size / 8)) return Value::failure();
  std::reverse(self.sequence->items.begin(), self.sequence->items.end());
  return Value::none();
}

Value run_list_sort(Evaluator& eval, Value self, Arguments& args) {
  if (args.given(0) && !args[0].is(Kind::none)) return fail_type(eval.heap(), "list.sort(key=...) is not supported; use the sort filter");
  Arguments filter_args;
  for (Value& v : filter_args.bound) v = Value::of_kind(Kind::missing);
  filter_args.bound[0] = Value::of(read_flag(args, 1));
  filter_args.bound[1] = Value::of(true);  // case-sensitive, as Python sorts
  const Value sorted = find_filter("sort")->run(eval, self, filter_args);
  if (sorted.failed()) return sorted;
  self.sequence->items = sorted.sequence->items;
  return Value::none();
}

Value run_list_index(Evaluator& eval, Value self, Arguments& args) {
  const auto& items = self.sequence->items;
  const auto size = static_cast<int64_t>(items.size);
  int64_t from = 0;
  int64_t to = size;
  if (!read_optional_integer(eval.heap(), args, 1, from) || !read_optional_integer(eval.heap(), args, 2, to)) return Value::failure();
  if (from < 0) from = std::max<int64_t>(from + size, 0);
  if (to < 0) to += size;
  for (int64_t i = from; i < std::min(to, size); ++i) {
    if (equal(eval.heap(), items.items[i], args[0])) return Value::of(i);
    if (eval.heap().failed()) return Value::failure();
  }
  return fail_type(eval.heap(), "the value is not in the list");
}

Value run_list_count(Evaluator& eval, Value self, Arguments& args) {
  int64_t count = 0;
  for (const Value& v : self.sequence->items) count += equal(eval.heap(), v, args[0]);
  return Value::of(count);
}

Value run_list_copy(Evaluator& eval, Value self, Arguments&) {
  Sequence* copy = to_list(eval.heap(), self);
  return copy == nullptr ? Value::failure() : Value::of(copy);
}

Value run_list_clear(Evaluator&, Value self, Arguments&) {
  self.sequence->items = {};
  return Value::none();
}

Value run_get(Evaluator& eval, Value self, Arguments& args) {
  const Value key = args[0];
  const Dict::Entry* entry = key.is_string() ? self.dict->find(key.text()) : self.dict->find(eval.heap(), key);
  if (entry != nullptr) return entry->value;
  return args.given(1) ? args[1] : Value::none();
}

Value view_of(Evaluator& eval, Value self, Flavor flavor) {
  Heap& heap = eval.heap();
  Sequence* out = make_sequence(heap, flavor);
  if (!out->items.reserve(heap, self.dict->live)) return Value::failure();
  for (const Dict::Entry& entry : self.dict->entries) {
    if (!entry.live) continue;
    const Value v = flavor == Flavor::keys ? entry.key : flavor == Flavor::values ? entry.value : pair_of(heap, entry.key, entry.value);
    if (v.failed() || !heap.work(1) || !out->items.push(heap, v)) return Value::failure();
  }
  return Value::of(out);
}
Value run_keys(Evaluator& e, Value self, Arguments&) { return view_of(e, self, Flavor::keys); }
Value run_values(Evaluator& e, Value self, Arguments&) { return view_of(e, self, Flavor::values); }
Value run_items(Evaluator& e, Value self, Arguments&) { return view_of(e, self, Flavor::items); }

Value run_dict_pop(Evaluator& eval, Value self, Arguments& args) {
  Dict::Entry* entry = self.dict->find(eval.heap(), args[0]);
  if (entry == nullptr) return args.given(1) ? args[1] : fail_type(eval.heap(), "pop(): the dictionary lacks the key");
  const Value v = entry->value;
  self.dict->erase(entry);
  return v;
}

Value run_popitem(Evaluator& eval, Value self, Arguments&) {
  auto& entries = self.dict->entries;
  for (size_t i = entries.size; i-- > 0;) {
    if (!eval.heap().work(1)) return Value::failure();
    if (!entries.items[i].live) continue;
    const Value pair = pair_of(eval.heap(), entries.items[i].key, entries.items[i].value);
    self.dict->erase(&entries.items[i]);
    return pair;
  }
  return fail_type(eval.heap(), "popitem(): dictionary is empty");
}

Value run_setdefault(Evaluator& eval, Value self, Arguments& args) {
  const Dict::Entry* entry = self.dict->find(eval.heap(), args[0]);
  if (entry != nullptr) return entry->value;
  const Value v = args.given(1) ? args[1] : Value::none();
  return self.dict->set(eval.heap(), args[0], v) ? v : Value::failure();
}

Value run_update(Evaluator& eval, Value self, Arguments& args) {
  const Value more = find_global("dict")->run(eval, self, args);
  if (more.failed()) return more;
  for (const Dict::Entry& entry : more.dict->entries) {
    if (!self.dict->set(eval.heap(), entry.key, entry.value)) return Value::failure();
  }
  return Value::none();
}

Value run_dict_copy(Evaluator& eval, Value self, Arguments&) {
  Dict* copy = eval.heap().make<Dict>();
  for (const Dict::Entry& entry : self.dict->entries) {
    if (entry.live && !copy->set(eval.heap(), entry.key, entry.value)) return Value::failure();
  }
  return Value::of(copy);
}

Value run_dict_clear(Evaluator&, Value self, Arguments&) {
  *self.dict = Dict();
  return Value::none();
}

Value run_loop_cycle(Evaluator& eval, Value self, Arguments& args) {
  if (args.positional.size == 0) return fail_type(eval.heap(), "no items for cycling given");
  return args.positional.items[static_cast<size_t>(self.loop->index0) % args.positional.size];
}

Value run_loop_changed(Evaluator& eval, Value self, Arguments& args) {
  Sequence* now = make_sequence(eval.heap(), Flavor::tuple);
  now->items = args.positional;
  const Value before = self.loop->changed;
  const bool same = !before.is(Kind::missing) && equal(eval.heap(), before, Value::of(now));
  self.loop->changed = Value::of(now);
  return Value::of(!same);
}

Value run_cycler_next(Evaluator&, Value self, Arguments&) {
  CyclerValue& c = *self.cycler;
  const Value v = c.items.items[c.position];
  c.position = (c.position + 1) % c.items.size;
  return v;
}

Value run_cycler_reset(Evaluator&, Value self, Arguments&) {
  self.cycler->position = 0;
  return Value::none();
}

constexpr Builtin kListMethods[] = {
    {"append", "-object", 1, run_append},
    {"clear", "", 0, run_list_clear},
    {"copy", "", 0, run_list_copy},
    {"extend", "-iterable", 1, run_extend},
    {"insert", "-index -object", 2, run_insert},
    {"pop", "-index", 0, run_list_pop},
    {"remove", "-value", 1, run_remove},
    {"reverse", "", 0, run_list_reverse},
    {"sort", "key reverse", 0, run_list_sort},
    {"count", "-value", 1, run_list_count},  // from here on tuples have them too
    {"index", "-value -start -stop", 1, run_list_index},
};
constexpr size_t kTupleMethodsBegin = 9;

constexpr Builtin kDictMethods[] = {
    {"clear", "", 0, run_dict_clear},
    {"copy", "", 0, run_dict_copy},
    {"get", "-key -default", 1, run_get},
    {"items", "", 0, run_items},
    {"keys", "", 0, run_keys},
    {"pop", "-key -default", 1, run_dict_pop},
    {"popitem", "", 0, run_popitem},
    {"setdefault", "-key -default", 1, run_setdefault},
    {"update", "*", 0, run_update},
    {"values", "", 0, run_values},
};

constexpr Builtin kLoopMethods[] = {
    {"changed", "*", 0, run_loop_changed},
    {"cycle", "*", 0, run_loop_cycle},
};

constexpr Builtin kCyclerMethods[] = {
    {"next", "", 0, run_cycler_next},
    {"reset", "", 0, run_cycler_reset},
};

template <size_t kCount>
const Builtin* find_in(const Builtin (&table)[kCount], std::string_view name, size_t first = 0) {
  for (size_t i = first; i < kCount; ++i) {
    if (table[i].name == name) return &table[i];
  }
  return nullptr;
}

}  // namespace

const Builtin* find_method(Value object, std::string_view name) {
  switch (object.kind) {
    case Kind::string: return find_string_method(name);
    case Kind::dict: return find_in(kDictMethods, name);
    case Kind::loop: return find_in(kLoopMethods, name);
    case Kind::cycler: return find_in(kCyclerMethods, name);
    case Kind::sequence:
      if (object.sequence->flavor == Flavor::list) return find_in(kListMethods, name);
      if (object.sequence->flavor == Flavor::tuple) return find_in(kListMethods, name, kTupleMethodsBegin);
      return nullptr;
    default: return nullptr;
  }
}

}  // namespace sluice::text::jinja
