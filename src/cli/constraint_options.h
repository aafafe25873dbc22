// The constraint flags of `run`: what the answer must obey. Next: constrained_answer.h.
#pragma once

#include <string>
#include <vector>

namespace sluice::cli {

struct ConstraintOptions {
  std::string schema_file, regex, grammar_file;
  std::vector<std::string> choices;
  std::string after;  // anything goes until this text
  bool any() const { return !schema_file.empty() || !regex.empty() || !grammar_file.empty() || !choices.empty(); }
};

}  // namespace sluice::cli
