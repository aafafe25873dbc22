// What compiling one constraint may cost, counted in steps and bytes instead of seconds, so that a refusal is the same on every machine.
// Contract: spend() and hold() before the work or the memory; once one has failed every later call fails too. Next: text/constraint.h.
#pragma once

#include <cstdint>
#include <string>

#include "base/limits.h"
#include "base/result.h"

namespace sluice::text {

struct ConstraintBudget {
  uint64_t steps_max = limits::kConstraintStepsMax;  // one step is 5 to 10 ns
  uint64_t bytes_max = limits::kConstraintBytesMax;
};

// One compilation's purse.
class Allowance {
 public:
  explicit Allowance(ConstraintBudget budget) : budget_(budget) {}

  Status spend(uint64_t steps) {
    steps_ += steps;
    if (steps_ > budget_.steps_max) [[unlikely]]
      return steps_error();
    return {};
  }
  Status hold(uint64_t bytes) {
    bytes_ += bytes;
    if (bytes_ > budget_.bytes_max) [[unlikely]]
      return bytes_error();
    return {};
  }

  // For inner loops that check ok() once in a while instead of handling a Status each time.
  bool spend_fast(uint64_t steps) {
    steps_ += steps;
    return steps_ <= budget_.steps_max;
  }
  bool ok() const { return steps_ <= budget_.steps_max && bytes_ <= budget_.bytes_max; }
  Status status() const {
    if (steps_ > budget_.steps_max) return steps_error();
    if (bytes_ > budget_.bytes_max) return bytes_error();
    return {};
  }

  uint64_t steps() const { return steps_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t steps_left() const { return steps_ < budget_.steps_max ? budget_.steps_max - steps_ : 0; }

 private:
  Error steps_error() const {
    return Error{"the constraint is too complex: compiling it takes more than " + std::to_string(budget_.steps_max) + " steps"};
  }
  Error bytes_error() const {
    return Error{"the constraint is too large: compiling it takes more than " + std::to_string(budget_.bytes_max) + " bytes"};
  }

  ConstraintBudget budget_;
  uint64_t steps_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace sluice::text
