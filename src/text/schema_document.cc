// Keyword table, draft, anchors, references. Contract: text/schema_document.h. Sources: JSON Schema 2020-12 core and validation, draft-07.
// Next: text/schema_shapes.cc, where keywords of objects and arrays get their meaning.
#include "text/schema_document.h"

#include <algorithm>
#include <array>

namespace sluice::text {
namespace {

using Kind = SchemaValue::Kind;

enum class Shape { kAny, kString, kNumber, kCount, kBool, kArray, kStrings, kSchema, kSchemas, kSchemaMap, kSchemaOrSchemas, kType, kMap };

struct Keyword {
  std::string_view name;
  Shape shape;
  bool supported = true;
};

// Annotations and definitions are listed too: what is not in this table is refused.
constexpr Keyword kKeywords[] = {
    {"$schema", Shape::kString},
    {"$id", Shape::kString},
    {"$anchor", Shape::kString},
    {"$comment", Shape::kAny},
    {"$ref", Shape::kString},
    {"$defs", Shape::kSchemaMap},
    {"definitions", Shape::kSchemaMap},
    {"title", Shape::kAny},
    {"description", Shape::kAny},
    {"default", Shape::kAny},
    {"examples", Shape::kAny},
    {"example", Shape::kAny},
    {"deprecated", Shape::kAny},
    {"readOnly", Shape::kAny},
    {"writeOnly", Shape::kAny},
    {"contentMediaType", Shape::kAny},  // annotations in both drafts: they say how to read a string, not which strings there are
    {"contentEncoding", Shape::kAny},
    {"contentSchema", Shape::kAny},
    {"type", Shape::kType},
    {"enum", Shape::kArray},
    {"const", Shape::kAny},
    {"allOf", Shape::kSchemas},
    {"anyOf", Shape::kSchemas},
    {"oneOf", Shape::kSchemas},
    {"not", Shape::kSchema},
    {"if", Shape::kSchema},
    {"then", Shape::kSchema},
    {"else", Shape::kSchema},
    {"minLength", Shape::kCount},
    {"maxLength", Shape::kCount},
    {"pattern", Shape::kString},
    {"format", Shape::kString},
    {"minimum", Shape::kNumber},
    {"maximum", Shape::kNumber},
    {"exclusiveMinimum", Shape::kNumber},
    {"exclusiveMaximum", Shape::kNumber},
    {"multipleOf", Shape::kNumber},
    {"properties", Shape::kSchemaMap},
    {"patternProperties", Shape::kSchemaMap},
    {"additionalProperties", Shape::kSchema},
    {"propertyNames", Shape::kSchema},
    {"required", Shape::kStrings},
    {"minProperties", Shape::kCount},
    {"maxProperties", Shape::kCount},
    {"dependentRequired", Shape::kMap},
    {"dependentSchemas", Shape::kSchemaMap},
    {"dependencies", Shape::kMap},
    {"items", Shape::kSchemaOrSchemas},
    {"prefixItems", Shape::kSchemas},
    {"additionalItems", Shape::kSchema},
    {"minItems", Shape::kCount},
    {"maxItems", Shape::kCount},
    {"uniqueItems", Shape::kBool},
    {"contains", Shape::kSchema, false},
    {"minContains", Shape::kCount, false},
    {"maxContains", Shape::kCount, false},
    {"unevaluatedItems", Shape::kAny, false},
    {"unevaluatedProperties", Shape::kAny, false},
    {"$dynamicRef", Shape::kAny, false},
    {"$dynamicAnchor", Shape::kAny, false},
    {"$recursiveRef", Shape::kAny, false},
    {"$recursiveAnchor", Shape::kAny, false},
    {"$vocabulary", Shape::kAny, false},
};

const Keyword* find_keyword(std::string_view name) {
  const auto it = std::find_if(std::begin(kKeywords), std::end(kKeywords), [&](const Keyword& k) { return k.name == name; });
  return it == std::end(kKeywords) ? nullptr : it;
}

bool is_schema(const SchemaValue& value) { return value.is(Kind::kObject) || value.is(Kind::kBool); }

bool is_type_name(const SchemaValue& value) {
  constexpr std::string_view kNames[] = {"null", "boolean", "number", "integer", "string", "array", "object"};
  return value.is(Kind::kString) && std::find(std::begin(kNames), std::end(kNames), value.string) != std::end(kNames);
}

bool fits(Shape shape, const SchemaValue& value) {
  const auto all_items = [&](auto predicate) {
    return value.is(Kind::kArray) && std::all_of(value.items.begin(), value.items.end(), predicate);
  };
  switch (shape) {
    case Shape::kAny: return true;
    case Shape::kString: return value.is(Kind::kString);
    case Shape::kNumber: return value.is(Kind::kNumber);
    case Shape::kCount: return value.is(Kind::kNumber) && value.number.is_integer() && !value.number.negative;
    case Shape::kBool: return value.is(Kind::kBool);
    case Shape::kArray: return value.is(Kind::kArray);
    case Shape::kStrings: return all_items([](const SchemaValue& item) { return item.is(Kind::kString); });
    case Shape::kSchema: return is_schema(value);
    case Shape::kSchemas: return all_items(is_schema) && !value.items.empty();
    case Shape::kSchemaOrSchemas: return is_schema(value) || all_items(is_schema);
    case Shape::kType: return is_type_name(value) || (all_items(is_type_name) && !value.items.empty());
    case Shape::kMap: return value.is(Kind::kObject);
    case Shape::kSchemaMap:
      return value.is(Kind::kObject) &&
             std::all_of(value.members.begin(), value.members.end(), [](const auto& member) { return is_schema(member.second); });
  }
  return false;
}

// %XX, then ~1 and ~0, as RFC 6901 reads a pointer in a fragment.
std::string decode_fragment(std::string_view text) {
  std::string out;
  const auto hex = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
      out.push_back(static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2])));
      i += 2;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::string unescape_pointer(std::string_view part) {
  std::string out;
  for (size_t i = 0; i < part.size(); ++i) {
    if (part[i] == '~' && i + 1 < part.size() && (part[i + 1] == '0' || part[i + 1] == '1')) {
      out.push_back(part[++i] == '0' ? '~' : '/');
    } else {
      out.push_back(part[i]);
    }
  }
  return out;
}

const SchemaValue* follow(const SchemaValue& root, std::string_view pointer) {
  const SchemaValue* at = &root;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const size_t end = std::min(pointer.find('/'), pointer.size());
    const std::string part = unescape_pointer(pointer.substr(0, end));
    pointer.remove_prefix(end);
    if (at->is(Kind::kObject)) {
      at = at->find(part);
    } else if (at->is(Kind::kArray) && !part.empty() && part.size() < 7 && part.find_first_not_of("0123456789") == std::string::npos) {
      const size_t index = std::stoul(part);
      at = index < at->items.size() ? &at->items[index] : nullptr;
    } else {
      return nullptr;
    }
    if (at == nullptr) return nullptr;
  }
  return at;
}

}  // namespace

Result<std::unique_ptr<SchemaDocument>> SchemaDocument::parse(std::string_view text, Allowance& allowance) {
  SLUICE_TRY_VOID(allowance.spend(text.size()));
  SLUICE_TRY_VOID(allowance.hold(text.size() * 8));
  auto out = std::make_unique<SchemaDocument>();
  SLUICE_TRY(out->root_, parse_schema_value(text));
  if (!is_schema(out->root_)) return Error{"the schema must be a JSON object, true or false"};
  SLUICE_TRY_VOID(out->read_draft());
  SLUICE_TRY_VOID(out->collect_anchors(out->root_, true, allowance));
  return out;
}

Status SchemaDocument::read_draft() {
  const SchemaValue* schema = root_.find("$schema");
  if (schema == nullptr) return {};
  if (!schema->is(Kind::kString)) return Error{"$schema must be a string"};
  const std::string& uri = schema->string;
  draft7_ = uri.find("draft-07/schema") != std::string::npos || uri.find("draft-06/schema") != std::string::npos;
  const bool newer = uri.find("2020-12/schema") != std::string::npos || uri.find("2019-09/schema") != std::string::npos;
  if (!draft7_ && !newer) return Error{"unsupported $schema '" + uri.substr(0, 100) + "': the drafts 2020-12 and draft-07 are supported"};
  return {};
}

Status SchemaDocument::collect_anchors(const SchemaValue& schema, bool at_root, Allowance& allowance) {
  SLUICE_TRY_VOID(allowance.spend(4 + schema.members.size()));
  if (!schema.is(Kind::kObject)) return {};
  for (const auto& [name, value] : schema.members) {
    const Keyword* keyword = find_keyword(name);
    if (keyword == nullptr) continue;
    if (name == "$id" && value.is(Kind::kString)) {
      const bool anchor = draft7_ && value.string.starts_with('#');
      if (anchor) anchors_[value.string.substr(1)] = &schema;
      if (!anchor && !at_root) return Error{"unsupported $id '" + value.string.substr(0, 100) + "' inside a schema"};
      if (at_root && !anchor) base_ = value.string.substr(0, value.string.find('#'));
    }
    if (name == "$anchor" && value.is(Kind::kString)) anchors_[value.string] = &schema;
    const bool one = keyword->shape == Shape::kSchema || keyword->shape == Shape::kSchemaOrSchemas;
    const bool list = keyword->shape == Shape::kSchemas || keyword->shape == Shape::kSchemaOrSchemas;
    const bool map = keyword->shape == Shape::kSchemaMap || name == "dependencies";
    if (one && value.is(Kind::kObject)) SLUICE_TRY_VOID(collect_anchors(value, false, allowance));
    if (list) {
      for (const SchemaValue& item : value.items) SLUICE_TRY_VOID(collect_anchors(item, false, allowance));
    }
    if (map) {
      for (const auto& [key, item] : value.members) SLUICE_TRY_VOID(collect_anchors(item, false, allowance));
    }
  }
  return {};
}

Result<const SchemaValue*> SchemaDocument::resolve(const std::string& reference) const {
  const Error unknown{"unsupported $ref '" + reference.substr(0, 100) + "': only places inside this schema can be referred to"};
  std::string_view fragment = reference;
  if (!base_.empty() && fragment.starts_with(base_) && (fragment.size() == base_.size() || fragment[base_.size()] == '#'))
    fragment.remove_prefix(base_.size());
  if (!fragment.empty() && fragment[0] != '#') return unknown;
  if (!fragment.empty()) fragment.remove_prefix(1);
  const std::string decoded = decode_fragment(fragment);
  const SchemaValue* target = nullptr;
  if (decoded.empty() || decoded[0] == '/') {
    target = follow(root_, decoded);
  } else if (const auto it = anchors_.find(decoded); it != anchors_.end()) {
    target = it->second;
  }
  if (target == nullptr || !is_schema(*target)) return unknown;
  return target;
}

Status SchemaDocument::check(const SchemaValue& schema) const {
  if (!schema.is(Kind::kObject) || !checked_.emplace(&schema, true).second) return {};
  if (draft7_ && schema.find("$ref") != nullptr) return {};  // draft-07: members beside $ref do not count
  for (const auto& [name, value] : schema.members) {
    const Keyword* keyword = find_keyword(name);
    if (keyword == nullptr) {
      if (name.starts_with("x-")) continue;  // extensions by convention
      return Error{"unsupported keyword '" + name.substr(0, 60) + "'"};
    }
    if (!fits(keyword->shape, value)) return Error{"the keyword '" + name + "' has a value that it cannot have"};
    if (!keyword->supported) return Error{"unsupported keyword '" + name + "'"};
    if (name == "uniqueItems" && value.boolean) return Error{"unsupported keyword 'uniqueItems'"};
    if (name == "items" && value.is(Kind::kArray) && !draft7_) return Error{"unsupported keyword 'items' with a list: use prefixItems"};
    if (name == "prefixItems" && draft7_) return Error{"unsupported keyword 'prefixItems' in draft-07"};
  }
  return {};
}

Result<uint64_t> count_keyword(const SchemaValue& schema, std::string_view keyword, uint64_t otherwise) {
  const SchemaValue* value = schema.find(keyword);
  if (value == nullptr) return otherwise;
  const std::string& digits = value->number.whole;
  if (digits.size() > 9 || (!digits.empty() && std::stoull(digits) > limits::kConstraintRepeatMax)) {
    return Error{"unsupported " + std::string(keyword) + ": " + value->number.text() + " is more than " +
                 std::to_string(limits::kConstraintRepeatMax)};
  }
  return digits.empty() ? 0 : std::stoull(digits);
}

}  // namespace sluice::text
