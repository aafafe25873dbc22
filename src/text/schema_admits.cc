// Whether one value satisfies a schema: used to filter what enum and const list by everything else that must hold.
// Contract: text/schema_scalars.h (Scalars::admits); recursion is bounded by the nesting of the listed value. Next: text/schema_shapes.cc.
#include <algorithm>

#include "text/schema_scalars.h"

namespace sluice::text {

using Kind = SchemaValue::Kind;

namespace {

JsonType type_of(const SchemaValue& value) {
  switch (value.kind) {
    case Kind::kNull: return JsonType::kNull;
    case Kind::kBool: return JsonType::kBoolean;
    case Kind::kNumber: return JsonType::kNumber;
    case Kind::kString: return JsonType::kString;
    case Kind::kArray: return JsonType::kArray;
    case Kind::kObject: return JsonType::kObject;
  }
  return JsonType::kNull;
}

}  // namespace

Result<bool> Scalars::admits(const SchemaValue& schema, const SchemaValue& value) {
  SLUICE_TRY_VOID(allowance_.spend(20));
  if (schema.is(Kind::kBool)) return schema.boolean;
  SLUICE_TRY_VOID(document_.check(schema));
  if (open_.size() > 4 * limits::kConstraintNestingMax) return Error{"the schema's references are nested too deeply"};
  open_.push_back(&schema);
  Result<bool> out = true;
  const SchemaValue* reference = schema.find("$ref");
  if (reference != nullptr) {
    const Result<const SchemaValue*> target = document_.resolve(reference->string);
    out = target.ok() ? admits(*target.value(), value) : Result<bool>(target.error());
  }
  if (!(reference != nullptr && document_.draft7())) {
    if (out.ok() && *out) out = admits_structure(schema, value);
    if (out.ok() && *out) out = admits_logic(schema, value);
  }
  open_.pop_back();
  return out;
}

Result<bool> Scalars::admits_structure(const SchemaValue& schema, const SchemaValue& value) {
  if (!type_allows(schema, type_of(value))) return false;
  if (const SchemaValue* list = schema.find("enum")) {
    if (std::none_of(list->items.begin(), list->items.end(), [&](const SchemaValue& item) { return equal(item, value); })) return false;
  }
  if (const SchemaValue* one = schema.find("const"); one != nullptr && !equal(*one, value)) return false;
  if (value.is(Kind::kString)) {
    SLUICE_TRY(const CharDfa language, own_strings(schema));
    return language.matches(value.string);
  }
  if (value.is(Kind::kNumber)) {
    SLUICE_TRY(const CharDfa language, own_numbers(schema));
    return language.matches(value.number.text());
  }
  if (value.is(Kind::kObject)) return admits_object(schema, value);
  if (value.is(Kind::kArray)) return admits_array(schema, value);
  return true;
}

Result<bool> Scalars::admits_object(const SchemaValue& schema, const SchemaValue& value) {
  for (const std::string_view keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    if (schema.find(keyword) != nullptr) return Error{"unsupported keyword '" + std::string(keyword) + "' beside enum or const"};
  }
  SLUICE_TRY(const uint64_t low, count_keyword(schema, "minProperties", 0));
  SLUICE_TRY(const uint64_t high, count_keyword(schema, "maxProperties", ~0ull));
  if (value.members.size() < low || value.members.size() > high) return false;
  if (const SchemaValue* required = schema.find("required")) {
    for (const SchemaValue& name : required->items) {
      if (value.find(name.string) == nullptr) return false;
    }
  }
  const SchemaValue *properties = schema.find("properties"), *patterns = schema.find("patternProperties");
  const SchemaValue *additional = schema.find("additionalProperties"), *names = schema.find("propertyNames");
  for (const auto& [key, member] : value.members) {
    bool matched = false;
    bool good = true;
    const auto require = [&](const SchemaValue& part, const SchemaValue& what) -> Status {
      SLUICE_TRY(const bool admitted, admits(part, what));
      good &= admitted;
      return {};
    };
    if (const SchemaValue* part = properties != nullptr ? properties->find(key) : nullptr) {
      matched = true;
      SLUICE_TRY_VOID(require(*part, member));
    }
    if (patterns != nullptr) {
      for (const auto& [expression, part] : patterns->members) {
        SLUICE_TRY(const CharDfa language, pattern(expression));
        if (!language.matches(key)) continue;
        matched = true;
        SLUICE_TRY_VOID(require(part, member));
      }
    }
    if (!matched && additional != nullptr) SLUICE_TRY_VOID(require(*additional, member));
    SchemaValue name;
    name.kind = Kind::kString;
    name.string = key;
    if (names != nullptr) SLUICE_TRY_VOID(require(*names, name));
    if (!good) return false;
  }
  return true;
}

Result<bool> Scalars::admits_array(const SchemaValue& schema, const SchemaValue& value) {
  SLUICE_TRY(const uint64_t low, count_keyword(schema, "minItems", 0));
  SLUICE_TRY(const uint64_t high, count_keyword(schema, "maxItems", ~0ull));
  if (value.items.size() < low || value.items.size() > high) return false;
  const SchemaValue *items = schema.find("items"), *prefix = schema.find("prefixItems");
  if (items != nullptr && items->is(Kind::kArray)) {
    prefix = items;
    items = schema.find("additionalItems");
  }
  for (size_t i = 0; i < value.items.size(); ++i) {
    const SchemaValue* part = prefix != nullptr && i < prefix->items.size() ? &prefix->items[i] : items;
    if (part == nullptr) continue;
    SLUICE_TRY(const bool admitted, admits(*part, value.items[i]));
    if (!admitted) return false;
  }
  return true;
}

Result<bool> Scalars::admits_logic(const SchemaValue& schema, const SchemaValue& value) {
  const auto count = [&](const SchemaValue* parts) -> Result<size_t> {
    size_t matching = 0;
    for (const SchemaValue& part : parts->items) {
      SLUICE_TRY(const bool admitted, admits(part, value));
      matching += admitted;
    }
    return matching;
  };
  if (const SchemaValue* parts = schema.find("allOf")) {
    SLUICE_TRY(const size_t matching, count(parts));
    if (matching != parts->items.size()) return false;
  }
  if (const SchemaValue* parts = schema.find("anyOf")) {
    SLUICE_TRY(const size_t matching, count(parts));
    if (matching == 0) return false;
  }
  if (const SchemaValue* parts = schema.find("oneOf")) {
    SLUICE_TRY(const size_t matching, count(parts));
    if (matching != 1) return false;
  }
  if (const SchemaValue* negated = schema.find("not")) {
    SLUICE_TRY(const bool admitted, admits(*negated, value));
    if (admitted) return false;
  }
  if (const SchemaValue* condition = schema.find("if")) {
    SLUICE_TRY(const bool holds, admits(*condition, value));
    const SchemaValue* part = schema.find(holds ? "then" : "else");
    if (part != nullptr) return admits(*part, value);
  }
  return true;
}

}  // namespace sluice::text
