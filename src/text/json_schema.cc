// Writes what schema_scalars and schema_shapes found out as grammar rules. Contract: text/json_schema.h. Scalars are written in place,
// arrays and objects are rules, one for each set of schemas that must hold together: so recursion closes and nothing is written twice.
#include "text/json_schema.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>

#include "text/regex.h"
#include "text/schema_shapes.h"

namespace sluice::text {
namespace {

constexpr size_t kInPlaceStatesMax = 24;  // larger automata become rules of their own, shared by all their uses

SchemaValue boolean_schema(bool value) {
  SchemaValue out;
  out.kind = SchemaValue::Kind::kBool;
  out.boolean = value;
  return out;
}

// {"type": "string"}, not part of any document.
SchemaValue string_schema() {
  SchemaValue type, out;
  type.kind = SchemaValue::Kind::kString;
  type.string = "string";
  out.kind = SchemaValue::Kind::kObject;
  out.members.emplace_back("type", type);
  return out;
}

std::string python_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    if (static_cast<uint8_t>(c) >= 0x20) out += c;
    else if (c == '\n' || c == '\r' || c == '\t') out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
    else out += std::string("\\x") + "0123456789abcdef"[c >> 4] + "0123456789abcdef"[c & 15];
  }
  return out + "'";
}

std::string regex_quoted(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (static_cast<uint8_t>(c) < 0x80 && c != '\n' && !std::isalnum(static_cast<unsigned char>(c)) && c != '_') out += '\\';
    out += c;
  }
  return out;
}

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
    return finish();
  }

  Result<SchemaParameter> parameter(const std::string& name, const SchemaValue* schema, const ParameterSyntax& syntax);

  Status finish() {
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
    if (plan->words & kAdmitsNull) word(rule, from, to, "null");
    if (plan->words & kAdmitsFalse) word(rule, from, to, "false");
    if (plan->words & kAdmitsTrue) word(rule, from, to, "true");
    write_string(rule, from, to, *plan);
    write_number(rule, from, to, *plan);
    if (plan->any_object) g_.call(rule, from, to, builtin.object[s]);
    if (plan->any_array) g_.call(rule, from, to, builtin.array[s]);
    if (!plan->objects.empty() || !plan->arrays.empty()) g_.call(rule, from, to, plan->structure_rule);
    return g_.status();
  }

  bool python() const { return space_ == JsonSpace::kPython; }
  void word(RuleId rule, StateId from, StateId to, std::string_view text) {
    g_.empty(rule, g_.literal(rule, from, text), to);
    if (python()) g_.empty(rule, g_.literal(rule, from, text == "null" ? "None" : text == "true" ? "True" : "False"), to);
  }
  // A string that is known, in quotes.
  StateId quoted(RuleId rule, StateId from, const std::string& text) {
    const StateId to = g_.literal(rule, from, json_quoted(text));
    if (python()) g_.empty(rule, g_.literal(rule, from, python_quoted(text)), to);
    return to;
  }
  // Opening quote, the text, closing quote.
  StateId quoted(RuleId rule, StateId from, const CharDfa& dfa) {
    const StateId to = g_.json_string_rest(rule, g_.literal(rule, from, "\""), dfa, builtin_rules().string_rest);
    if (python()) {
      const StateId single = g_.literal(rule, from, "'");
      g_.empty(rule, g_.string_rest(rule, single, dfa, TextForm::kPython, builtin_rules().python_string_rest), to);
    }
    return to;
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
    if (is_everything(plan.strings)) {
      g_.call(rule, g_.literal(rule, from, "\""), to, builtin_rules().string_rest);
      if (python()) g_.call(rule, g_.literal(rule, from, "'"), to, builtin_rules().python_string_rest);
    } else if (plan.strings.states() <= kInPlaceStatesMax) {
      g_.empty(rule, quoted(rule, from, plan.strings), to);
    } else {
      RuleId& own = const_cast<Plan&>(plan).string_rule;
      if (own == 0) {
        own = g_.add_rule();
        g_.empty(own, quoted(own, kRuleStart, plan.strings), kRuleEnd);
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
    if (value.is(SchemaValue::Kind::kString)) return quoted(rule, at, value.string);
    if (value.is(SchemaValue::Kind::kNull) || value.is(SchemaValue::Kind::kBool)) {
      const StateId to = g_.add_state(rule);
      word(rule, at, to, canonical_json(value));
      return to;
    }
    if (!is_object && !value.is(SchemaValue::Kind::kArray)) return g_.literal(rule, at, canonical_json(value));
    at = gap(rule, g_.literal(rule, at, is_object ? "{" : "["), JsonGap::kBracket);
    bool first = true;
    const auto next = [&] {
      if (!first) at = separator(rule, at);
      first = false;
    };
    for (const auto& [key, member] : value.members) {
      next();
      at = listed(rule, key_end(rule, quoted(rule, at, key)), member);
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
            const StateId colon = key_end(rule, quoted(rule, bodies[after], property.name));
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
          const StateId key = quoted(rule, before[after], extra.keys);
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

// A string as it is, without quotes; what ends it does not occur in it.
Result<SchemaParameter> SchemaWriter::parameter(const std::string& name, const SchemaValue* schema, const ParameterSyntax& syntax) {
  static const SchemaValue kAny = boolean_schema(true);
  static const SchemaValue kString = string_schema();
  SchemaParameter out;
  out.name = name;
  const SchemaLiteral own{schema == nullptr ? &kAny : schema, false};
  if (syntax.raw_end.empty()) {
    out.json = g_.add_rule();
    SLUICE_TRY_VOID(value(out.json, kRuleStart, kRuleEnd, {own}));
    return out;
  }
  Allowance& allowance = g_.allowance();
  SLUICE_TRY(const Plan* plan, plan_of({own}));
  const bool any_text = is_everything(plan->strings);
  const bool others =
      plan->words != 0 || plan->any_number || plan->any_integer || plan->any_object || plan->any_array || !plan->numbers.empty() ||
      plan->structure_rule != 0;
  if (!plan->strings.empty()) {
    const auto without = [&](const CharDfa& language, const std::string& mark) -> Result<CharDfa> {
      SLUICE_TRY(const CharDfa with, compile_regex(regex_quoted(mark), RegexMatch::kSearch, allowance));
      return combine(language, with, SetOp::kMinus, allowance);
    };
    SLUICE_TRY(CharDfa raw, without(plan->strings, std::string(syntax.raw_end)));
    out.raw = g_.add_rule();
    if (syntax.cdata) {
      SLUICE_TRY(const CharDfa quoted, without(plan->strings, "]]>"));
      g_.empty(out.raw, g_.literal(out.raw, g_.text(out.raw, g_.literal(out.raw, kRuleStart, "<![CDATA["), quoted, TextForm::kRaw), "]]>"), kRuleEnd);
      SLUICE_TRY(const CharDfa special, compile_regex("[<&\\n]", RegexMatch::kSearch, allowance));
      SLUICE_TRY(raw, combine(raw, special, SetOp::kMinus, allowance));
    }
    SLUICE_TRY(raw, minimized(raw, allowance));
    g_.empty(out.raw, g_.text(out.raw, kRuleStart, raw, TextForm::kRaw), kRuleEnd);
  }
  // Where any string will do, it covers the texts of the others.
  if (others && (!any_text || !syntax.raw_covers_json)) {
    out.json = g_.add_rule();
    SLUICE_TRY_VOID(value(out.json, kRuleStart, kRuleEnd, schema_set({own, {&kString, true}})));
  }
  if (out.raw == 0 && out.json == 0) return Error{"the parameter '" + name + "' has no value that could be written"};
  return out;
}

}  // namespace

Status build_json_schema(std::string_view schema, JsonSpace space, Grammar& grammar) {
  SLUICE_TRY(const std::unique_ptr<SchemaDocument> document, SchemaDocument::parse(schema, grammar.allowance()));
  return SchemaWriter(*document, space, grammar).run();
}

Result<std::optional<std::vector<SchemaParameter>>> build_schema_parameters(std::string_view schema, const ParameterSyntax& syntax,
                                                                            Grammar& grammar) {
  using Parameters = std::optional<std::vector<SchemaParameter>>;
  SLUICE_TRY(const std::unique_ptr<SchemaDocument> document, SchemaDocument::parse(schema, grammar.allowance()));
  const SchemaValue* root = &document->root();
  for (uint32_t hops = 0; root->find("$ref") != nullptr; ++hops) {
    SLUICE_TRY(root, document->resolve(root->find("$ref")->string));
    if (hops > limits::kConstraintNestingMax) return Error{"unsupported $ref: a schema refers to itself without reading anything"};
  }
  if (root->is(SchemaValue::Kind::kBool) && root->boolean) return Parameters();
  if (!root->is(SchemaValue::Kind::kObject) || !type_names(*root, "object")) return Error{"the schema of the parameters must be of an object"};
  SLUICE_TRY_VOID(document->check(*root));
  for (const auto& [keyword, value] : root->members) {
    constexpr std::string_view kSplit[] = {"allOf", "anyOf", "oneOf", "not", "if", "enum", "const", "patternProperties", "propertyNames",
                                           "minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies"};
    if (std::find(std::begin(kSplit), std::end(kSplit), keyword) != std::end(kSplit))
      return Error{"unsupported keyword '" + keyword + "' of the parameters as a whole: this format writes them one by one"};
  }
  const SchemaValue *properties = root->find("properties"), *required = root->find("required"), *extra = root->find("additionalProperties");
  const bool closed = extra != nullptr && extra->is(SchemaValue::Kind::kBool) && !extra->boolean;
  if (properties == nullptr && required == nullptr && !closed) return Parameters();
  Parameters out(std::in_place);
  SchemaWriter writer(*document, syntax.space, grammar);
  for (size_t i = 0; properties != nullptr && i < properties->members.size(); ++i) {
    const auto& [name, value] = properties->members[i];
    SLUICE_TRY(SchemaParameter parameter, writer.parameter(name, &value, syntax));
    out->push_back(std::move(parameter));
  }
  for (size_t i = 0; required != nullptr && i < required->items.size(); ++i) {
    const std::string& name = required->items[i].string;
    auto it = std::find_if(out->begin(), out->end(), [&](const SchemaParameter& p) { return p.name == name; });
    if (it == out->end()) {
      SLUICE_TRY(SchemaParameter parameter, writer.parameter(name, extra, syntax));
      it = out->insert(out->end(), std::move(parameter));
    }
    it->required = true;
  }
  SLUICE_TRY_VOID(writer.finish());
  return out;
}

}  // namespace sluice::text
