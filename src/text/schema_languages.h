// The languages behind single keywords: formats of strings, bounds and multiples of numbers, as automata over the text of the value.
// Contract: number automata are only meaningful on plain decimals (number_texts()), negative zero excluded. Next: text/schema_scalars.h.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/char_dfa.h"
#include "text/schema_value.h"

namespace sluice::text {

// An unknown or unsupported format is an Error that names it.
Result<CharDfa> format_language(std::string_view format, Allowance& allowance);

enum class Bound { kAtLeast, kAtMost, kAbove, kBelow, kEqual };
Result<CharDfa> bound_language(const Decimal& limit, Bound bound, Allowance& allowance);
Result<CharDfa> multiple_language(const Decimal& divisor, Allowance& allowance);
Result<CharDfa> number_texts(Allowance& allowance);    // -?(0|[1-9][0-9]*)(\.[0-9]+)? without -0, digits limited
Result<CharDfa> integer_values(Allowance& allowance);  // no fraction, or only zeros in it
Result<CharDfa> without_point(Allowance& allowance);
Result<CharDfa> shortest_texts(Allowance& allowance);  // no fraction, or one that does not end in 0

}  // namespace sluice::text
