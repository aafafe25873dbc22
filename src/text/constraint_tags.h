// Structural tags: free text with constrained islands, as tool calls need them.
// Contract: the text is JSON, as vLLM and xgrammar write it:
//   {"structures": [{"begin": "<f>", "schema": {...}, "end": "</f>"}], "triggers": ["<f"], "at_least_one": false, "stop_after_first":
//   false}
// A trigger may be written only as the beginning of a structure; instead of "schema" a structure may have "regex" or "grammar". Without
// "triggers" every "begin" is one. Unknown members are refused by name. Next: text/tool_calls.h, text/grammar_free_text.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar.h"
#include "text/grammar_compile.h"

namespace sluice::text {

struct TagStructure {
  std::string begin, end;
  RuleId content = 0;
};

struct TagOptions {
  std::vector<std::string> triggers;
  bool at_least_one = false;      // the output may not end before one structure has been written
  bool stop_after_first = false;  // and must end after it
};

// Sets grammar.root to free text with these structures.
Status add_tags(Grammar& grammar, const std::vector<TagStructure>& structures, const TagOptions& options);

Status build_structural_tags(std::string_view text, JsonSpace space, Grammar& grammar);

}  // namespace sluice::text
