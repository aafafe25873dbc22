// JSON Schema (2020-12 and draft-07) as a grammar of the canonical JSON texts that satisfy it.
// Contract: no text outside the schema is admitted; members come in the order of `properties`, then of `required`, then any others; strings
// under a restriction and all keys escape only what must be escaped; restricted numbers are written without exponent. Unsupported keywords
// are refused by name. Next: docs/constraints.md has the table; text/schema_shapes.h and text/schema_scalars.h do the logic.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/grammar.h"
#include "text/grammar_compile.h"

namespace sluice::text {

// Adds the rules for one schema and sets grammar.root.
Status build_json_schema(std::string_view schema, JsonSpace space, Grammar& grammar);

}  // namespace sluice::text
