// The parsed template: one flat array of nodes that refer to each other by index, with names already bound to variable slots.
// Contract: immutable after parsing, shared by all renders. Heights are bounded, so a walk over it may recurse.
// Next: template_parser.cc makes it, template_scope.cc binds names, template_eval.cc runs it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/template_string.h"
#include "text/template_value.h"

namespace sluice::text::jinja {

using NodeId = uint32_t;
using ListId = uint32_t;   // into Ast::lists: a count, then that many entries
using ConstId = uint32_t;  // into Ast::strings
inline constexpr uint32_t kNone = UINT32_MAX;

enum class NodeKind : uint8_t {
  // statements
  text,          // a: string
  output,        // a: expression
  if_,           // a: list of (test, list of statements) pairs; b: list of statements or kNone
  for_,          // a: index in Ast::loops
  set,           // a: target; b: value
  set_block,     // a: target; b: filter chain over `captured`, or kNone; c: index in Ast::blocks
  macro,         // a: index in Ast::functions; b: target (a name)
  call_block,    // a: index in Ast::functions; b: call
  filter_block,  // b: filter chain over `captured`; c: index in Ast::blocks
  with,          // a: list of (target, value) pairs; c: index in Ast::blocks
  scope,         // c: index in Ast::blocks
  break_,
  continue_,
  // expressions
  constant,     // a: index in Ast::constants
  name,         // a: name; b: slot; c: how many functions outward. Also a target
  captured,     // what a set or filter block has captured
  attribute,    // a: object; b: name
  item,         // a: object; b: key
  slice,        // a: object; b: list of start, stop, step (kNone where omitted)
  call,         // a: callee; b: index in Ast::calls
  filter,       // a: input; b: index in Ast::calls; c: name
  test,         // a: input; b: index in Ast::calls; c: name
  not_,         // a
  negative,     // a
  positive,     // a
  binary,       // op; a, b
  and_,         // a, b
  or_,          // a, b
  compare,      // a: first; b: list of (operator, expression) pairs
  concat,       // b: list
  conditional,  // a: test; b: then; c: else or kNone
  list,         // b: list
  tuple,        // b: list. Also a target
  dict,         // b: list of keys and values
  member,       // target only: a: a name node; b: attribute name
};

enum class Binary : uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class Comparison : uint8_t { equal, not_equal, less, less_equal, greater, greater_equal, in, not_in };

struct Node {
  NodeKind kind;
  uint8_t op = 0;
  uint16_t height = 1;
  uint32_t line = 0;
  uint32_t a = kNone;
  uint32_t b = kNone;
  uint32_t c = kNone;
};

// A variable: the slot in the frame `hops` functions outward.
struct SlotRef {
  uint32_t slot = kNone;
  uint32_t hops = 0;
};

// What entering a scope does to one of its variables.
struct Load {
  enum class Action : uint8_t { parameter, resolve, alias, clear };
  uint32_t slot;
  Action action;
  ConstId name;   // resolve
  SlotRef outer;  // alias
};

using Scope = std::vector<Load>;

struct Loop {
  NodeId target = kNone;
  NodeId iterable = kNone;
  NodeId test = kNone;
  NodeId test_target = kNone;  // the target again, bound to the test's own variables
  ListId body = kNone;
  ListId otherwise = kNone;
  uint32_t loop_slot = kNone;  // where `loop` lives, if the body reads it
  Scope body_scope;
  Scope test_scope;
  Scope otherwise_scope;
};

struct Block {
  ListId body = kNone;
  Scope scope;
};

struct Parameter {
  ConstId name;
  NodeId fallback;  // kNone: required, but Jinja passes undefined instead of failing
  uint32_t slot = kNone;
};

struct Function {
  ConstId name = kNone;  // kNone: the template itself, or a call block
  std::vector<Parameter> parameters;
  ListId body = kNone;
  NodeId first = 0;  // the nodes of the body, for the search for special names
  NodeId last = 0;
  Scope scope;
  uint32_t slot_count = 0;
  uint32_t caller_slot = kNone;
  uint32_t keywords_slot = kNone;
  uint32_t rest_slot = kNone;
};

struct CallSite {
  ListId positional = kNone;
  ListId keywords = kNone;  // pairs of name and value
  NodeId rest = kNone;      // *args
  NodeId rest_keywords = kNone;
  // Filters and tests are looked up once, when parsed. Unknown ones fail when they run, as in Jinja.
  const struct Builtin* builtin = nullptr;
};

class Ast {
 public:
  std::vector<Node> nodes;
  std::vector<uint32_t> lists;
  std::vector<Value> constants;
  std::deque<Str> strings;
  std::vector<Loop> loops;
  std::vector<Block> blocks;
  std::vector<Function> functions;  // 0 is the template itself
  std::vector<CallSite> calls;

  ConstId intern(std::string_view text);
  const Str* string(ConstId id) const { return &strings[id]; }

  uint32_t list_size(ListId id) const { return id == kNone ? 0 : lists[id]; }
  uint32_t list_item(ListId id, uint32_t i) const { return lists[id + 1 + i]; }
  ListId add_list(const std::vector<uint32_t>& items);

 private:
  std::deque<std::string> storage_;
  std::unordered_map<std::string_view, ConstId> ids_;
};

// Binds every name to a slot, by Jinja's rules of scope.
void bind_names(Ast& ast);

}  // namespace sluice::text::jinja
