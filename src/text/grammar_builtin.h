// How the built-in rules are written; only the grammar compiler needs this. Contract: rules are added in the order of BuiltinRules.
// Next: text/grammar_compile.h has what front ends use.
#pragma once

#include "text/grammar_compile.h"

namespace sluice::text {

BuiltinRules add_builtin_rules(Grammar& grammar);

}  // namespace sluice::text
