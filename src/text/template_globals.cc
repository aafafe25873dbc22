// Global functions: namespace, range, dict, raise_exception, strftime_now, cycler, joiner (template_builtins.h).
// Contract: the clock is the one in RenderOptions; nothing else comes from outside. Next: template_format.cc.
#include "text/template_arguments.h"

namespace sluice::text::jinja {

namespace {

bool add_pairs(Heap& heap, Dict& out, Value from) {
  if (from.is(Kind::dict)) {
    for (const Dict::Entry& entry : from.dict->entries) {
      if (entry.live && !out.set(heap, entry.key, entry.value)) return false;
    }
    return true;
  }
  Iterator source;
  if (!Iterator::open(heap, from, source)) return false;
  for (Value pair; source.next(heap, pair);) {
    const Sequence* parts = to_list(heap, pair);
    if (parts == nullptr) return false;
    if (parts->items.size != 2) {
      heap.fail("a dictionary is made from pairs of key and value");
      return false;
    }
    if (!out.set(heap, parts->items.items[0], parts->items.items[1])) return false;
  }
  return !heap.failed();
}

Dict* make_dict(Heap& heap, const Arguments& args) {
  Dict* dict = heap.make<Dict>();
  if (args.positional.size > 1) {
    heap.fail(fmt::format("dict expected at most 1 argument, got {}", args.positional.size));
    return nullptr;
  }
  if (args.positional.size == 1 && !add_pairs(heap, *dict, args.positional.items[0])) return nullptr;
  for (const Keyword& k : args.keywords) {
    if (!dict->set(heap, Value::of(k.name), k.value)) return nullptr;
  }
  return dict;
}

Value run_dict(Evaluator& eval, Value, Arguments& args) {
  Dict* dict = make_dict(eval.heap(), args);
  return dict == nullptr ? Value::failure() : Value::of(dict);
}

Value run_namespace(Evaluator& eval, Value, Arguments& args) {
  Dict* dict = make_dict(eval.heap(), args);
  return dict == nullptr ? Value::failure() : Value::of(dict, Kind::name_space);
}

// A range is its three numbers; only iterating over it costs anything (reliability K7: range(10**9)).
Value run_range(Evaluator& eval, Value, Arguments& args) {
  Heap& heap = eval.heap();
  int64_t start = 0;
  int64_t stop = 0;
  int64_t step = 1;
  if (!read_integer(heap, args[0], stop)) return Value::failure();
  if (args.given(1)) {
    start = stop;
    if (!read_integer(heap, args[1], stop)) return Value::failure();
  }
  if (args.given(2) && !read_integer(heap, args[2], step)) return Value::failure();
  if (step == 0) return fail_type(heap, "range() arg 3 must not be zero");
  for (const int64_t bound : {start, stop, step}) {
    if (bound > kRangeBoundMax || bound < -kRangeBoundMax) {
      return fail_type(heap, fmt::format("range({}) is beyond the limit of {}", bound, kRangeBoundMax));
    }
  }
  const int64_t span = step > 0 ? stop - start : start - stop;
  const int64_t pace = step > 0 ? step : -step;
  Value v = Value::of_kind(Kind::range);
  v.range = heap.make<RangeValue>(RangeValue{start, stop, step, span <= 0 ? 0 : (span - 1) / pace + 1});
  return v;
}

Value run_raise_exception(Evaluator& eval, Value, Arguments& args) {
  const Str* message = to_str(eval.heap(), args[0]);
  if (message != nullptr) eval.heap().fail(fmt::format("the template refuses: {}", message->view()));
  return Value::failure();
}

Value run_strftime_now(Evaluator& eval, Value, Arguments& args) {
  const Str* format = read_string(eval.heap(), args[0]);
  return format == nullptr ? Value::failure() : Value::of(format_time(eval.heap(), format, *eval.options().now));
}

Value run_cycler(Evaluator& eval, Value, Arguments& args) {
  if (args.keywords.size > 0 || args.positional.size == 0) return fail_type(eval.heap(), "at least one item has to be provided");
  Value v = Value::of_kind(Kind::cycler);
  v.cycler = eval.heap().make<CyclerValue>(CyclerValue{args.positional, 0});
  return v;
}

Value run_joiner(Evaluator& eval, Value, Arguments& args) {
  Heap& heap = eval.heap();
  Value v = Value::of_kind(Kind::joiner);
  v.cycler = heap.make<CyclerValue>(CyclerValue{{}, 0});
  const Value separator = args.given(0) ? args[0] : Value::of(copy_string(heap, ", ", false));
  return !separator.failed() && v.cycler->items.push(heap, separator) ? v : Value::failure();
}

constexpr Builtin kGlobals[] = {
    {"cycler", "*", 0, run_cycler},
    {"dict", "*", 0, run_dict},
    {"joiner", "sep", 0, run_joiner},
    {"namespace", "*", 0, run_namespace},
    {"raise_exception", "message", 1, run_raise_exception},
    {"range", "-start -stop -step", 1, run_range},
    {"strftime_now", "format", 1, run_strftime_now},
};

}  // namespace

const Builtin* find_global(std::string_view name) {
  for (const Builtin& entry : kGlobals) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace sluice::text::jinja
