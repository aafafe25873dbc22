// Time of a step of our own CPU engine, predicted from the program: each op takes a time that grows with what it has to do, at rates that were measured for
// its kind on this machine, on other programs (cli/timing_model.h). No figure of the predicted model enters.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "program/program.h"

namespace sluice::lpu {

// `rows` rows of one sequence with `depth` tokens before them; the last one wants logits.
struct CpuStep {
  uint64_t rows = 1;
  uint64_t depth = 0;
};

// Ops of one kind run the same kernel: "matmul q4_k", "ssm_scan".
std::string op_kind(const program::Program& program, const program::Op& op);
// What an op's time grows with: weights for a row, elements, keys seen.
double op_units(const program::Program& program, const program::Op& op, const CpuStep& step);

// An op was seen to take so long.
struct CpuSample {
  double units = 0, seconds = 0;
};
struct CpuRate {
  double base_s = 0, unit_s = 0;  // seconds = base + unit * units
};
// The line that is nearest to the samples, errors taken as shares; neither part is negative.
CpuRate fit_rate(const std::vector<CpuSample>& samples);

struct CpuRates {
  std::map<std::string, CpuRate> of_kind;
  double walk_s = 0;  // an op, beside its kernel
};
// An error names a kind of op without a rate.
Result<double> predict_seconds(const program::Program& program, const CpuStep& step, const CpuRates& rates);

}  // namespace sluice::lpu
