// Where a step's time goes, by kind of op: time, bytes, operations and share of the limit; as a table, as JSON and as a chart.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/timing_cost.h"
#include "runtime/profile.h"

namespace sluice::cli {

struct ProfileLine {
  std::string what;        // "matmul q4_k"
  uint64_t ops = 0;        // in the program
  double seconds = 0;      // a step: CPU time inside the ops over the threads
  double wall_seconds = 0; // a step: the slowest thread of each op
  Cost cost;
  double share = 0;        // shortest time over time; 0 where an op has no limit worth naming
};

struct ProfileTable {
  std::string step;            // "prefill 512"
  uint64_t steps = 0;
  double step_seconds = 0;     // CPU time of the process over the threads, measured without a profile
  double wall_seconds = 0;     // of a step, likewise
  double wait_seconds = 0;     // a step, mean over threads: at barriers, with the profile
  std::vector<ProfileLine> lines;  // longest first
  double kernel_seconds() const;
  // CPU time of a step that is in no op: the walk, spinning, sampling. Negative when noise is larger than it.
  double outside_share() const { return step_seconds > 0 ? 1 - kernel_seconds() / step_seconds : 0; }
};

ProfileTable profile_table(const program::Program& program, const runtime::Profile& profile, uint64_t steps, const StepShape& shape, const Limits& limits);
void print(const ProfileTable& table);
nlohmann::ordered_json json_of(const ProfileTable& table);

// Bars of the share of the limit (as far as an op has one) and of the time, one group a table.
std::string profile_svg(const std::string& title, const std::vector<ProfileTable>& tables);

}  // namespace sluice::cli
