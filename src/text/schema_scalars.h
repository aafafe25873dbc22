// Which strings, numbers, booleans and null a schema admits, exactly, through every logical keyword (not, oneOf and if included).
// Contract: one Scalars per compilation. Schemas that refer to themselves without reading anything are refused. Next: text/schema_shapes.h.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "text/char_dfa.h"
#include "text/schema_document.h"

namespace sluice::text {

// A schema or its opposite.
struct SchemaLiteral {
  const SchemaValue* schema;
  bool negated = false;
  bool operator==(const SchemaLiteral& other) const { return schema->order == other.schema->order && negated == other.negated; }
  bool operator<(const SchemaLiteral& other) const {
    return schema->order != other.schema->order ? schema->order < other.schema->order : negated < other.negated;
  }
};
// All of these must hold; sorted, without repetition.
using SchemaSet = std::vector<SchemaLiteral>;
SchemaSet schema_set(std::vector<SchemaLiteral> literals);

enum class JsonType : uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };
// Does the schema's own `type`, if any, allow this type (a number for "integer")?
bool type_allows(const SchemaValue& schema, JsonType type);
bool type_names(const SchemaValue& schema, std::string_view name);

inline constexpr uint8_t kAdmitsNull = 1, kAdmitsFalse = 2, kAdmitsTrue = 4;

class Scalars {
 public:
  Scalars(const SchemaDocument& document, Allowance& allowance) : document_(document), allowance_(allowance) {}

  Result<uint8_t> words(const SchemaSet& set);    // a set of kAdmits...
  Result<CharDfa> strings(const SchemaSet& set);  // of the string's characters
  Result<CharDfa> numbers(const SchemaSet& set);  // of the number's text; everything() if there is no restriction
  // The texts to write for a restricted language of numbers: plain decimals, without a fraction where only integers are left.
  Result<CharDfa> number_output(const CharDfa& language, const SchemaSet& set);
  // Does a value satisfy a schema? For candidates from enum and const.
  Result<bool> admits(const SchemaValue& schema, const SchemaValue& value);
  Result<bool> admits_structure(const SchemaValue& schema, const SchemaValue& value);  // the schema's own keywords only
  Result<CharDfa> pattern(const std::string& pattern);

 private:
  template <class Language>
  Result<typename Language::Set> evaluate(const SchemaValue& schema, Language& language);
  template <class Language>
  Result<typename Language::Set> evaluate_parts(const SchemaValue& schema, Language& language);
  template <class Language>
  Result<typename Language::Set> evaluate_all(const SchemaSet& set, Language language);
  Result<CharDfa> own_strings(const SchemaValue& schema);
  Result<CharDfa> own_numbers(const SchemaValue& schema);
  Result<bool> admits_object(const SchemaValue& schema, const SchemaValue& value);
  Result<bool> admits_array(const SchemaValue& schema, const SchemaValue& value);
  Result<bool> admits_logic(const SchemaValue& schema, const SchemaValue& value);
  bool mentions_numbers(const SchemaValue& schema, uint32_t depth);

  friend struct WordLanguage;
  friend struct StringLanguage;
  friend struct NumberLanguage;
  const SchemaDocument& document_;
  Allowance& allowance_;
  std::vector<const SchemaValue*> open_;
};

}  // namespace sluice::text
