// Binds names to variable slots by Jinja's rules (template_ast.h). Those rules are static: a scope knows which names it stores anywhere, so a
// name that is set later in the template is undefined before, even if the context has it; loops and blocks copy outer variables on entry
// and forget their own changes; macros see outer variables as they are when called. Contract: recursion is bounded by the nodes' heights.
// Next: template_eval.cc.
#include <map>
#include <set>
#include <utility>

#include "text/template_ast.h"

namespace sluice::text::jinja {

namespace {

struct Place {
  uint32_t function;
  uint32_t slot;
};

struct Rule {
  Load::Action action;
  ConstId name = kNone;
  Place outer{kNone, kNone};
};

// The names of one scope. A branch of an `if` is an overlay on the scope that it stands in, merged back afterwards.
struct Symbols {
  Symbols* parent = nullptr;
  const Symbols* base = nullptr;
  uint32_t function = 0;
  uint32_t level = 0;  // or a number of its own, where variables must not be shared with other scopes of the level
  std::map<ConstId, Place> refs;
  std::map<uint32_t, Rule> loads;  // by slot
  std::set<ConstId> stores;

  const Place* own(ConstId name) const {
    for (const Symbols* s = this; s != nullptr; s = s->base) {
      if (const auto found = s->refs.find(name); found != s->refs.end()) return &found->second;
    }
    return nullptr;
  }
  const Place* find(ConstId name) const {
    for (const Symbols* s = this; s != nullptr; s = s->parent) {
      if (const Place* place = s->own(name)) return place;
    }
    return nullptr;
  }
  bool is_stored(ConstId name) const {
    for (const Symbols* s = this; s != nullptr; s = s->base) {
      if (s->stores.contains(name)) return true;
    }
    return false;
  }
};

class Binder {
 public:
  explicit Binder(Ast& ast) : ast_(ast), slots_(ast.functions.size()), depths_(ast.functions.size()) {}

  void run() {
    Symbols root;
    bind_body_of_function(0, root);
  }

 private:
  Symbols inner(Symbols& outer) const {
    Symbols s;
    s.parent = &outer;
    s.function = outer.function;
    s.level = outer.level + 1;
    return s;
  }

  Place define(Symbols& symbols, ConstId name, Rule rule) {
    auto& slots = slots_[symbols.function];
    const auto [found, fresh] = slots.emplace(std::pair{symbols.level, name}, static_cast<uint32_t>(slots.size()));
    const Place place{symbols.function, found->second};
    symbols.refs[name] = place;
    symbols.loads[place.slot] = rule;
    return place;
  }

  Place parameter(Symbols& symbols, ConstId name) {
    symbols.stores.insert(name);
    return define(symbols, name, {Load::Action::parameter});
  }

  void store(Symbols& symbols, ConstId name) {
    const bool known = symbols.own(name) != nullptr;
    symbols.stores.insert(name);
    if (known) return;
    const Place* outer = symbols.parent != nullptr ? symbols.parent->find(name) : nullptr;
    if (outer != nullptr) define(symbols, name, {Load::Action::alias, name, *outer});
    else define(symbols, name, {Load::Action::clear, name});
  }

  void load(Symbols& symbols, ConstId name) {
    if (symbols.find(name) == nullptr) define(symbols, name, {Load::Action::resolve, name});
  }

  // A name that only some branches store keeps its outer value, or the context's, where no branch stored it.
  void merge(Symbols& symbols, const std::vector<Symbols>& branches) {
    std::map<ConstId, size_t> counts;
    for (const Symbols& branch : branches) {
      for (const ConstId name : branch.stores) {
        if (!symbols.is_stored(name)) ++counts[name];
      }
    }
    for (const Symbols& branch : branches) {
      for (const auto& [name, place] : branch.refs) symbols.refs[name] = place;
      for (const auto& [slot, rule] : branch.loads) symbols.loads[slot] = rule;
      symbols.stores.insert(branch.stores.begin(), branch.stores.end());
    }
    for (const auto& [name, count] : counts) {
      if (count == branches.size()) continue;
      const Place target = *symbols.own(name);
      const Place* outer = symbols.parent != nullptr ? symbols.parent->find(name) : nullptr;
      symbols.loads[target.slot] = outer != nullptr ? Rule{Load::Action::alias, name, *outer} : Rule{Load::Action::resolve, name};
    }
  }

  Scope finish(const Symbols& symbols) const {
    Scope scope;
    for (const auto& [slot, rule] : symbols.loads) {
      Load load{slot, rule.action, rule.name, {}};
      if (rule.action == Load::Action::alias) load.outer = reference(rule.outer, symbols.function);
      scope.push_back(load);
    }
    return scope;
  }

  SlotRef reference(Place place, uint32_t from_function) const {
    return {place.slot, depths_[from_function] - depths_[place.function]};
  }

  template <class Visit>
  void each(ListId list, const Visit& visit, uint32_t first = 0, uint32_t step = 1) {
    for (uint32_t i = first; i < ast_.list_size(list); i += step) {
      if (ast_.list_item(list, i) != kNone) visit(ast_.list_item(list, i));
    }
  }

  // The children of an expression, an output or an assignment, in the order in which they count for scopes.
  template <class Visit>
  void children(const Node& node, const Visit& visit) {
    switch (node.kind) {
      case NodeKind::set: visit(node.b); visit(node.a); return;
      case NodeKind::output:
      case NodeKind::attribute:
      case NodeKind::not_:
      case NodeKind::negative:
      case NodeKind::positive:
      case NodeKind::member: visit(node.a); return;
      case NodeKind::item:
      case NodeKind::binary:
      case NodeKind::and_:
      case NodeKind::or_: visit(node.a); visit(node.b); return;
      case NodeKind::conditional:
        visit(node.a);
        visit(node.b);
        if (node.c != kNone) visit(node.c);
        return;
      case NodeKind::slice: visit(node.a); each(node.b, visit); return;
      case NodeKind::compare: visit(node.a); each(node.b, visit, 1, 2); return;
      case NodeKind::concat:
      case NodeKind::list:
      case NodeKind::tuple:
      case NodeKind::dict: each(node.b, visit); return;
      case NodeKind::call:
      case NodeKind::filter:
      case NodeKind::test: {
        const CallSite& site = ast_.calls[node.b];
        visit(node.a);
        each(site.positional, visit);
        each(site.keywords, visit, 1, 2);
        if (site.rest != kNone) visit(site.rest);
        if (site.rest_keywords != kNone) visit(site.rest_keywords);
        return;
      }
      default: return;
    }
  }

  // First pass over a scope: which names does it load and store? Inner scopes are not entered.
  void collect(NodeId id, Symbols& symbols) {
    const Node node = ast_.nodes[id];
    const auto visit = [&](NodeId child) { collect(child, symbols); };
    switch (node.kind) {
      case NodeKind::name: return node.op != 0 ? store(symbols, node.a) : load(symbols, node.a);
      case NodeKind::if_: return collect_if(node, symbols);
      case NodeKind::for_: return visit(ast_.loops[node.a].iterable);
      case NodeKind::macro:
      case NodeKind::call_block:
      case NodeKind::filter_block: return visit(node.b);
      case NodeKind::set_block: return visit(node.a);
      case NodeKind::with: return each(node.a, visit, 1, 2);
      case NodeKind::scope: return;
      default: return children(node, visit);
    }
  }

  Symbols overlay(const Symbols& symbols) const {
    Symbols branch;
    branch.parent = symbols.parent;
    branch.base = &symbols;
    branch.function = symbols.function;
    branch.level = symbols.level;
    return branch;
  }

  void collect_if(const Node& node, Symbols& symbols) {
    collect(ast_.list_item(node.a, 0), symbols);
    std::vector<Symbols> branches(3, overlay(symbols));
    each(ast_.list_item(node.a, 1), [&](NodeId child) { collect(child, branches[0]); });
    for (uint32_t i = 2; i < ast_.list_size(node.a); i += 2) {  // every elif is an if of its own within the second branch
      collect(ast_.list_item(node.a, i), branches[1]);
      std::vector<Symbols> inner_branches(3, overlay(branches[1]));
      each(ast_.list_item(node.a, i + 1), [&](NodeId child) { collect(child, inner_branches[0]); });
      merge(branches[1], inner_branches);
    }
    each(node.b, [&](NodeId child) { collect(child, branches[2]); });
    merge(symbols, branches);
  }

  void collect_parameters(NodeId target, Symbols& symbols) {
    const Node node = ast_.nodes[target];
    if (node.kind == NodeKind::name) parameter(symbols, node.a);
    else each(node.b, [&](NodeId child) { collect_parameters(child, symbols); });
  }

  // Second pass: names to slots; inner scopes are analysed when reached.
  void bind(NodeId id, Symbols& symbols) {
    const Node node = ast_.nodes[id];
    const auto visit = [&](NodeId child) { bind(child, symbols); };
    switch (node.kind) {
      case NodeKind::name: {
        const SlotRef ref = reference(*symbols.find(node.a), symbols.function);
        ast_.nodes[id].b = ref.slot;
        ast_.nodes[id].c = ref.hops;
        return;
      }
      case NodeKind::if_:
        each(node.a, visit, 0, 2);
        for (uint32_t i = 1; i < ast_.list_size(node.a); i += 2) each(ast_.list_item(node.a, i), visit);
        return each(node.b, visit);
      case NodeKind::for_: return bind_loop(ast_.loops[node.a], symbols);
      case NodeKind::macro:
      case NodeKind::call_block: {
        visit(node.b);
        Symbols function = inner(symbols);
        return bind_function(node.a, function, symbols.function);
      }
      case NodeKind::filter_block:
      case NodeKind::set_block: return bind_block(node, symbols);
      case NodeKind::with: return bind_with(node, symbols);
      case NodeKind::scope: return bind_block(node, symbols);
      default: return children(node, visit);
    }
  }

  void bind_list(ListId list, Symbols& symbols) {
    each(list, [&](NodeId child) { bind(child, symbols); });
  }
  void collect_list(ListId list, Symbols& symbols) {
    each(list, [&](NodeId child) { collect(child, symbols); });
  }

  void bind_loop(Loop& loop, Symbols& symbols) {
    bind(loop.iterable, symbols);
    Symbols body = inner(symbols);
    if (loop.loop_slot != kNone) loop.loop_slot = parameter(body, ast_.intern("loop")).slot;
    collect_parameters(loop.target, body);
    collect_list(loop.body, body);
    bind(loop.target, body);
    bind_list(loop.body, body);
    loop.body_scope = finish(body);
    if (loop.test != kNone) {
      Symbols test = inner(symbols);
      test.level = next_private_level_++;
      collect_parameters(loop.test_target, test);
      collect(loop.test, test);
      bind(loop.test_target, test);
      bind(loop.test, test);
      loop.test_scope = finish(test);
    }
    if (loop.otherwise != kNone) {
      Symbols otherwise = inner(symbols);
      collect_list(loop.otherwise, otherwise);
      bind_list(loop.otherwise, otherwise);
      loop.otherwise_scope = finish(otherwise);
    }
  }

  void bind_block(const Node& node, Symbols& symbols) {
    Symbols body = inner(symbols);
    Block& block = ast_.blocks[node.c];
    collect_list(block.body, body);
    if (node.b != kNone) collect(node.b, body);
    bind_list(block.body, body);
    if (node.b != kNone) bind(node.b, body);
    if (node.kind == NodeKind::set_block) bind(node.a, symbols);
    block.scope = finish(body);
  }

  void bind_with(const Node& node, Symbols& symbols) {
    each(node.a, [&](NodeId value) { bind(value, symbols); }, 1, 2);
    Symbols body = inner(symbols);
    each(node.a, [&](NodeId target) { collect_parameters(target, body); }, 0, 2);
    Block& block = ast_.blocks[node.c];
    collect_list(block.body, body);
    each(node.a, [&](NodeId target) { bind(target, body); }, 0, 2);
    bind_list(block.body, body);
    block.scope = finish(body);
  }

  void bind_function(uint32_t index, Symbols& symbols, uint32_t outer_function) {
    symbols.function = index;
    depths_[index] = depths_[outer_function] + 1;
    for (Parameter& p : ast_.functions[index].parameters) p.slot = parameter(symbols, p.name).slot;
    Function& function = ast_.functions[index];
    if (function.caller_slot != kNone) function.caller_slot = parameter(symbols, ast_.intern("caller")).slot;
    if (function.keywords_slot != kNone) function.keywords_slot = parameter(symbols, ast_.intern("kwargs")).slot;
    if (function.rest_slot != kNone) function.rest_slot = parameter(symbols, ast_.intern("varargs")).slot;
    for (const Parameter& p : function.parameters) {
      if (p.fallback != kNone) collect(p.fallback, symbols);
    }
    bind_body_of_function(index, symbols);
  }

  void bind_body_of_function(uint32_t index, Symbols& symbols) {
    Function& function = ast_.functions[index];  // no function is added while binding
    collect_list(function.body, symbols);
    for (const Parameter& p : function.parameters) {
      if (p.fallback != kNone) bind(p.fallback, symbols);
    }
    bind_list(function.body, symbols);
    function.scope = finish(symbols);
    function.slot_count = static_cast<uint32_t>(slots_[index].size());
  }

  Ast& ast_;
  std::vector<std::map<std::pair<uint32_t, ConstId>, uint32_t>> slots_;  // per function: (level, name) -> slot
  std::vector<uint32_t> depths_;                                        // how many functions are around each
  uint32_t next_private_level_ = 1u << 30;
};

}  // namespace

void bind_names(Ast& ast) { Binder(ast).run(); }

}  // namespace sluice::text::jinja
