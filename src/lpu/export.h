// A report and a schedule as files: JSON, CSV (one line a slot), Chrome trace-event JSON (opens in Perfetto), SVG of a stage's occupancy, one HTML page.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "lpu/report.h"

namespace sluice::lpu {

std::string to_json(std::span<const Report> reports);
std::string to_table(std::span<const Report> reports);
std::string to_csv(const Schedule& schedule, const Workload& work);
std::string to_trace(const Schedule& schedule, const Workload& work, const Chip& chip);
// Units over time, one row a unit and stage; at most `stages_max` stages (svg.cc).
std::string to_svg(const Schedule& schedule, const Workload& work, const Chip& chip, uint64_t stages_max);
// Bytes of every slice of a stage's chips by purpose, and how long its ports are taken.
std::string slices_svg(const Schedule& schedule, const Chip& chip, uint32_t stage);
// Where a token's time goes, a bar a report with a schedule.
std::string parts_svg(std::span<const Report> reports);
// All of it and every value of the chip file with source and grade, in one file that needs no network (page.cc).
std::string to_html(std::span<const Report> reports, const Schedule* schedule, const Workload& work, const Chip& chip);
std::string xml_escape(std::string_view text);

}  // namespace sluice::lpu
