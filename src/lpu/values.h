// The numbers of a schedule: its slots run in their cycles on chips whose SRAM holds what the schedule placed there and nothing else. Weights, keys, values
// and states lie in the stage's chips, operands are read from the chip's own bytes, and what another chip has comes over a transfer of the schedule or
// not at all. Units compute with the scalar reference kernels. A byte that is read before it was written, or after its owner gave it up, ends the run.
// Contract: an exact workload (work.h); the logits are then the CPU's, bit for bit, with F32, F16, BF16 and every block type (src/cli/lpu_values_test.cc).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "lpu/schedule.h"
#include "program/program.h"

namespace sluice::lpu {

class ValueMachine {
 public:
  // All are kept by reference but the weights, which are copied to the chips. One user: `context` tokens at most.
  static Result<std::unique_ptr<ValueMachine>> create(const program::Program& program, std::span<const std::byte> weights, const Workload& work,
                                                      const Chip& chip, const Schedule& schedule);
  ~ValueMachine();

  // One token at the next position, through every slot. The logits are valid until the next step.
  Result<std::span<const float>> step(int32_t token);

  // Since create().
  struct Counters {
    uint64_t cycles = 0, slots = 0;
    uint64_t experts_used = 0;  // pairs of router and expert that any token took: the schedule is the same whichever
    uint64_t bytes_read = 0, bytes_written = 0, bytes_sent = 0;  // SRAM of all chips; links
  };
  const Counters& counters() const;

 private:
  struct Impl;
  explicit ValueMachine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::lpu
