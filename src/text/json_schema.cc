// Writes what schema_scalars and schema_shapes found out as grammar rules. Contract: text/json_schema.h. Scalars are written in place,
// arrays and objects are rules, one for each set of schemas that must hold together: so recursion closes and nothing is written twice.
#include "text/json_schema.h"

#include <algorithm>
#include <functional>
#include <map>

#include "text/schema_shapes.h"

namespace sluice::text {
namespace {

constexpr size_t kInPlaceStatesMax = 24;  // larger automata become rules of their own, shared by all their uses

bool is_everything(const CharDfa& dfa) {
  return dfa.states() == 1 && dfa.accept[0] && std::all_of(dfa.next.begin(), dfa.next.end(), [](int32_t to) { return to == 0; });
}

class SchemaWriter {
 public:
  SchemaWriter(const SchemaDocument& document, JsonSpace space, Grammar& grammar)
      : document_(document),
        space_(space),
        g_(grammar),
        scalars_(document, grammar.allowance()),
        shapes_(document, scalars_, grammar.allowance()) {}

  Status run() {
    g_.root = g_.add_rule();
    SLUICE_TRY_VOID(value(g_.root, kRuleStart, kRuleEnd, {{&document_.root(), false}}));
    while (!pending_.empty()) {
      const auto [set, rule] = std::move(pending_.back());
      pending_.pop_back();
      SLUICE_TRY_VOID(structures(rule, set));
      SLUICE_TRY_VOID(g_.status());
    }
    return {};
  }

 private:
  StateId gap(RuleId rule, StateId from, JsonGap kind) { return json_gap(g_, rule, from, space_, kind); }
  StateId separator(RuleId rule, StateId from) {
    return gap(rule, g_.literal(rule, gap(rule, from, JsonGap::kBefore), ","), JsonGap::kComma);
  }
  StateId key_end(RuleId rule, StateId from) {
    return gap(rule, g_.literal(rule, gap(rule, from, JsonGap::kBefore), ":"), JsonGap::kColon);
  }

  // One value of any type between two states.
  Status value(RuleId rule, StateId from, StateId to, const SchemaSet& set) {
    SLUICE_TRY(const Plan* plan, plan_of(set));
    const BuiltinRules& builtin = builtin_rules();
    const size_t s = static_cast<size_t>(space_);
    if (plan->anything()) {
      g_.call(rule, from, to, builtin.value[s]);
      return g_.status();
    }
    const auto word = [&](std::string_view text) { g_.empty(rule, g_.literal(rule, from, text), to); };
    if (plan->words & kAdmitsNull) word("null");
    if (plan->words & kAdmitsFalse) word("false");
    if (plan->words & kAdmitsTrue) word("true");
    write_string(rule, from, to, *plan);
    write_number(rule, from, to, *plan);
    if (plan->any_object) g_.call(rule, from, to, builtin.object[s]);
    if (plan->any_array) g_.call(rule, from, to, builtin.array[s]);
    if (!plan->objects.empty() || !plan->arrays.empty()) g_.call(rule, from, to, plan->structure_rule);
    return g_.status();
  }

  // What is known about a set of schemas, found out once.
  struct Plan {
    uint8_t words = 0;
    CharDfa strings, numbers;  // numbers: the texts to write
    bool any_number = false, any_integer = false, any_object = false, any_array = false;
    std::vector<ObjectChoice> objects;
    std::vector<ArrayChoice> arrays;
    RuleId structure_rule = 0, string_rule = 0, number_rule = 0;  // 0: none (rule 0 is built in)
    bool anything() const { return words == 7 && is_everything(strings) && any_number && any_object && any_array; }
  };

  Result<const Plan*> plan_of(const SchemaSet& set) {
    const auto known = plans_.find(set);
    if (known != plans_.end()) return &known->second;
    SLUICE_TRY_VOID(g_.allowance().hold(sizeof(Plan) + 64));
    Plan plan;
    SLUICE_TRY(plan.words, scalars_.words(set));
    SLUICE_TRY(plan.strings, scalars_.strings(set));
    SLUICE_TRY_VOID(plan_numbers(set, plan));
    SLUICE_TRY(plan.objects, shapes_.objects(set));
    SLUICE_TRY(plan.arrays, shapes_.arrays(set));
    plan.any_object = plan.objects.size() == 1 && plan.objects[0].anything;
    plan.any_array = plan.arrays.size() == 1 && plan.arrays[0].anything;
    if (plan.any_object) plan.objects.clear();
    if (plan.any_array) plan.arrays.clear();
    if (!plan.objects.empty() || !plan.arrays.empty()) {
      plan.structure_rule = g_.add_rule();
      pending_.emplace_back(set, plan.structure_rule);
    }
    return &plans_.emplace(set, std::move(plan)).first->second;
  }

  Status plan_numbers(const SchemaSet& set, Plan& plan) {
    SLUICE_TRY(const CharDfa language, scalars_.numbers(set));
    plan.any_number = is_everything(language);
    if (plan.any_number || language.empty()) {
      plan.numbers = CharDfa::nothing();
      return {};
    }
    if (integers_.accept.empty()) {
      SchemaValue type, schema;
      type.kind = SchemaValue::Kind::kString;
      type.string = "integer";
      schema.kind = SchemaValue::Kind::kObject;
      schema.members.emplace_back("type", type);
      SLUICE_TRY(integers_, scalars_.numbers({{&schema, false}}));
    }
    plan.any_integer = language.cuts == integers_.cuts && language.next == integers_.next && language.accept == integers_.accept;
    if (plan.any_integer) {
      plan.numbers = CharDfa::nothing();
      return {};
    }
    SLUICE_TRY(plan.numbers, scalars_.number_output(language, set));
    return {};
  }

  void write_string(RuleId rule, StateId from, StateId to, const Plan& plan) {
    if (plan.strings.empty()) return;
    const RuleId tail = builtin_rules().string_rest;
    if (is_everything(plan.strings)) {
      g_.call(rule, g_.literal(rule, from, "\""), to, tail);
    } else if (plan.strings.states() <= kInPlaceStatesMax) {
      g_.empty(rule, g_.json_string_rest(rule, g_.literal(rule, from, "\""), plan.strings, tail), to);
    } else {
      RuleId& own = const_cast<Plan&>(plan).string_rule;
      if (own == 0) {
        own = g_.add_rule();
        g_.empty(own, g_.json_string_rest(own, g_.literal(own, kRuleStart, "\""), plan.strings, tail), kRuleEnd);
      }
      g_.call(rule, from, to, own);
    }
  }

  void write_number(RuleId rule, StateId from, StateId to, const Plan& plan) {
    if (plan.any_number) g_.empty(rule, json_number(g_, rule, from), to);
    if (plan.any_integer) g_.empty(rule, json_integer(g_, rule, from), to);
    if (plan.numbers.empty()) return;
    if (plan.numbers.states() <= kInPlaceStatesMax) {
      g_.empty(rule, g_.text(rule, from, plan.numbers, TextForm::kRaw), to);
      return;
    }
    RuleId& own = const_cast<Plan&>(plan).number_rule;
    if (own == 0) {
      own = g_.add_rule();
      g_.empty(own, g_.text(own, kRuleStart, plan.numbers, TextForm::kRaw), kRuleEnd);
    }
    g_.call(rule, from, to, own);
  }

  Status structures(RuleId rule, const SchemaSet& set) {
    SLUICE_TRY(const Plan* found, plan_of(set));
    const Plan& plan = *found;  // std::map: stays where it is
    for (const ObjectChoice& choice : plan.objects) {
      if (!choice.listed) SLUICE_TRY_VOID(object(rule, choice.shape));
      for (const SchemaValue* one : choice.values) g_.empty(rule, listed(rule, kRuleStart, *one), kRuleEnd);
    }
    for (const ArrayChoice& choice : plan.arrays) {
      if (!choice.listed) SLUICE_TRY_VOID(array(rule, choice.shape));
      for (const SchemaValue* one : choice.values) g_.empty(rule, listed(rule, kRuleStart, *one), kRuleEnd);
    }
    return {};
  }

  // A value from enum or const, in canonical form with this grammar's white space.
  StateId listed(RuleId rule, StateId at, const SchemaValue& value) {
    if (!g_.ok()) return at;
    const bool is_object = value.is(SchemaValue::Kind::kObject);
    if (!is_object && !value.is(SchemaValue::Kind::kArray)) return g_.literal(rule, at, canonical_json(value));
    at = gap(rule, g_.literal(rule, at, is_object ? "{" : "["), JsonGap::kBracket);
    bool first = true;
    const auto next = [&] {
      if (!first) at = separator(rule, at);
      first = false;
    };
    for (const auto& [key, member] : value.members) {
      next();
      at = listed(rule, key_end(rule, g_.literal(rule, at, json_quoted(key))), member);
    }
    for (const SchemaValue& item : value.items) {
      next();
      at = listed(rule, at, item);
    }
    if (!first) at = gap(rule, at, JsonGap::kBracket);
    return g_.literal(rule, at, is_object ? "}" : "]");
  }

  // A state is kept for every number of members so far, saturated where it does not matter any more.
  Status object(RuleId rule, const ObjectShape& shape) {
    const size_t required =
        static_cast<size_t>(std::count_if(shape.properties.begin(), shape.properties.end(), [](const auto& p) { return p.required; }));
    if (!shape.extras.empty() && shape.count_min > required + 1) {
      return Error{"unsupported minProperties: " + std::to_string(shape.count_min) + " with members of free names (they could repeat)"};
    }
    const uint64_t counted = shape.count_max >= 0 ? static_cast<uint64_t>(shape.count_max) + 1 : std::max<uint64_t>(1, shape.count_min);
    const auto allowed = [&](uint64_t count) { return shape.count_max < 0 || count <= static_cast<uint64_t>(shape.count_max); };
    const StateId open = gap(rule, g_.literal(rule, kRuleStart, "{"), JsonGap::kBracket);
    const StateId close = g_.add_state(rule);
    g_.empty(rule, g_.literal(rule, close, "}"), kRuleEnd);
    std::vector<StateId> now(counted + 1, ~0u), next;  // (members so far) the state before the current property
    now[0] = open;
    for (const ObjectShape::Property& property : shape.properties) {
      next.assign(counted + 1, ~0u);
      std::vector<StateId> bodies(counted + 1, ~0u);  // (members with this one)
      for (uint64_t count = 0; count <= counted && g_.ok(); ++count) {
        if (now[count] == ~0u) continue;
        const uint64_t after = std::min(count + 1, counted);
        if (allowed(count + 1)) {
          if (bodies[after] == ~0u) {
            bodies[after] = g_.add_state(rule);
            if (next[after] == ~0u) next[after] = g_.add_state(rule);
            const StateId colon = key_end(rule, g_.literal(rule, bodies[after], json_quoted(property.name)));
            SLUICE_TRY_VOID(value(rule, colon, next[after], property.value));
          }
          g_.empty(rule, count == 0 ? now[count] : separator(rule, now[count]), bodies[after]);
        }
        if (!property.required) {
          if (next[count] == ~0u) next[count] = g_.add_state(rule);
          g_.empty(rule, now[count], next[count]);
        }
      }
      now.swap(next);
    }
    return object_end(rule, shape, now, close);
  }

  Status object_end(RuleId rule, const ObjectShape& shape, const std::vector<StateId>& now, StateId close) {
    const uint64_t counted = now.size() - 1;
    const auto allowed = [&](uint64_t count) { return shape.count_max < 0 || count <= static_cast<uint64_t>(shape.count_max); };
    std::vector<StateId> before(counted + 1, ~0u), behind(counted + 1, ~0u);  // (members with this one) an extra member
    std::vector<uint64_t> work;
    const auto enter = [&](StateId from, uint64_t count) -> Status {
      const uint64_t after = std::min(count + 1, counted);
      if (!allowed(count + 1)) return {};
      if (before[after] == ~0u) {
        before[after] = g_.add_state(rule);
        behind[after] = g_.add_state(rule);
        for (const ObjectShape::Extra& extra : shape.extras) {
          const StateId quote = g_.literal(rule, before[after], "\"");
          const StateId key = g_.json_string_rest(rule, quote, extra.keys, builtin_rules().string_rest);
          SLUICE_TRY_VOID(value(rule, key_end(rule, key), behind[after], extra.value));
        }
        g_.empty(rule, gap(rule, behind[after], JsonGap::kBracket), close);
        work.push_back(after);
      }
      g_.empty(rule, count == 0 ? from : separator(rule, from), before[after]);
      return {};
    };
    for (uint64_t count = 0; count <= counted && g_.ok(); ++count) {
      if (now[count] == ~0u) continue;
      if (count >= shape.count_min && allowed(count))
        g_.empty(rule, count == 0 ? now[count] : gap(rule, now[count], JsonGap::kBracket), close);
      if (!shape.extras.empty() && count + 1 >= shape.count_min) SLUICE_TRY_VOID(enter(now[count], count));
    }
    while (!work.empty() && g_.ok()) {
      const uint64_t count = work.back();
      work.pop_back();
      SLUICE_TRY_VOID(enter(behind[count], count));
    }
    return g_.status();
  }

  Status array(RuleId rule, const ArrayShape& shape) {
    const uint64_t most =
        shape.count_max < 0 ? std::max<uint64_t>({1, shape.count_min, shape.prefix.size()}) : static_cast<uint64_t>(shape.count_max);
    const StateId open = gap(rule, g_.literal(rule, kRuleStart, "["), JsonGap::kBracket);
    const StateId close = g_.add_state(rule);
    g_.empty(rule, g_.literal(rule, close, "]"), kRuleEnd);
    if (shape.count_min == 0) g_.empty(rule, open, close);
    if (shape.count_max >= 0 && shape.count_min > most) return {};
    StateId at = open;
    for (uint64_t i = 0; i < most && g_.ok(); ++i) {
      const StateId item = g_.add_state(rule), behind = g_.add_state(rule);
      g_.empty(rule, i == 0 ? at : separator(rule, at), item);
      SLUICE_TRY_VOID(value(rule, item, behind, i < shape.prefix.size() ? shape.prefix[i] : shape.rest));
      if (i + 1 >= shape.count_min) g_.empty(rule, gap(rule, behind, JsonGap::kBracket), close);
      at = behind;
    }
    if (shape.count_max >= 0) return g_.status();
    const StateId item = g_.add_state(rule), behind = g_.add_state(rule);
    g_.empty(rule, separator(rule, at), item);
    SLUICE_TRY_VOID(value(rule, item, behind, shape.rest));
    g_.empty(rule, separator(rule, behind), item);
    g_.empty(rule, gap(rule, behind, JsonGap::kBracket), close);
    return g_.status();
  }

  const SchemaDocument& document_;
  JsonSpace space_;
  Grammar& g_;
  Scalars scalars_;
  Shapes shapes_;
  CharDfa integers_;
  std::map<SchemaSet, Plan> plans_;
  std::vector<std::pair<SchemaSet, RuleId>> pending_;
};

}  // namespace

Status build_json_schema(std::string_view schema, JsonSpace space, Grammar& grammar) {
  SLUICE_TRY(const std::unique_ptr<SchemaDocument> document, SchemaDocument::parse(schema, grammar.allowance()));
  return SchemaWriter(*document, space, grammar).run();
}

}  // namespace sluice::text
