// What `sluice constrain check` shows: is the constraint supported, what does it cost, what does accepted text look like.
// Contract: samples are drawn from the grammar itself, need no vocabulary and are the same for the same seed. Next: text/constraint.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/constraint.h"

namespace sluice::text {

struct ConstraintReport {
  uint64_t steps = 0;  // of ConstraintBudget::steps_max
  uint64_t states = 0;
  uint64_t bytes = 0;
  std::vector<std::string> samples;
};

// The Error is the sentence to print: it names the keyword or construct that is not supported.
Result<ConstraintReport> check_constraint(const ConstraintSpec& spec, ConstraintBudget budget, size_t samples, uint64_t seed);

}  // namespace sluice::text
