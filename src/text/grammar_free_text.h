// Free text inside a grammar: anything goes until one of some trigger texts has been written.
// Contract: special tokens are not free text but for those named; the special token named like a trigger is that trigger. Next: text/constraint_tags.h.
#pragma once

#include <string>
#include <vector>

#include "text/grammar.h"

namespace sluice::text {

struct FreeText {
  std::vector<StateId> text;   // states between characters of free text: it may end in any of them
  std::vector<StateId> after;  // (triggers) the state behind each trigger
};

// Triggers are not empty, and none of them occurs inside another one; they may hold special tokens between kSpecialOpen and kSpecialClose.
// `free_tokens`: names of special tokens that free text may hold.
Result<FreeText> add_free_text(Grammar& grammar, RuleId rule, StateId from, const std::vector<std::string>& triggers,
                               const std::vector<std::string>& free_tokens = {});

// Special tokens between which models think, and the like: text before calls and before a lazy start may hold them.
std::vector<std::string> thinking_tokens();

// Makes the grammar begin only behind free text that ends with the trigger, and at most eight blanks or line breaks. `open` not empty: the free text begins
// with it, or is not there at all.
Status start_after(const std::string& trigger, const std::string& open, Grammar& grammar);

}  // namespace sluice::text
