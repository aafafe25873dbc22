// Types of parameters by the keywords that settle them: type, enum, const, $ref, allOf, anyOf, oneOf. Contract: text/tool_calls_types.h.
// Next: text/tool_calls.cc.
#include "text/tool_calls_types.h"

#include <algorithm>

#include "text/schema_document.h"
#include "text/tool_calls.h"

namespace sluice::text {
namespace {

using Kind = SchemaValue::Kind;

uint8_t named(std::string_view type) {
  if (type == "null") return kIsNull;
  if (type == "boolean") return kIsBoolean;
  if (type == "integer") return kIsInteger;
  if (type == "number") return kIsInteger | kIsNumber;
  if (type == "string") return kIsString;
  if (type == "array") return kIsArray;
  return type == "object" ? kIsObject : 0;
}

uint8_t type_of(const SchemaValue& value) {
  switch (value.kind) {
    case Kind::kNull: return kIsNull;
    case Kind::kBool: return kIsBoolean;
    case Kind::kNumber: return value.number.is_integer() ? kIsInteger : kIsNumber;
    case Kind::kString: return kIsString;
    case Kind::kArray: return kIsArray;
    case Kind::kObject: return kIsObject;
  }
  return 0;
}

uint8_t types_of(const SchemaDocument& document, const SchemaValue& schema, uint32_t depth) {
  if (schema.is(Kind::kBool)) return schema.boolean ? kIsAnything : 0;
  if (!schema.is(Kind::kObject) || depth > limits::kConstraintNestingMax) return kIsAnything;
  uint8_t out = kIsAnything;
  const auto any_of = [](const SchemaValue& list, const auto& types) {
    uint8_t any = 0;
    for (const SchemaValue& item : list.items) any |= types(item);
    return any;
  };
  const auto part = [&](const SchemaValue& item) { return types_of(document, item, depth + 1); };
  if (const SchemaValue* type = schema.find("type")) {
    out &= type->is(Kind::kString) ? named(type->string) : any_of(*type, [](const SchemaValue& item) { return named(item.string); });
  }
  if (const SchemaValue* list = schema.find("enum")) out &= any_of(*list, type_of);
  if (const SchemaValue* value = schema.find("const")) out &= type_of(*value);
  for (const std::string_view keyword : {"anyOf", "oneOf"}) {
    if (const SchemaValue* list = schema.find(keyword)) out &= any_of(*list, part);
  }
  if (const SchemaValue* list = schema.find("allOf")) {
    for (const SchemaValue& item : list->items) out &= part(item);
  }
  if (const SchemaValue* reference = schema.find("$ref")) {
    const auto target = document.resolve(reference->string);
    if (target.ok()) out &= types_of(document, **target, depth + 1);
  }
  return out;
}

}  // namespace

ToolTypes::ToolTypes(std::span<const Tool> tools) {
  for (const Tool& tool : tools) {
    Entry entry{tool.name, {}};
    Allowance allowance({});
    const auto document = SchemaDocument::parse(tool.parameters.empty() ? "true" : tool.parameters, allowance);
    const SchemaValue* root = document.ok() ? &(*document)->root() : nullptr;
    for (uint32_t hops = 0; root != nullptr && root->find("$ref") != nullptr; ++hops) {
      const auto target = (*document)->resolve(root->find("$ref")->string);
      root = target.ok() && hops < limits::kConstraintNestingMax ? *target : nullptr;
    }
    const SchemaValue* properties = root == nullptr ? nullptr : root->find("properties");
    for (size_t i = 0; properties != nullptr && i < properties->members.size(); ++i) {
      const auto& [name, schema] = properties->members[i];
      entry.parameters.emplace_back(name, types_of(**document, schema, 0));
    }
    tools_.push_back(std::move(entry));
  }
}

uint8_t ToolTypes::of(std::string_view tool, std::string_view parameter) const {
  for (const Entry& entry : tools_) {
    if (entry.name != tool) continue;
    for (const auto& [name, types] : entry.parameters) {
      if (name == parameter) return types;
    }
  }
  return kIsAnything;
}

std::string value_of(std::string_view text, uint8_t types) {
  std::string json;
  uint8_t type = 0;
  if (types != kIsString && read_literal(text, json, type) && (types & type) != 0 && type != kIsString) return json;
  json.clear();
  json += '"';
  append_json_escaped(json, text);
  json += '"';
  return json;
}

}  // namespace sluice::text
