// JSON Schema (2020-12 and draft-07) as a grammar of the canonical JSON texts that satisfy it.
// Contract: no text outside the schema is admitted; members come in the order of `properties`, then of `required`, then any others; strings
// under a restriction and all keys escape only what must be escaped; restricted numbers are written without exponent. Unsupported keywords
// are refused by name. Next: docs/constraints.md has the table; text/schema_shapes.h and text/schema_scalars.h do the logic.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar.h"
#include "text/grammar_compile.h"

namespace sluice::text {

// Adds the rules for one schema and sets grammar.root.
Status build_json_schema(std::string_view schema, JsonSpace space, Grammar& grammar);

// For tool calls that write parameters one by one instead of one JSON object.
struct ParameterSyntax {
  JsonSpace space = JsonSpace::kSpaced;
  std::string_view raw_end;     // strings stand as they are up to this text, which does not occur in them; empty: in quotes, as in JSON
  bool cdata = false;           // raw strings with '<', '&' or line breaks stand inside <![CDATA[...]]>
  bool raw_covers_json = true;  // raw text and JSON are written in the same place
};
struct SchemaParameter {
  std::string name;
  bool required = false;
  RuleId raw = 0, json = 0;  // a value as raw text; any other value; 0: there is none
};
// The properties of an object's schema, then what only `required` names. Nullopt: the schema names none and allows any. Keywords about the
// object as a whole are refused by name; members that have no name in the schema are not written.
Result<std::optional<std::vector<SchemaParameter>>> build_schema_parameters(std::string_view schema, const ParameterSyntax& syntax,
                                                                            Grammar& grammar);

}  // namespace sluice::text
