// Runs an Ast: statements write to a Builder, expressions give Values. One Evaluator is one render.
// Contract: every node costs a step and a level of depth while it runs, so any template ends within its budgets; after a failure
// (heap().failed()) the run unwinds. Next: template_eval.cc (statements), template_operators.cc (expressions), template_call.cc (calls).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "text/template_ast.h"
#include "text/template_builtins.h"
#include "text/template_value.h"

namespace sluice::text::jinja {

struct Frame {
  Frame* parent;
  Value* slots;
};

struct MacroValue {
  uint32_t function;
  Frame* closure;
  const Str* name;  // nullptr: a call block's body
};

// A running `for`, and what `loop` shows of it.
struct LoopState {
  const Loop* loop;
  Frame* frame;
  Value iterable;
  Iterator items;
  Sequence* rest = nullptr;  // items read ahead to learn the length
  size_t rest_position = 0;
  int64_t index0 = -1;
  int64_t length = -1;
  Value current = Value::of_kind(Kind::missing);
  Value before = Value::of_kind(Kind::missing);
  Value after = Value::of_kind(Kind::missing);
  Value changed = Value::of_kind(Kind::missing);  // what loop.changed() was last called with
};

class Evaluator {
 public:
  Evaluator(const Ast& ast, const nlohmann::ordered_json& context, const RenderOptions& options);

  Heap& heap() { return heap_; }
  const RenderOptions& options() const { return options_; }

  // Runs the whole template into `out`; false: the heap has the sentence.
  bool run(Builder& out);
  std::string error() const;

  Value attribute(Value object, const Str* name);
  Value item(Value object, Value key);
  Value call(Value callee, Arguments& args);
  Value add(Value a, Value b);
  Value slice(Value object, Value start, Value stop, Value step);
  Value loop_attribute(LoopState& state, std::string_view name);

 private:
  enum class Flow : uint8_t { normal, break_, continue_, failed };

  // statements (template_eval.cc)
  Flow execute_list(ListId list);
  Flow execute(NodeId id);
  Flow execute_if(const Node& node);
  Flow execute_for(const Node& node);
  Flow execute_loop_body(LoopState& state, bool& ran);
  Flow execute_set_block(const Node& node);
  Flow execute_filter_block(const Node& node);
  Flow execute_with(const Node& node);
  Flow execute_call_block(const Node& node);
  Flow capture(ListId body, Value& out);
  Flow write(Value v);
  bool assign(NodeId target, Value v);
  bool assign_tuple(const Node& target, Value v);
  void enter_scope(const Scope& scope);
  void leave_scope(const Scope& scope);
  Value resolve(ConstId name);
  Value make_macro(uint32_t function);
  bool next_item(LoopState& state, Value& out);
  bool advance(LoopState& state);
  bool peek(LoopState& state);
  bool learn_length(LoopState& state);
  Value* slot(uint32_t slot, uint32_t hops);

  // expressions (template_operators.cc)
  Value evaluate(NodeId id);
  Value evaluate_inner(const Node& node);
  Value evaluate_name(const Node& node);
  Value evaluate_slice(const Node& node);
  Value evaluate_compare(const Node& node);
  Value evaluate_concat(const Node& node);
  Value evaluate_collection(const Node& node);
  Value evaluate_dict(const Node& node);
  Value evaluate_unary(const Node& node);
  Value compare_pair(Comparison op, Value a, Value b);
  Value binary(Binary op, Value a, Value b);
  Value multiply(Value a, Value b);
  Value integer_operation(Binary op, int64_t a, int64_t b, bool input);
  Value real_operation(Binary op, double a, double b, bool input);
  Value repeat(Value what, int64_t count);

  // calls (template_call.cc)
  bool arguments_of(const CallSite& site, Arguments& args);
  Value evaluate_call(const Node& node, Value caller);
  Value evaluate_filter(const Node& node);
  Value evaluate_test(const Node& node);
  Value call_macro(const MacroValue& macro, Arguments& args);
  bool bind_macro(const MacroValue& macro, const Function& function, Arguments& args);

  const Ast& ast_;
  const nlohmann::ordered_json& context_;
  const RenderOptions& options_;
  Heap heap_;
  Frame* frame_ = nullptr;
  Builder* out_ = nullptr;
  Value captured_;               // for the filter of a set or filter block
  std::vector<Value> resolved_;  // context and global names already looked up
  uint32_t line_ = 0;
};

// A value from the context. `input`: does its text count as the client's?
Value import_json(Heap& heap, const nlohmann::ordered_json& json, bool input);
// The same for the list of messages: the role names that every API knows are the template's words, so that '<|' + role + '|>' is a token.
Value import_messages(Heap& heap, const nlohmann::ordered_json& json);

}  // namespace sluice::text::jinja
