// Regular expressions (the common core of ECMA-262, RE2 and Python) turned into automata over code points.
// Contract: what is not regular (backreference, lookaround) or not supported is refused by name; time and memory are bounded by the
// Allowance, so no pattern can hang or exhaust the process. Next: text/char_dfa.h.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/char_dfa.h"

namespace sluice::text {

enum class RegexMatch {
  kWhole,   // the pattern describes the whole text (`regex` constraints)
  kSearch,  // the pattern occurs somewhere in the text (JSON Schema's `pattern`)
};

Result<CharDfa> compile_regex(std::string_view pattern, RegexMatch match, Allowance& allowance);

}  // namespace sluice::text
