// Statements (template_eval.h): output, branches, loops, assignments and captured blocks.
// Contract: out_ and frame_ are as before when a function returns, also on failure. Next: template_operators.cc.
#include "text/template_eval.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace sluice::text::jinja {

Evaluator::Evaluator(const Ast& ast, const nlohmann::ordered_json& context, const RenderOptions& options)
    : ast_(ast), context_(context), options_(options), heap_(options.limits), resolved_(ast.strings.size(), Value::of_kind(Kind::missing)) {}

std::string Evaluator::error() const { return line_ == 0 ? heap_.error() : fmt::format("template line {}: {}", line_, heap_.error()); }

bool Evaluator::run(Builder& out) {
  const Function& root = ast_.functions[0];
  Frame frame{nullptr, heap_.array<Value>(root.slot_count)};
  if (frame.slots == nullptr) return false;
  for (uint32_t i = 0; i < root.slot_count; ++i) new (frame.slots + i) Value(Value::of_kind(Kind::missing));
  frame_ = &frame;
  out_ = &out;
  enter_scope(root.scope);
  if (!heap_.failed()) execute_list(root.body);
  frame_ = nullptr;
  out_ = nullptr;
  return !heap_.failed();
}

Value* Evaluator::slot(uint32_t slot, uint32_t hops) {
  Frame* frame = frame_;
  for (; hops > 0; --hops) frame = frame->parent;
  return frame->slots + slot;
}

Value Evaluator::resolve(ConstId name) {
  Value& known = resolved_[name];
  if (!known.is(Kind::missing)) return known.is_undefined() ? Value::of_kind(Kind::missing) : known;
  known = Value();  // looked up, not there
  const std::string_view text = ast_.string(name)->view();
  if (const auto found = context_.find(text); found != context_.end()) {
    bool trusted = false;
    for (const std::string& t : options_.trusted) trusted = trusted || t == text;
    known = text == "messages" && !trusted ? import_messages(heap_, *found) : import_json(heap_, *found, !trusted);
    return known;
  }
  if (text == "strftime_now" && !options_.now.has_value()) return Value::of_kind(Kind::missing);
  const Builtin* global = find_global(text);
  if (global == nullptr) return Value::of_kind(Kind::missing);
  known = Value::of_kind(Kind::builtin);
  known.builtin = heap_.make<BuiltinValue>(BuiltinValue{global, Value::none()});
  return known;
}

void Evaluator::enter_scope(const Scope& scope) {
  heap_.work(scope.size() / 8);
  for (const Load& load : scope) {
    Value& target = frame_->slots[load.slot];
    switch (load.action) {
      case Load::Action::parameter: break;
      case Load::Action::resolve: target = resolve(load.name); break;
      case Load::Action::alias: target = *slot(load.outer.slot, load.outer.hops); break;
      case Load::Action::clear: target = Value::of_kind(Kind::missing); break;
    }
  }
}

void Evaluator::leave_scope(const Scope& scope) {
  for (const Load& load : scope) frame_->slots[load.slot] = Value::of_kind(Kind::missing);
}

Evaluator::Flow Evaluator::execute_list(ListId list) {
  const uint32_t count = ast_.list_size(list);
  for (uint32_t i = 0; i < count; ++i) {
    const Flow flow = execute(ast_.list_item(list, i));
    if (flow != Flow::normal) return flow;
  }
  return Flow::normal;
}

Evaluator::Flow Evaluator::execute(NodeId id) {
  const Node& node = ast_.nodes[id];
  line_ = node.line;
  if (!heap_.work(1)) return Flow::failed;
  switch (node.kind) {
    case NodeKind::text: return write(Value::of(ast_.string(node.a)));
    case NodeKind::output: return write(evaluate(node.a));
    case NodeKind::set: {
      const Value v = evaluate(node.b);
      return !v.failed() && assign(node.a, v) ? Flow::normal : Flow::failed;
    }
    case NodeKind::macro: return assign(node.b, make_macro(node.a)) ? Flow::normal : Flow::failed;
    case NodeKind::break_: return Flow::break_;
    case NodeKind::continue_: return Flow::continue_;
    default: break;
  }
  if (!heap_.enter()) return Flow::failed;
  Flow flow = Flow::normal;
  switch (node.kind) {
    case NodeKind::if_: flow = execute_if(node); break;
    case NodeKind::for_: flow = execute_for(node); break;
    case NodeKind::set_block: flow = execute_set_block(node); break;
    case NodeKind::filter_block: flow = execute_filter_block(node); break;
    case NodeKind::with: flow = execute_with(node); break;
    case NodeKind::call_block: flow = execute_call_block(node); break;
    default: {  // scope
      const Block& block = ast_.blocks[node.c];
      enter_scope(block.scope);
      flow = execute_list(block.body);
      leave_scope(block.scope);
    }
  }
  heap_.leave();
  return flow;
}

Evaluator::Flow Evaluator::write(Value v) {
  append_str(*out_, heap_, v);
  if (out_->size() > heap_.limits().output_bytes) {
    heap_.fail(fmt::format("the template writes more than {} bytes (the limit for one render)", heap_.limits().output_bytes));
  }
  return heap_.failed() ? Flow::failed : Flow::normal;
}

Evaluator::Flow Evaluator::execute_if(const Node& node) {
  for (uint32_t i = 0; i < ast_.list_size(node.a); i += 2) {
    const Value test = evaluate(ast_.list_item(node.a, i));
    if (test.failed()) return Flow::failed;
    if (truthy(test)) return execute_list(ast_.list_item(node.a, i + 1));
  }
  return node.b == kNone ? Flow::normal : execute_list(node.b);
}

Evaluator::Flow Evaluator::execute_for(const Node& node) {
  const Loop& loop = ast_.loops[node.a];
  const Value iterable = evaluate(loop.iterable);
  if (iterable.failed()) return Flow::failed;
  LoopState& state = *heap_.make<LoopState>();
  state.loop = &loop;
  state.frame = frame_;
  state.iterable = iterable;
  if (!Iterator::open(heap_, iterable, state.items)) return Flow::failed;
  if (loop.test != kNone) enter_scope(loop.test_scope);
  bool ran = false;
  const Flow flow = execute_loop_body(state, ran);
  leave_scope(loop.body_scope);
  if (flow == Flow::failed || heap_.failed()) return Flow::failed;
  if (ran || loop.otherwise == kNone) return Flow::normal;
  enter_scope(loop.otherwise_scope);
  const Flow last = execute_list(loop.otherwise);
  leave_scope(loop.otherwise_scope);
  return last;
}

// `ran` is true once an iteration reached its end: only then does Jinja skip the `else`.
Evaluator::Flow Evaluator::execute_loop_body(LoopState& state, bool& ran) {
  const Loop& loop = *state.loop;
  while (advance(state)) {
    if (loop.loop_slot != kNone) {
      Value self = Value::of_kind(Kind::loop);
      self.loop = &state;
      frame_->slots[loop.loop_slot] = self;
    }
    if (!assign(loop.target, state.current)) return Flow::failed;
    enter_scope(loop.body_scope);
    const Flow flow = execute_list(loop.body);
    if (flow == Flow::failed || flow == Flow::break_) return flow;
    if (flow == Flow::normal) ran = true;
  }
  return heap_.failed() ? Flow::failed : Flow::normal;
}

// The next item that passes the loop's test.
bool Evaluator::next_item(LoopState& state, Value& out) {
  if (state.rest != nullptr) {
    if (state.rest_position >= state.rest->items.size) return false;
    out = state.rest->items.items[state.rest_position++];
    return true;
  }
  const Loop& loop = *state.loop;
  if (loop.test == kNone) return state.items.next(heap_, out);
  Frame* const caller = std::exchange(frame_, state.frame);
  bool found = false;
  while (!found && state.items.next(heap_, out)) {
    if (!assign(loop.test_target, out)) break;
    const Value passes = evaluate(loop.test);
    if (passes.failed()) break;
    found = truthy(passes);
  }
  frame_ = caller;
  return found && !heap_.failed();
}

bool Evaluator::advance(LoopState& state) {
  Value next;
  if (!state.after.is(Kind::missing)) {
    next = std::exchange(state.after, Value::of_kind(Kind::missing));
  } else if (!next_item(state, next)) {
    return false;
  }
  ++state.index0;
  state.before = state.current;
  state.current = next;
  return true;
}

bool Evaluator::peek(LoopState& state) {
  if (!state.after.is(Kind::missing)) return true;
  return next_item(state, state.after) || (state.after = Value::of_kind(Kind::missing), false);
}

bool Evaluator::learn_length(LoopState& state) {
  if (state.length >= 0) return true;
  if (state.loop->test == kNone && has_length(state.iterable)) return length_of(heap_, state.iterable, state.length);
  Sequence* rest = make_sequence(heap_, Flavor::list);
  for (Value v; next_item(state, v);) {
    if (!rest->items.push(heap_, v)) return false;
  }
  if (heap_.failed()) return false;
  state.rest = rest;
  state.rest_position = 0;
  state.length = static_cast<int64_t>(rest->items.size) + state.index0 + 1 + (state.after.is(Kind::missing) ? 0 : 1);
  return true;
}

Value Evaluator::loop_attribute(LoopState& state, std::string_view name) {
  if (name == "index0") return Value::of(state.index0);
  if (name == "index") return Value::of(state.index0 + 1);
  if (name == "first") return Value::of(state.index0 == 0);
  if (name == "depth0") return Value::of(int64_t{0});
  if (name == "depth") return Value::of(int64_t{1});
  if (name == "previtem") return state.index0 == 0 ? Value() : state.before;
  if (name == "last" || name == "nextitem") {
    const bool more = peek(state);
    if (heap_.failed()) return Value::failure();
    return name == "last" ? Value::of(!more) : more ? state.after : Value();
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    if (!learn_length(state)) return Value::failure();
    return Value::of(state.length - (name == "length" ? 0 : name == "revindex" ? state.index0 : state.index0 + 1));
  }
  return Value::of_kind(Kind::missing);
}

Evaluator::Flow Evaluator::capture(ListId body, Value& out) {
  Builder builder(heap_);
  Builder* const outer = std::exchange(out_, &builder);
  const Flow flow = execute_list(body);
  out_ = outer;
  if (flow == Flow::normal) out = Value::of(builder.finish());
  return out.failed() ? Flow::failed : flow;
}

Evaluator::Flow Evaluator::execute_set_block(const Node& node) {
  const Block& block = ast_.blocks[node.c];
  enter_scope(block.scope);
  Value text;
  Flow flow = capture(block.body, text);
  if (flow == Flow::normal && node.b != kNone) {
    const Value outer = std::exchange(captured_, text);
    text = evaluate(node.b);
    captured_ = outer;
  }
  if (flow == Flow::normal && (text.failed() || !assign(node.a, text))) flow = Flow::failed;
  leave_scope(block.scope);
  return flow;
}

Evaluator::Flow Evaluator::execute_filter_block(const Node& node) {
  const Block& block = ast_.blocks[node.c];
  enter_scope(block.scope);
  Value text;
  Flow flow = capture(block.body, text);
  if (flow == Flow::normal) {
    const Value outer = std::exchange(captured_, text);
    text = evaluate(node.b);
    captured_ = outer;
    flow = text.failed() ? Flow::failed : write(text);
  }
  leave_scope(block.scope);
  return flow;
}

Evaluator::Flow Evaluator::execute_with(const Node& node) {
  const Block& block = ast_.blocks[node.c];
  enter_scope(block.scope);
  for (uint32_t i = 0; i < ast_.list_size(node.a); i += 2) {
    const Value v = evaluate(ast_.list_item(node.a, i + 1));
    if (v.failed() || !assign(ast_.list_item(node.a, i), v)) return Flow::failed;
  }
  const Flow flow = execute_list(block.body);
  leave_scope(block.scope);
  return flow;
}

Evaluator::Flow Evaluator::execute_call_block(const Node& node) {
  const Value result = evaluate_call(ast_.nodes[node.b], make_macro(node.a));
  return result.failed() ? Flow::failed : write(result);
}

Value Evaluator::make_macro(uint32_t function) {
  const ConstId name = ast_.functions[function].name;
  Value v = Value::of_kind(Kind::macro);
  v.macro = heap_.make<MacroValue>(MacroValue{function, frame_, name == kNone ? nullptr : ast_.string(name)});
  return v;
}

bool Evaluator::assign(NodeId target, Value v) {
  const Node& node = ast_.nodes[target];
  if (node.kind == NodeKind::name) {
    *slot(node.b, node.c) = v;
    return true;
  }
  if (node.kind == NodeKind::tuple) return assign_tuple(node, v);
  const Node& object = ast_.nodes[node.a];
  const Value space = *slot(object.b, object.c);
  if (!space.is(Kind::name_space)) {
    heap_.fail("cannot assign attribute on non-namespace object");
    return false;
  }
  return space.dict->set(heap_, Value::of(ast_.string(node.b)), v);
}

bool Evaluator::assign_tuple(const Node& target, Value v) {
  Iterator items;
  if (!Iterator::open(heap_, v, items)) return false;
  const uint32_t wanted = ast_.list_size(target.b);
  HeapVector<Value> values;
  Value next;
  while (values.size <= wanted && items.next(heap_, next)) {
    if (!values.push(heap_, next)) return false;
  }
  if (heap_.failed()) return false;
  if (values.size != wanted) {
    heap_.fail(values.size < wanted ? fmt::format("not enough values to unpack (expected {}, got {})", wanted, values.size)
                                    : fmt::format("too many values to unpack (expected {})", wanted));
    return false;
  }
  for (uint32_t i = 0; i < wanted; ++i) {
    if (!assign(ast_.list_item(target.b, i), values.items[i])) return false;
  }
  return true;
}

}  // namespace sluice::text::jinja
