#include "cli/timing_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace sluice::cli {
namespace {

std::string kind_of(const program::Program& program, const program::Op& op) {
  const std::string name(program::schema(op.code).name);
  if (op.code != program::OpCode::kMatmul && op.code != program::OpCode::kMoeMatmul) return name;
  return fmt::format("{} {}", name, info(program.value(program.operand(op, "weight")).dtype).name);
}

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

double ProfileTable::kernel_seconds() const {
  double sum = 0;
  for (const ProfileLine& line : lines) sum += line.seconds;
  return sum;
}

ProfileTable profile_table(const program::Program& program, const runtime::Profile& profile, uint64_t steps, const StepShape& shape, const Limits& limits) {
  ProfileTable table;
  table.steps = steps;
  std::map<std::string, ProfileLine> kinds;
  const double each = 1e-9 / static_cast<double>(steps), mean = each / profile.threads();
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const program::Op& op = program.ops[i];
    ProfileLine& line = kinds[kind_of(program, op)];
    ++line.ops;
    uint64_t slowest = 0;
    for (uint32_t thread = 0; thread < profile.threads(); ++thread) {
      const runtime::Profile::Entry& entry = profile.at(i, thread);
      line.seconds += mean * static_cast<double>(entry.cpu_ns);
      table.wait_seconds += mean * static_cast<double>(entry.wait_ns);
      slowest = std::max(slowest, entry.wall_ns);
    }
    line.wall_seconds += each * static_cast<double>(slowest);
    const Cost cost = cost_of(program, op, shape);
    line.cost += cost;
    line.share += cost.seconds(limits, true);
  }
  for (auto& [what, line] : kinds) {
    line.what = what;
    line.share = line.seconds > 0 ? line.share / line.seconds : 0;
    table.lines.push_back(line);
  }
  std::sort(table.lines.begin(), table.lines.end(), [](const ProfileLine& a, const ProfileLine& b) { return a.seconds > b.seconds; });
  return table;
}

void print(const ProfileTable& table) {
  fmt::print("\n{}: {:.3f} ms a step by CPU time ({:.3f} by the wall), {:.3f} in ops, {:.3f} at barriers; outside ops {:.1f} %\n", table.step,
             1e3 * table.step_seconds, 1e3 * table.wall_seconds, 1e3 * table.kernel_seconds(), 1e3 * table.wait_seconds, 100 * table.outside_share());
  fmt::print("{:<20}{:>6}{:>11}{:>8}{:>12}{:>10}{:>10}{:>10}\n", "op", "ops", "ms", "% time", "MB", "GB/s", "GOP/s", "% limit");
  const double total = table.kernel_seconds();
  for (const ProfileLine& line : table.lines) {
    const double operations = line.cost.int8_operations + line.cost.float_operations;
    const bool limited = line.share > 0;
    fmt::print("{:<20}{:>6}{:>11.3f}{:>8.1f}", line.what, line.ops, 1e3 * line.seconds, 100 * line.seconds / total);
    if (limited) {
      fmt::print("{:>12.2f}{:>10.1f}{:>10.1f}{:>10.1f}\n", line.cost.bytes / 1e6, line.cost.bytes / line.seconds / 1e9, operations / line.seconds / 1e9,
                 100 * line.share);
    } else {
      fmt::print("{:>12}{:>10}{:>10}{:>10}\n", "-", "-", "-", "-");
    }
  }
  std::fflush(stdout);
}

nlohmann::ordered_json json_of(const ProfileTable& table) {
  nlohmann::ordered_json out = {{"step", table.step},
                                {"steps", table.steps},
                                {"step_seconds", table.step_seconds},
                                {"wall_seconds", table.wall_seconds},
                                {"kernel_seconds", table.kernel_seconds()},
                                {"wait_seconds", table.wait_seconds},
                                {"outside_share", table.outside_share()}};
  for (const ProfileLine& line : table.lines) {
    out["ops"].push_back({{"op", line.what}, {"count", line.ops}, {"seconds", line.seconds}, {"wall_seconds", line.wall_seconds}, {"bytes", line.cost.bytes},
                          {"int8_operations", line.cost.int8_operations}, {"float_operations", line.cost.float_operations}, {"share", line.share}});
  }
  return out;
}

std::string profile_svg(const std::string& title, const std::vector<ProfileTable>& tables) {
  constexpr int kLeft = 150, kBar = 300, kRow = 18, kGroup = 34, kWidth = 620;
  constexpr double kLeastTime = 0.005;  // of the step; less is not drawn
  std::string body;
  int y = 44;
  for (const ProfileTable& table : tables) {
    body += fmt::format("<text x='8' y='{}' font-weight='bold'>{}</text>\n", y, escape(table.step));
    y += 8;
    const double total = table.kernel_seconds();
    for (const ProfileLine& line : table.lines) {
      if (total <= 0 || line.seconds < kLeastTime * total) continue;
      body += fmt::format("<text x='{}' y='{}' text-anchor='end'>{}</text>\n", kLeft - 6, y + 12, escape(line.what));
      body += fmt::format("<rect x='{}' y='{}' width='{}' height='13' fill='#e8ebef'/>\n", kLeft, y + 2, kBar);
      if (line.share > 0) {
        const double share = std::min(line.share, 1.0);
        body += fmt::format("<rect x='{}' y='{}' width='{:.1f}' height='13' fill='#2563a8'/>\n", kLeft, y + 2, share * kBar);
      }
      const std::string share = line.share > 0 ? fmt::format("{:.0f} % of limit", 100 * line.share) : "no limit";
      body += fmt::format("<text x='{}' y='{}'>{}, {:.1f} % of time</text>\n", kLeft + kBar + 8, y + 12, share, 100 * line.seconds / total);
      y += kRow;
    }
    y += kGroup;
  }
  return fmt::format("<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='{}' font-family='sans-serif' font-size='12'>\n"
                     "<rect width='100%' height='100%' fill='white'/>\n<text x='8' y='20' font-size='14'>{}</text>\n{}</svg>\n",
                     kWidth, y - kGroup + 12, escape(title), body);
}

}  // namespace sluice::cli
