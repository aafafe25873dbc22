// JSON as constraints need it: members in their order, numbers as exact decimals. Contract: nesting and size are bounded while parsing, so
// recursion over a value is safe; duplicate members are refused. Next: text/schema_document.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sluice::text {

// An exact decimal number: no leading zeros before the point, no trailing ones behind it; zero has no digits and no sign.
struct Decimal {
  bool negative = false;
  std::string whole;
  std::string fraction;
  bool operator==(const Decimal&) const = default;
  bool is_integer() const { return fraction.empty(); }
  std::string text() const;
};
Result<Decimal> parse_decimal(std::string_view text);
int compare(const Decimal& a, const Decimal& b);

struct SchemaMember;

struct SchemaValue {
  enum class Kind : uint8_t { kNull, kBool, kNumber, kString, kArray, kObject };
  Kind kind = Kind::kNull;
  uint32_t order = 0;  // position in the document, from 1: sorts and tells apart values, the same in every run
  bool boolean = false;
  std::string string;  // kString; kNumber: as written
  Decimal number;
  std::vector<SchemaValue> items;
  std::vector<SchemaMember> members;

  bool is(Kind k) const { return kind == k; }
  const SchemaValue* find(std::string_view name) const;
};

struct SchemaMember {
  SchemaMember(std::string name, SchemaValue value) : first(std::move(name)), second(std::move(value)) {}
  std::string first;
  SchemaValue second;
};

bool equal(const SchemaValue& a, const SchemaValue& b);  // as JSON Schema compares: members in any order, 1 equals 1.0
std::string json_quoted(std::string_view text);          // with the quotes; escapes only what must be escaped
std::string canonical_json(const SchemaValue& value);
Result<SchemaValue> parse_schema_value(std::string_view text);

}  // namespace sluice::text
