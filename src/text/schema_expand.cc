// Logic out of the way: a schema as a list of alternatives without allOf, anyOf, oneOf, not, if and $ref.
// Contract: text/schema_shapes.h (Shapes::expand); the number of alternatives is limited. Next: text/schema_shapes.cc.
#include <algorithm>
#include <set>
#include <span>

#include "text/schema_shapes.h"

namespace sluice::text {

using Kind = SchemaValue::Kind;

namespace {

constexpr size_t kBranchesMax = 512;

constexpr std::string_view kObjectKeywords[] = {"properties", "patternProperties", "additionalProperties", "propertyNames",
                                                "required",   "minProperties",     "maxProperties"};
constexpr std::string_view kArrayKeywords[] = {"items", "prefixItems", "additionalItems", "minItems", "maxItems"};

bool has_any(const SchemaValue& schema, std::span<const std::string_view> keywords) {
  return std::any_of(keywords.begin(), keywords.end(), [&](std::string_view k) { return schema.find(k) != nullptr; });
}

bool has_own(const SchemaValue& schema, JsonType type) {
  return type == JsonType::kObject ? has_any(schema, kObjectKeywords) : has_any(schema, kArrayKeywords);
}

bool is_listed(const SchemaValue& schema) { return schema.find("enum") != nullptr || schema.find("const") != nullptr; }

bool lists_type(const SchemaValue& schema, JsonType type) {
  const Kind kind = type == JsonType::kObject ? Kind::kObject : Kind::kArray;
  if (const SchemaValue* one = schema.find("const"); one != nullptr && !one->is(kind)) return false;
  const SchemaValue* list = schema.find("enum");
  return list == nullptr || std::any_of(list->items.begin(), list->items.end(), [&](const SchemaValue& v) { return v.is(kind); });
}

bool is_true(const SchemaValue* schema) {
  return schema == nullptr || (schema->is(Kind::kBool) && schema->boolean) || (schema->is(Kind::kObject) && schema->members.empty());
}

}  // namespace

Status Shapes::append(Branches& branches, Branches others) {
  if (branches.size() + others.size() > kBranchesMax) {
    return Error{"unsupported combination of anyOf, oneOf, not and if: more than " + std::to_string(kBranchesMax) + " alternatives"};
  }
  branches.insert(branches.end(), std::make_move_iterator(others.begin()), std::make_move_iterator(others.end()));
  return {};
}

Status Shapes::multiply(Branches& branches, const Branches& others) {
  if (others.size() == 1 && others[0].empty()) return {};
  if (branches.size() * others.size() > kBranchesMax) {
    return Error{"unsupported combination of anyOf, oneOf, not and if: more than " + std::to_string(kBranchesMax) + " alternatives"};
  }
  Branches out;
  for (const Branch& a : branches) {
    for (const Branch& b : others) {
      SLUICE_TRY_VOID(allowance_.spend(20 * (1 + a.size() + b.size())));
      SLUICE_TRY_VOID(allowance_.hold(sizeof(Piece) * (a.size() + b.size())));
      out.push_back(a);
      out.back().insert(out.back().end(), b.begin(), b.end());
    }
  }
  branches = std::move(out);
  return {};
}

Result<Shapes::Branches> Shapes::expand(const SchemaSet& set, JsonType type) {
  Branches out = {{}};
  for (const SchemaLiteral literal : set) {
    SLUICE_TRY(const Branches part, expand(*literal.schema, literal.negated, type));
    SLUICE_TRY_VOID(multiply(out, part));
  }
  return out;
}

Result<Shapes::Branches> Shapes::expand(const SchemaValue& schema, bool negated, JsonType type) {
  SLUICE_TRY_VOID(allowance_.spend(50));
  if (schema.is(Kind::kBool)) return schema.boolean != negated ? Branches{{}} : Branches{};
  SLUICE_TRY_VOID(document_.check(schema));
  const std::pair<const SchemaValue*, bool> key{&schema, negated};
  if (std::find(open_.begin(), open_.end(), key) != open_.end())
    return Error{"unsupported $ref: a schema refers to itself without reading anything"};
  if (open_.size() > 4 * limits::kConstraintNestingMax) return Error{"the schema's references are nested too deeply"};
  open_.push_back(key);
  auto out = negated ? expand_negative(schema, type) : expand_positive(schema, type);
  open_.pop_back();
  return out;
}

Result<Shapes::Branches> Shapes::expand_positive(const SchemaValue& schema, JsonType type) {
  const SchemaValue* reference = schema.find("$ref");
  if (reference != nullptr && document_.draft7()) {
    SLUICE_TRY(const SchemaValue* target, document_.resolve(reference->string));
    return expand(*target, false, type);
  }
  if (!type_allows(schema, type)) return Branches{};
  Branches out = {{}};
  const auto also = [&](const SchemaValue& part, bool negated) -> Status {
    SLUICE_TRY(const Branches branches, expand(part, negated, type));
    return multiply(out, branches);
  };
  if (is_listed(schema)) {
    if (!lists_type(schema, type)) return Branches{};
    out[0].push_back({Piece::Kind::kValues, &schema, {}, {}, 0, -1});
  }
  if (has_own(schema, type)) out[0].push_back({Piece::Kind::kOwn, &schema, {}, {}, 0, -1});
  if (type == JsonType::kObject) SLUICE_TRY_VOID(add_dependencies(schema, out));
  if (reference != nullptr) {
    SLUICE_TRY(const SchemaValue* target, document_.resolve(reference->string));
    SLUICE_TRY_VOID(also(*target, false));
  }
  if (const SchemaValue* all = schema.find("allOf")) {
    for (const SchemaValue& part : all->items) SLUICE_TRY_VOID(also(part, false));
  }
  if (const SchemaValue* negated = schema.find("not")) SLUICE_TRY_VOID(also(*negated, true));
  if (const SchemaValue* any = schema.find("anyOf")) {
    Branches either;
    for (const SchemaValue& part : any->items) {
      SLUICE_TRY(Branches branches, expand(part, false, type));
      SLUICE_TRY_VOID(append(either, std::move(branches)));
    }
    SLUICE_TRY_VOID(multiply(out, either));
  }
  if (const SchemaValue* one = schema.find("oneOf")) {
    SLUICE_TRY(const Branches branches, expand_one_of(*one, type));
    SLUICE_TRY_VOID(multiply(out, branches));
  }
  if (schema.find("if") != nullptr) {
    SLUICE_TRY(const Branches branches, expand_if(schema, false, type));
    SLUICE_TRY_VOID(multiply(out, branches));
  }
  return out;
}

Result<Shapes::Branches> Shapes::expand_one_of(const SchemaValue& parts, JsonType type) {
  Branches out;
  for (size_t i = 0; i < parts.items.size(); ++i) {
    SLUICE_TRY(Branches branches, expand(parts.items[i], false, type));
    for (size_t j = 0; j < parts.items.size() && !branches.empty(); ++j) {
      if (i == j) continue;
      SLUICE_TRY(const bool apart, disjoint(parts.items[i], parts.items[j], type));
      if (apart) continue;
      Result<Branches> others = expand(parts.items[j], true, type);
      Status done = others.ok() ? multiply(branches, *others) : Status(others.error());
      if (!done.ok()) {
        return Error{"unsupported oneOf: its parts " + std::to_string(i + 1) + " and " + std::to_string(j + 1) +
                     " may hold at the same time (use anyOf, or a property with different const values); " + done.error().message};
      }
    }
    SLUICE_TRY_VOID(append(out, std::move(branches)));
  }
  return out;
}

// (if and then) or (not if and else); negated: (if and not then) or (not if and not else).
Result<Shapes::Branches> Shapes::expand_if(const SchemaValue& schema, bool negated, JsonType type) {
  const SchemaValue* condition = schema.find("if");
  Branches out;
  for (const bool holds : {true, false}) {
    const SchemaValue* part = schema.find(holds ? "then" : "else");
    if (part == nullptr && negated) continue;
    SLUICE_TRY(Branches branches, expand(*condition, !holds, type));
    if (part != nullptr) {
      SLUICE_TRY(const Branches others, expand(*part, negated, type));
      SLUICE_TRY_VOID(multiply(branches, others));
    }
    SLUICE_TRY_VOID(append(out, std::move(branches)));
  }
  return out;
}

// dependentRequired and dependentSchemas (draft-07: dependencies): the member is absent, or it is there and so is what it asks for.
Status Shapes::add_dependencies(const SchemaValue& schema, Branches& branches) {
  for (const std::string_view keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    const SchemaValue* map = schema.find(keyword);
    if (map == nullptr) continue;
    for (const auto& [name, needs] : map->members) {
      if (!needs.is(Kind::kArray) && !needs.is(Kind::kObject) && !needs.is(Kind::kBool)) {
        return Error{"the keyword '" + std::string(keyword) + "' has a value that it cannot have"};
      }
      Branches present = {{{Piece::Kind::kPresent, nullptr, name, {}, 0, -1}}};
      if (needs.is(Kind::kArray)) {
        for (const SchemaValue& other : needs.items) {
          if (!other.is(Kind::kString)) return Error{"the keyword '" + std::string(keyword) + "' has a value that it cannot have"};
          present[0].push_back({Piece::Kind::kPresent, nullptr, other.string, {}, 0, -1});
        }
      } else {
        SLUICE_TRY(const Branches part, expand(needs, false, JsonType::kObject));
        SLUICE_TRY_VOID(multiply(present, part));
      }
      Branches either = {{{Piece::Kind::kAbsent, nullptr, name, {}, 0, -1}}};
      SLUICE_TRY_VOID(append(either, std::move(present)));
      SLUICE_TRY_VOID(multiply(branches, either));
    }
  }
  return {};
}

Result<Shapes::Branches> Shapes::expand_negative(const SchemaValue& schema, JsonType type) {
  const SchemaValue* reference = schema.find("$ref");
  if (reference != nullptr && document_.draft7()) {
    SLUICE_TRY(const SchemaValue* target, document_.resolve(reference->string));
    return expand(*target, true, type);
  }
  if (!type_allows(schema, type) || (is_listed(schema) && !lists_type(schema, type))) return Branches{{}};
  if (is_listed(schema)) return Error{"unsupported not: objects or arrays listed by enum or const cannot be excluded"};
  SLUICE_TRY(Branches out, type == JsonType::kObject ? negated_object(schema) : negated_array(schema));
  const auto or_not = [&](const SchemaValue& part, bool negated) -> Status {
    SLUICE_TRY(Branches branches, expand(part, negated, type));
    return append(out, std::move(branches));
  };
  if (reference != nullptr) {
    SLUICE_TRY(const SchemaValue* target, document_.resolve(reference->string));
    SLUICE_TRY_VOID(or_not(*target, true));
  }
  if (const SchemaValue* all = schema.find("allOf")) {
    for (const SchemaValue& part : all->items) SLUICE_TRY_VOID(or_not(part, true));
  }
  if (const SchemaValue* negated = schema.find("not")) SLUICE_TRY_VOID(or_not(*negated, false));
  for (const std::string_view keyword : {"anyOf", "oneOf"}) {
    const SchemaValue* parts = schema.find(keyword);
    if (parts == nullptr) continue;
    Branches none = {{}};
    for (const SchemaValue& part : parts->items) {
      SLUICE_TRY(const Branches branches, expand(part, true, type));
      SLUICE_TRY_VOID(multiply(none, branches));
    }
    SLUICE_TRY_VOID(append(out, std::move(none)));
    // Or two at a time.
    for (size_t i = 0; keyword == "oneOf" && i < parts->items.size(); ++i) {
      for (size_t j = i + 1; j < parts->items.size(); ++j) {
        SLUICE_TRY(Branches first, expand(parts->items[i], false, type));
        SLUICE_TRY(const Branches second, expand(parts->items[j], false, type));
        SLUICE_TRY_VOID(multiply(first, second));
        SLUICE_TRY_VOID(append(out, std::move(first)));
      }
    }
  }
  if (schema.find("if") != nullptr) {
    SLUICE_TRY(Branches branches, expand_if(schema, true, type));
    SLUICE_TRY_VOID(append(out, std::move(branches)));
  }
  return out;
}

Result<Shapes::Branches> Shapes::negated_object(const SchemaValue& schema) {
  for (const std::string_view keyword : {"additionalProperties", "propertyNames"}) {
    if (!is_true(schema.find(keyword))) return Error{"unsupported not: the opposite of " + std::string(keyword)};
  }
  for (const std::string_view keyword : {"patternProperties", "dependentRequired", "dependentSchemas", "dependencies"}) {
    const SchemaValue* map = schema.find(keyword);
    if (map != nullptr && !map->members.empty()) return Error{"unsupported not: the opposite of " + std::string(keyword)};
  }
  Branches out;
  if (const SchemaValue* properties = schema.find("properties")) {
    for (const auto& [name, part] : properties->members) {
      if (!is_true(&part)) out.push_back({{Piece::Kind::kPresent, nullptr, name, {{&part, true}}, 0, -1}});
    }
  }
  if (const SchemaValue* required = schema.find("required")) {
    for (const SchemaValue& name : required->items) out.push_back({{Piece::Kind::kAbsent, nullptr, name.string, {}, 0, -1}});
  }
  SLUICE_TRY(const uint64_t low, count_keyword(schema, "minProperties", 0));
  SLUICE_TRY(const uint64_t high, count_keyword(schema, "maxProperties", 0));
  if (low > 0) out.push_back({{Piece::Kind::kCount, nullptr, {}, {}, 0, static_cast<int64_t>(low) - 1}});
  if (schema.find("maxProperties") != nullptr) out.push_back({{Piece::Kind::kCount, nullptr, {}, {}, high + 1, -1}});
  Branches checked;
  SLUICE_TRY_VOID(append(checked, std::move(out)));
  return checked;
}

Result<Shapes::Branches> Shapes::negated_array(const SchemaValue& schema) {
  const SchemaValue *items = schema.find("items"), *prefix = schema.find("prefixItems");
  if (items != nullptr && items->is(Kind::kArray)) {
    prefix = items;
    items = schema.find("additionalItems");
  }
  if (!is_true(items)) return Error{"unsupported not: the opposite of items"};
  Branches out;
  for (size_t i = 0; prefix != nullptr && i < prefix->items.size(); ++i) {
    if (!is_true(&prefix->items[i])) out.push_back({{Piece::Kind::kItem, nullptr, {}, {{&prefix->items[i], true}}, i, -1}});
  }
  SLUICE_TRY(const uint64_t low, count_keyword(schema, "minItems", 0));
  SLUICE_TRY(const uint64_t high, count_keyword(schema, "maxItems", 0));
  if (low > 0) out.push_back({{Piece::Kind::kCount, nullptr, {}, {}, 0, static_cast<int64_t>(low) - 1}});
  if (schema.find("maxItems") != nullptr) out.push_back({{Piece::Kind::kCount, nullptr, {}, {}, high + 1, -1}});
  return out;
}

// What every object of a schema has in common, as far as it can be seen without looking into alternatives.
struct Shapes::Facts {
  bool impossible = false;
  bool closed = false;
  std::set<std::string> required, known;
  std::map<std::string, std::vector<SchemaLiteral>> values;
};

Status Shapes::collect(const SchemaValue& schema, Facts& facts, uint32_t depth) {
  SLUICE_TRY_VOID(allowance_.spend(20 + schema.members.size()));
  if (!schema.is(Kind::kObject) || depth > 16) return {};
  SLUICE_TRY_VOID(document_.check(schema));
  const SchemaValue* reference = schema.find("$ref");
  if (reference != nullptr) {
    SLUICE_TRY(const SchemaValue* target, document_.resolve(reference->string));
    SLUICE_TRY_VOID(collect(*target, facts, depth + 1));
    if (document_.draft7()) return {};
  }
  if (!type_allows(schema, JsonType::kObject) || (is_listed(schema) && !lists_type(schema, JsonType::kObject))) facts.impossible = true;
  const SchemaValue *properties = schema.find("properties"), *additional = schema.find("additionalProperties");
  const SchemaValue* patterns = schema.find("patternProperties");
  if (additional != nullptr && additional->is(Kind::kBool) && !additional->boolean && !facts.closed &&
      (patterns == nullptr || patterns->members.empty())) {
    facts.closed = true;
    for (size_t i = 0; properties != nullptr && i < properties->members.size(); ++i) facts.known.insert(properties->members[i].first);
  }
  if (properties != nullptr) {
    for (const auto& [name, part] : properties->members) facts.values[name].push_back({&part, false});
  }
  if (const SchemaValue* required = schema.find("required")) {
    for (const SchemaValue& name : required->items) facts.required.insert(name.string);
  }
  if (const SchemaValue* all = schema.find("allOf")) {
    for (const SchemaValue& part : all->items) SLUICE_TRY_VOID(collect(part, facts, depth + 1));
  }
  return {};
}

// No scalar satisfies all, and arrays and objects are ruled out by type alone.
Result<bool> Shapes::no_common_value(const SchemaSet& set) {
  for (const JsonType type : {JsonType::kArray, JsonType::kObject}) {
    const bool ruled_out = std::any_of(set.begin(), set.end(), [&](SchemaLiteral literal) {
      const SchemaValue* schema = literal.schema;
      for (int hops = 0; hops < 16 && schema->is(Kind::kObject) && schema->find("$ref") != nullptr; ++hops) {
        const Result<const SchemaValue*> target = document_.resolve(schema->find("$ref")->string);
        if (!target.ok()) return false;
        schema = *target;
      }
      if (schema->is(Kind::kBool)) return !schema->boolean;
      return document_.check(*schema).ok() && (!type_allows(*schema, type) || (is_listed(*schema) && !lists_type(*schema, type)));
    });
    if (!ruled_out) return false;
  }
  SLUICE_TRY(const uint8_t words, scalars_.words(set));
  if (words != 0) return false;
  SLUICE_TRY(const CharDfa strings, scalars_.strings(set));
  if (!strings.empty()) return false;
  SLUICE_TRY(const CharDfa numbers, scalars_.numbers(set));
  return numbers.empty();
}

Result<bool> Shapes::disjoint(const SchemaValue& a, const SchemaValue& b, JsonType type) {
  if (type != JsonType::kObject) return false;
  Facts facts_a, facts_b;
  SLUICE_TRY_VOID(collect(a, facts_a, 0));
  SLUICE_TRY_VOID(collect(b, facts_b, 0));
  if (facts_a.impossible || facts_b.impossible) return true;
  for (const auto& [mine, other] : {std::pair(&facts_a, &facts_b), std::pair(&facts_b, &facts_a)}) {
    for (const std::string& name : mine->required) {
      if (other->closed && other->known.count(name) == 0) return true;
      const auto first = mine->values.find(name), second = other->values.find(name);
      if (first == mine->values.end() || second == other->values.end()) continue;
      std::vector<SchemaLiteral> both = first->second;
      both.insert(both.end(), second->second.begin(), second->second.end());
      SLUICE_TRY(const bool apart, no_common_value(schema_set(std::move(both))));
      if (apart) return true;
    }
  }
  return false;
}

}  // namespace sluice::text
