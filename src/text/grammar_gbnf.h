// Grammars as llama.cpp writes them (GBNF): name ::= "text" [a-z] . other ( ) | * + ? {m,n} # comment; the first rule is `root`.
// Contract: unknown rules, unknown escapes and token references (<[id]>) are refused by name and line; left recursion is allowed.
// Next: text/grammar.h for what it builds, docs/constraints.md for the syntax.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/grammar.h"

namespace sluice::text {

// Adds the rules and sets grammar.root to the rule `root`.
Status build_gbnf(std::string_view source, Grammar& grammar);

}  // namespace sluice::text
