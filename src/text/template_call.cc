// Calls (template_eval.h): arguments, macros, filters and tests. Contract: a macro runs in a fresh frame whose parent is the frame that
// defined it; self-calling macros end at the depth limit. Next: template_filters.cc.
#include <utility>

#include <fmt/format.h>

#include "text/template_eval.h"

namespace sluice::text::jinja {

bool Evaluator::arguments_of(const CallSite& site, Arguments& args) {
  for (uint32_t i = 0; i < ast_.list_size(site.positional); ++i) {
    const Value v = evaluate(ast_.list_item(site.positional, i));
    if (v.failed() || !args.positional.push(heap_, v)) return false;
  }
  for (uint32_t i = 0; i < ast_.list_size(site.keywords); i += 2) {
    const Value v = evaluate(ast_.list_item(site.keywords, i + 1));
    if (v.failed() || !args.keywords.push(heap_, Keyword{ast_.string(ast_.list_item(site.keywords, i)), v})) return false;
  }
  if (site.rest != kNone) {
    const Value rest = evaluate(site.rest);
    Iterator items;
    if (rest.failed() || !Iterator::open(heap_, rest, items)) return false;
    for (Value v; items.next(heap_, v);) {
      if (!args.positional.push(heap_, v)) return false;
    }
  }
  if (site.rest_keywords != kNone) {
    const Value rest = evaluate(site.rest_keywords);
    if (rest.failed()) return false;
    if (!rest.is(Kind::dict)) {
      heap_.fail("the argument after ** must be a mapping");
      return false;
    }
    for (const Dict::Entry& entry : rest.dict->entries) {
      if (!entry.live) continue;
      if (!entry.key.is_string()) {
        heap_.fail("keywords must be strings");
        return false;
      }
      for (uint32_t i = 0; i < ast_.list_size(site.keywords) / 2; ++i) {  // the dictionary's own keys differ
        if (args.keywords.items[i].name->view() != entry.key.text()) continue;
        heap_.fail(fmt::format("two values for the keyword argument '{}'", entry.key.text()));
        return false;
      }
      if (!args.keywords.push(heap_, Keyword{entry.key.string, entry.value})) return false;
    }
  }
  return !heap_.failed();
}

Value Evaluator::evaluate_call(const Node& node, Value caller) {
  const uint32_t line = node.line;
  const Node& callee = ast_.nodes[node.a];
  Value object;
  const Builtin* method = nullptr;
  if (callee.kind == NodeKind::attribute) {  // x.method(...) needs no bound method
    object = evaluate(callee.a);
    if (object.failed()) return object;
    method = find_method(object, ast_.string(callee.b)->view());
    if (method == nullptr) object = attribute(object, ast_.string(callee.b));
  } else {
    object = evaluate(node.a);
  }
  if (object.failed()) return object;
  Arguments args;
  if (!arguments_of(ast_.calls[node.b], args)) return Value::failure();
  if (!caller.is(Kind::missing)) {
    static const Str kCaller = [] {
      Str s;
      s.data = "caller";
      s.size = s.chars = 6;
      return s;
    }();
    if (!args.keywords.push(heap_, Keyword{&kCaller, caller})) return Value::failure();
  }
  line_ = line;
  const Value result = method != nullptr ? run_builtin(*this, *method, object, args) : call(object, args);
  if (!result.failed()) line_ = line;
  return result;
}

Value Evaluator::call(Value callee, Arguments& args) {
  switch (callee.kind) {
    case Kind::undefined: return fail_undefined(heap_, callee);
    case Kind::macro: return call_macro(*callee.macro, args);
    case Kind::builtin: return run_builtin(*this, *callee.builtin->entry, callee.builtin->self, args);
    case Kind::joiner: {  // '' the first time, the separator afterwards
      if (args.positional.size + args.keywords.size > 0) return fail_type(heap_, "a joiner takes no arguments");
      return callee.cycler->position++ == 0 ? Value::of(heap_.make<Str>()) : callee.cycler->items.items[0];
    }
    case Kind::loop: return fail_type(heap_, "recursive loops are not supported");
    default: return fail_type(heap_, fmt::format("'{}' object is not callable", type_name(callee)));
  }
}

namespace {

// Takes a keyword argument out of the list.
bool take_keyword(Arguments& args, std::string_view name, Value& out) {
  for (size_t i = 0; i < args.keywords.size; ++i) {
    if (args.keywords.items[i].name->view() != name) continue;
    out = args.keywords.items[i].value;
    for (size_t k = i + 1; k < args.keywords.size; ++k) args.keywords.items[k - 1] = args.keywords.items[k];
    --args.keywords.size;
    return true;
  }
  return false;
}

}  // namespace

// Fills the parameters' slots of frame_; defaults come later, because they may read other parameters.
bool Evaluator::bind_macro(const MacroValue& macro, const Function& function, Arguments& args) {
  const std::string_view name = macro.name == nullptr ? "caller" : macro.name->view();
  const size_t count = function.parameters.size();
  bool found_caller = false;
  for (size_t i = 0; i < count; ++i) {
    Value& target = frame_->slots[function.parameters[i].slot];
    const std::string_view parameter = ast_.string(function.parameters[i].name)->view();
    found_caller = found_caller || parameter == "caller";
    if (i < args.positional.size) target = args.positional.items[i];
    else take_keyword(args, parameter, target);
  }
  if (function.caller_slot != kNone && !found_caller) {
    Value caller = Value();
    take_keyword(args, "caller", caller);
    frame_->slots[function.caller_slot] = caller.is(Kind::none) ? Value() : caller;
  }
  if (function.keywords_slot != kNone) {
    Dict* keywords = heap_.make<Dict>();
    for (const Keyword& k : args.keywords) {
      if (!keywords->set(heap_, Value::of(k.name), k.value)) return false;
    }
    frame_->slots[function.keywords_slot] = Value::of(keywords);
  } else if (args.keywords.size > 0) {
    heap_.fail(fmt::format("macro '{}' takes no keyword argument '{}'", name, args.keywords.items[0].name->view()));
    return false;
  }
  if (function.rest_slot != kNone) {
    Sequence* rest = make_sequence(heap_, Flavor::tuple);
    for (size_t i = count; i < args.positional.size; ++i) {
      if (!rest->items.push(heap_, args.positional.items[i])) return false;
    }
    frame_->slots[function.rest_slot] = Value::of(rest);
  } else if (args.positional.size > count) {
    heap_.fail(fmt::format("macro '{}' takes not more than {} arguments", name, count));
    return false;
  }
  return true;
}

Value Evaluator::call_macro(const MacroValue& macro, Arguments& args) {
  const Function& function = ast_.functions[macro.function];
  if (!heap_.enter()) return Value::failure();
  Frame* const outer = frame_;
  Value text = Value::failure();
  Value* slots = heap_.array<Value>(function.slot_count);
  if (slots != nullptr) {
    heap_.work(function.slot_count / 8);
    for (uint32_t i = 0; i < function.slot_count; ++i) new (slots + i) Value(Value::of_kind(Kind::missing));
    frame_ = heap_.make<Frame>(Frame{macro.closure, slots});
    bool bound = bind_macro(macro, function, args);
    if (bound) enter_scope(function.scope);
    for (const Parameter& p : function.parameters) {
      Value& target = frame_->slots[p.slot];
      if (!bound || !target.is(Kind::missing)) continue;
      target = p.fallback == kNone ? make_undefined(heap_, ast_.string(p.name), nullptr) : evaluate(p.fallback);
      bound = !target.failed();
    }
    if (bound) capture(function.body, text);
  }
  frame_ = outer;
  heap_.leave();
  return heap_.failed() ? Value::failure() : text;
}

Value Evaluator::evaluate_filter(const Node& node) {
  const Value input = evaluate(node.a);
  if (input.failed()) return input;
  const CallSite& site = ast_.calls[node.b];
  Arguments args;
  if (!arguments_of(site, args)) return Value::failure();
  line_ = node.line;
  if (site.builtin == nullptr) return fail_type(heap_, fmt::format("no filter named '{}'", ast_.string(node.c)->view()));
  return run_builtin(*this, *site.builtin, input, args);
}

Value Evaluator::evaluate_test(const Node& node) {
  const Value input = evaluate(node.a);
  if (input.failed()) return input;
  const CallSite& site = ast_.calls[node.b];
  Arguments args;
  if (!arguments_of(site, args)) return Value::failure();
  line_ = node.line;
  if (site.builtin == nullptr) return fail_type(heap_, fmt::format("no test named '{}'", ast_.string(node.c)->view()));
  const Value result = run_builtin(*this, *site.builtin, input, args);
  return result.failed() ? result : Value::of(truthy(result));
}

namespace {

// Calls visit(index, name, positional_only) for each declared parameter.
template <class Visit>
size_t each_parameter(std::string_view parameters, const Visit& visit) {
  size_t index = 0;
  while (!parameters.empty()) {
    const size_t blank = parameters.find(' ');
    std::string_view name = parameters.substr(0, blank);
    parameters = blank == std::string_view::npos ? std::string_view() : parameters.substr(blank + 1);
    const bool positional_only = name[0] == '-';
    visit(index++, positional_only ? name.substr(1) : name, positional_only);
  }
  return index;
}

}  // namespace

Value run_builtin(Evaluator& eval, const Builtin& entry, Value self, Arguments& args) {
  Heap& heap = eval.heap();
  if (entry.parameters == "*") return entry.run(eval, self, args);
  for (Value& v : args.bound) v = Value::of_kind(Kind::missing);
  size_t used = 0;
  const size_t count = each_parameter(entry.parameters, [&](size_t i, std::string_view name, bool positional_only) {
    if (i < args.positional.size) {
      args.bound[i] = args.positional.items[i];
      return;
    }
    for (const Keyword& k : args.keywords) {
      if (positional_only || k.name->view() != name) continue;
      args.bound[i] = k.value;
      ++used;
    }
  });
  if (args.positional.size > count) {
    return fail_type(heap, fmt::format("{}() takes at most {} arguments, got {}", entry.name, count, args.positional.size));
  }
  if (used < args.keywords.size) {
    return fail_type(heap, fmt::format("{}() got an unexpected keyword argument '{}'", entry.name, args.keywords.items[0].name->view()));
  }
  for (size_t i = 0; i < entry.required; ++i) {
    if (!args.given(i)) return fail_type(heap, fmt::format("{}() needs at least {} arguments", entry.name, entry.required));
  }
  if (!heap.enter()) return Value::failure();
  const Value result = entry.run(eval, self, args);
  heap.leave();
  return heap.failed() ? Value::failure() : result;
}

}  // namespace sluice::text::jinja
