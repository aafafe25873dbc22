// Which objects and arrays a set of schemas admits: a list of alternatives, each a plain shape without logical keywords.
// Contract: alternatives may overlap, their union is exact; what cannot be expressed is refused by name. Next: text/json_schema.h.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/schema_scalars.h"

namespace sluice::text {

struct ObjectShape {
  struct Property {
    std::string name;
    SchemaSet value;
    bool required = false;
  };
  struct Extra {
    CharDfa keys;  // excludes the names of all properties
    SchemaSet value;
  };
  std::vector<Property> properties;  // in the order in which they are written
  std::vector<Extra> extras;
  uint64_t count_min = 0;
  int64_t count_max = -1;  // -1: no bound
};

struct ArrayShape {
  std::vector<SchemaSet> prefix;
  SchemaSet rest;
  uint64_t count_min = 0;
  int64_t count_max = -1;
};

// One alternative: either listed values, or a shape; `anything`: no restriction at all.
struct ObjectChoice {
  bool anything = false;
  bool listed = false;
  std::vector<const SchemaValue*> values;
  ObjectShape shape;
};
struct ArrayChoice {
  bool anything = false;
  bool listed = false;
  std::vector<const SchemaValue*> values;
  ArrayShape shape;
};

class Shapes {
 public:
  Shapes(const SchemaDocument& document, Scalars& scalars, Allowance& allowance)
      : document_(document), scalars_(scalars), allowance_(allowance) {}

  Result<std::vector<ObjectChoice>> objects(const SchemaSet& set);
  Result<std::vector<ArrayChoice>> arrays(const SchemaSet& set);

 private:
  // A requirement without logic.
  struct Piece {
    enum class Kind : uint8_t { kOwn, kValues, kPresent, kAbsent, kCount, kItem };
    Kind kind;
    const SchemaValue* schema = nullptr;  // kOwn, kValues: its own keywords of the type
    std::string name;                     // kPresent, kAbsent
    SchemaSet value;                      // kPresent, kItem
    uint64_t low = 0;                     // kCount; kItem: the index
    int64_t high = -1;
  };
  using Branch = std::vector<Piece>;
  using Branches = std::vector<Branch>;

  Result<Branches> expand(const SchemaSet& set, JsonType type);
  Result<Branches> expand(const SchemaValue& schema, bool negated, JsonType type);
  Result<Branches> expand_positive(const SchemaValue& schema, JsonType type);
  Result<Branches> expand_negative(const SchemaValue& schema, JsonType type);
  Result<Branches> expand_one_of(const SchemaValue& parts, JsonType type);
  Result<Branches> expand_if(const SchemaValue& schema, bool negated, JsonType type);
  Result<Branches> negated_object(const SchemaValue& schema);
  Result<Branches> negated_array(const SchemaValue& schema);
  Status add_dependencies(const SchemaValue& schema, Branches& branches);
  Status multiply(Branches& branches, const Branches& others);
  Status append(Branches& branches, Branches others);
  // Provably no object (array) satisfies both.
  Result<bool> disjoint(const SchemaValue& a, const SchemaValue& b, JsonType type);
  struct Facts;
  Status collect(const SchemaValue& schema, Facts& facts, uint32_t depth);
  Result<bool> no_common_value(const SchemaSet& set);

  Result<bool> piece_admits(const Piece& piece, const SchemaValue& value);
  Result<bool> list_values(const Branch& branch, JsonType type, std::vector<const SchemaValue*>& out);
  Result<ObjectShape> object_shape(const Branch& branch);
  Status add_property(const Branch& branch, const std::string& name, ObjectShape& shape);
  Status add_extras(const Branch& branch, ObjectShape& shape);
  Result<ArrayShape> array_shape(const Branch& branch);
  Result<const CharDfa*> pattern(const std::string& expression);

  const SchemaDocument& document_;
  Scalars& scalars_;
  Allowance& allowance_;
  std::vector<std::pair<const SchemaValue*, bool>> open_;
  std::map<std::string, CharDfa> patterns_;
};

}  // namespace sluice::text
