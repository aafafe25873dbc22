// A report and a schedule as files: JSON, CSV (one line a slot), Chrome trace-event JSON (opens in Perfetto), SVG of a stage's occupancy, one HTML page.
#pragma once

#include <span>
#include <string>

#include "lpu/report.h"

namespace sluice::lpu {

std::string to_json(std::span<const Report> reports);
std::string to_table(std::span<const Report> reports);
std::string to_csv(const Schedule& schedule, const Workload& work);
std::string to_trace(const Schedule& schedule, const Workload& work, const Chip& chip);
// Units over time, one row a unit and stage; at most `stages_max` stages.
std::string to_svg(const Schedule& schedule, const Workload& work, uint64_t stages_max);
// Everything above and every value of the chip file with source and grade; needs no network.
std::string to_html(std::span<const Report> reports, const Schedule* schedule, const Workload& work, const Chip& chip);

}  // namespace sluice::lpu
