// Alternatives without logic become shapes: which members in which order, which items, how many. Contract: text/schema_shapes.h.
// Next: text/json_schema.cc writes shapes as grammar rules.
#include "text/schema_shapes.h"

#include <algorithm>

namespace sluice::text {

using Kind = SchemaValue::Kind;

namespace {

constexpr size_t kExtrasMax = 64;
constexpr size_t kPatternsMax = 16;

bool is_false(const SchemaValue* schema) { return schema != nullptr && schema->is(Kind::kBool) && !schema->boolean; }

}  // namespace

Result<const CharDfa*> Shapes::pattern(const std::string& expression) {
  const auto it = patterns_.find(expression);
  if (it != patterns_.end()) return &it->second;
  SLUICE_TRY(CharDfa language, scalars_.pattern(expression));
  return &patterns_.emplace(expression, std::move(language)).first->second;
}

Result<bool> Shapes::piece_admits(const Piece& piece, const SchemaValue& value) {
  const auto admits_all = [&](const SchemaValue& part) -> Result<bool> {
    for (const SchemaLiteral literal : piece.value) {
      SLUICE_TRY(const bool admitted, scalars_.admits(*literal.schema, part));
      if (admitted == literal.negated) return false;
    }
    return true;
  };
  const size_t count = value.is(Kind::kObject) ? value.members.size() : value.items.size();
  switch (piece.kind) {
    case Piece::Kind::kOwn:
    case Piece::Kind::kValues: return scalars_.admits_structure(*piece.schema, value);
    case Piece::Kind::kPresent: {
      const SchemaValue* member = value.find(piece.name);
      return member == nullptr ? Result<bool>(false) : admits_all(*member);
    }
    case Piece::Kind::kAbsent: return value.find(piece.name) == nullptr;
    case Piece::Kind::kCount: return count >= piece.low && (piece.high < 0 || count <= static_cast<uint64_t>(piece.high));
    case Piece::Kind::kItem: return piece.low < value.items.size() ? admits_all(value.items[piece.low]) : Result<bool>(false);
  }
  return false;
}

// True if the branch lists its values; out are those that all its pieces admit.
Result<bool> Shapes::list_values(const Branch& branch, JsonType type, std::vector<const SchemaValue*>& out) {
  const auto lists = std::find_if(branch.begin(), branch.end(), [](const Piece& p) { return p.kind == Piece::Kind::kValues; });
  if (lists == branch.end()) return false;
  std::vector<const SchemaValue*> candidates;
  if (const SchemaValue* list = lists->schema->find("enum")) {
    for (const SchemaValue& value : list->items) candidates.push_back(&value);
  } else {
    candidates.push_back(lists->schema->find("const"));
  }
  const Kind kind = type == JsonType::kObject ? Kind::kObject : Kind::kArray;
  for (const SchemaValue* value : candidates) {
    bool good = value->is(kind);
    for (size_t i = 0; good && i < branch.size(); ++i) {
      SLUICE_TRY(good, piece_admits(branch[i], *value));
    }
    if (good) out.push_back(value);
  }
  return true;
}

Result<std::vector<ObjectChoice>> Shapes::objects(const SchemaSet& set) {
  SLUICE_TRY(const Branches branches, expand(set, JsonType::kObject));
  std::vector<ObjectChoice> out;
  for (const Branch& branch : branches) {
    ObjectChoice choice;
    choice.anything = branch.empty();
    SLUICE_TRY(choice.listed, list_values(branch, JsonType::kObject, choice.values));
    if (!choice.anything && !choice.listed) {
      SLUICE_TRY(choice.shape, object_shape(branch));
    }
    if (choice.anything) return std::vector<ObjectChoice>{std::move(choice)};
    out.push_back(std::move(choice));
  }
  return out;
}

Result<std::vector<ArrayChoice>> Shapes::arrays(const SchemaSet& set) {
  SLUICE_TRY(const Branches branches, expand(set, JsonType::kArray));
  std::vector<ArrayChoice> out;
  for (const Branch& branch : branches) {
    ArrayChoice choice;
    choice.anything = branch.empty();
    SLUICE_TRY(choice.listed, list_values(branch, JsonType::kArray, choice.values));
    if (!choice.anything && !choice.listed) {
      SLUICE_TRY(choice.shape, array_shape(branch));
    }
    if (choice.anything) return std::vector<ArrayChoice>{std::move(choice)};
    out.push_back(std::move(choice));
  }
  return out;
}

Result<ObjectShape> Shapes::object_shape(const Branch& branch) {
  ObjectShape shape;
  std::vector<std::string> names;
  const auto mention = [&](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  const auto limit = [&](uint64_t low, int64_t high) {
    shape.count_min = std::max(shape.count_min, low);
    if (high >= 0) shape.count_max = shape.count_max < 0 ? high : std::min(shape.count_max, high);
  };
  for (const Piece& piece : branch) {
    if (piece.kind == Piece::Kind::kCount) limit(piece.low, piece.high);
    if (piece.kind != Piece::Kind::kOwn) continue;
    const SchemaValue* properties = piece.schema->find("properties");
    for (size_t i = 0; properties != nullptr && i < properties->members.size(); ++i) mention(properties->members[i].first);
    SLUICE_TRY(const uint64_t low, count_keyword(*piece.schema, "minProperties", 0));
    SLUICE_TRY(const uint64_t high, count_keyword(*piece.schema, "maxProperties", 0));
    limit(low, piece.schema->find("maxProperties") == nullptr ? -1 : static_cast<int64_t>(high));
  }
  for (const Piece& piece : branch) {
    const SchemaValue* required = piece.kind == Piece::Kind::kOwn ? piece.schema->find("required") : nullptr;
    for (size_t i = 0; required != nullptr && i < required->items.size(); ++i) mention(required->items[i].string);
    if (piece.kind == Piece::Kind::kPresent || piece.kind == Piece::Kind::kAbsent) mention(piece.name);
  }
  SLUICE_TRY_VOID(allowance_.spend(names.size() * names.size()));
  for (const std::string& name : names) SLUICE_TRY_VOID(add_property(branch, name, shape));
  SLUICE_TRY_VOID(add_extras(branch, shape));
  return shape;
}

// One named member: everything that the pieces say about it. A member that cannot be there gets the schema `false`.
Status Shapes::add_property(const Branch& branch, const std::string& name, ObjectShape& shape) {
  static const SchemaValue kNever = [] {
    SchemaValue value;
    value.kind = Kind::kBool;
    return value;
  }();
  ObjectShape::Property property;
  property.name = name;
  std::vector<SchemaLiteral> literals;
  for (const Piece& piece : branch) {
    SLUICE_TRY_VOID(allowance_.spend(10));
    if (piece.kind == Piece::Kind::kPresent && piece.name == name) {
      property.required = true;
      literals.insert(literals.end(), piece.value.begin(), piece.value.end());
    }
    if (piece.kind == Piece::Kind::kAbsent && piece.name == name) literals.push_back({&kNever, false});
    if (piece.kind != Piece::Kind::kOwn) continue;
    const SchemaValue& schema = *piece.schema;
    bool matched = false;
    const SchemaValue* properties = schema.find("properties");
    if (const SchemaValue* part = properties == nullptr ? nullptr : properties->find(name)) {
      matched = true;
      literals.push_back({part, false});
    }
    const SchemaValue* patterns = schema.find("patternProperties");
    for (size_t i = 0; patterns != nullptr && i < patterns->members.size(); ++i) {
      SLUICE_TRY(const CharDfa* language, pattern(patterns->members[i].first));
      if (!language->matches(name)) continue;
      matched = true;
      literals.push_back({&patterns->members[i].second, false});
    }
    const SchemaValue* additional = schema.find("additionalProperties");
    if (!matched && additional != nullptr) literals.push_back({additional, false});
    if (const SchemaValue* key = schema.find("propertyNames")) {
      SLUICE_TRY(const CharDfa language, scalars_.strings({{key, false}}));
      if (!language.matches(name)) literals.push_back({&kNever, false});
    }
    if (const SchemaValue* required = schema.find("required")) {
      for (const SchemaValue& item : required->items) property.required |= item.string == name;
    }
  }
  property.value = schema_set(std::move(literals));
  shape.properties.push_back(std::move(property));
  return {};
}

// Members that no piece names. Keys are told apart by the set of patterns they match.
Status Shapes::add_extras(const Branch& branch, ObjectShape& shape) {
  struct Pattern {
    const SchemaValue* owner;
    const SchemaValue* value;
    const CharDfa* language;
  };
  std::vector<Pattern> all;
  std::vector<std::string> names;
  for (const ObjectShape::Property& property : shape.properties) names.push_back(property.name);
  for (const Piece& piece : branch) {
    if (piece.kind != Piece::Kind::kOwn) continue;
    const SchemaValue* patterns = piece.schema->find("patternProperties");
    const bool open = patterns != nullptr && !patterns->members.empty();
    if (!open && is_false(piece.schema->find("additionalProperties"))) return {};
    for (size_t i = 0; open && i < patterns->members.size(); ++i) {
      SLUICE_TRY(const CharDfa* language, pattern(patterns->members[i].first));
      all.push_back({piece.schema, &patterns->members[i].second, language});
    }
  }
  if (all.size() > kPatternsMax) return Error{"unsupported patternProperties: more than " + std::to_string(kPatternsMax) + " patterns"};
  CharDfa keys = CharDfa::everything();
  if (!names.empty()) {
    SLUICE_TRY(const CharDfa named, one_of(names, allowance_));
    SLUICE_TRY(keys, complement(named, allowance_));
  }
  for (const Piece& piece : branch) {
    const SchemaValue* key = piece.kind == Piece::Kind::kOwn ? piece.schema->find("propertyNames") : nullptr;
    if (key == nullptr) continue;
    SLUICE_TRY(const CharDfa language, scalars_.strings({{key, false}}));
    SLUICE_TRY(keys, combine(keys, language, SetOp::kAnd, allowance_));
  }
  struct Class {
    CharDfa keys;
    uint32_t matched;
  };
  std::vector<Class> classes = {{std::move(keys), 0}};
  for (size_t p = 0; p < all.size(); ++p) {
    std::vector<Class> split;
    for (const Class& one : classes) {
      SLUICE_TRY(CharDfa inside, combine(one.keys, *all[p].language, SetOp::kAnd, allowance_));
      SLUICE_TRY(CharDfa outside, combine(one.keys, *all[p].language, SetOp::kMinus, allowance_));
      if (!inside.empty()) split.push_back({std::move(inside), one.matched | 1u << p});
      if (!outside.empty()) split.push_back({std::move(outside), one.matched});
    }
    classes = std::move(split);
    if (classes.size() > kExtrasMax) return Error{"unsupported patternProperties: too many ways in which keys can match"};
  }
  for (Class& one : classes) {
    if (one.keys.empty()) continue;
    std::vector<SchemaLiteral> literals;
    bool never = false;
    for (const Piece& piece : branch) {
      if (piece.kind != Piece::Kind::kOwn) continue;
      bool matched = false;
      for (size_t p = 0; p < all.size(); ++p) {
        if (all[p].owner != piece.schema || !(one.matched >> p & 1)) continue;
        matched = true;
        literals.push_back({all[p].value, false});
      }
      const SchemaValue* additional = piece.schema->find("additionalProperties");
      if (!matched && additional != nullptr) literals.push_back({additional, false});
    }
    for (const SchemaLiteral& literal : literals) never |= is_false(literal.schema);
    if (!never) shape.extras.push_back({std::move(one.keys), schema_set(std::move(literals))});
  }
  return {};
}

Result<ArrayShape> Shapes::array_shape(const Branch& branch) {
  ArrayShape shape;
  struct Own {
    const SchemaValue* prefix;
    const SchemaValue* rest;
  };
  std::vector<Own> owns;
  size_t prefix_count = 0;
  for (const Piece& piece : branch) {
    if (piece.kind == Piece::Kind::kCount) {
      shape.count_min = std::max(shape.count_min, piece.low);
      if (piece.high >= 0) shape.count_max = shape.count_max < 0 ? piece.high : std::min(shape.count_max, piece.high);
    }
    if (piece.kind == Piece::Kind::kItem) {
      prefix_count = std::max<size_t>(prefix_count, piece.low + 1);
      shape.count_min = std::max(shape.count_min, piece.low + 1);
    }
    if (piece.kind != Piece::Kind::kOwn) continue;
    Own own{piece.schema->find("prefixItems"), piece.schema->find("items")};
    if (own.rest != nullptr && own.rest->is(Kind::kArray)) own = {own.rest, piece.schema->find("additionalItems")};
    if (own.prefix != nullptr) prefix_count = std::max(prefix_count, own.prefix->items.size());
    owns.push_back(own);
    SLUICE_TRY(const uint64_t low, count_keyword(*piece.schema, "minItems", 0));
    SLUICE_TRY(const uint64_t high, count_keyword(*piece.schema, "maxItems", 0));
    shape.count_min = std::max(shape.count_min, low);
    if (piece.schema->find("maxItems") != nullptr) {
      shape.count_max = shape.count_max < 0 ? static_cast<int64_t>(high) : std::min(shape.count_max, static_cast<int64_t>(high));
    }
  }
  for (size_t i = 0; i <= prefix_count; ++i) {
    std::vector<SchemaLiteral> literals;
    for (const Own& own : owns) {
      const SchemaValue* part = own.prefix != nullptr && i < own.prefix->items.size() ? &own.prefix->items[i] : own.rest;
      if (part != nullptr) literals.push_back({part, false});
    }
    for (const Piece& piece : branch) {
      if (piece.kind == Piece::Kind::kItem && piece.low == i) literals.insert(literals.end(), piece.value.begin(), piece.value.end());
    }
    SchemaSet set = schema_set(std::move(literals));
    if (i == prefix_count) {
      shape.rest = std::move(set);
    } else {
      shape.prefix.push_back(std::move(set));
    }
  }
  return shape;
}

}  // namespace sluice::text
