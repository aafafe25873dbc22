#include "cli/verb_lpu.h"

#include <fmt/format.h>

#include <charconv>

#include "cli/model_loading.h"
#include "cli/output.h"
#include "compiler/shapes.h"
#include "lpu/export.h"
#include "lpu/fit.h"
#include "platform/file.h"

namespace sluice::cli {
namespace {

constexpr uint64_t kChipsMax = 1'000'000;

// With or without a checkpoint's tensors: shapes are all that counts here.
Result<program::Program> program_for_lpu(const std::string& path) {
  SLUICE_TRY(const weights::Checkpoint checkpoint, open_checkpoint(path));
  return compiler::program_of_shapes(compiler::config_of(checkpoint));
}

Result<uint64_t> chip_count(const std::string& text) {
  if (text == "auto") return uint64_t{0};
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count == 0 || count > kChipsMax) {
    return Error{fmt::format("--chips {}: expected auto or a number from 1 to {}", text, kChipsMax)};
  }
  return count;
}

Status write_text(const std::string& path, const std::string& text) {
  if (path.empty()) return {};
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.write(text));
  return file.commit();
}

struct Outcome {
  lpu::Report report;
  lpu::Schedule schedule;  // empty for a roofline
};

Result<Outcome> outcome_of(const lpu::Workload& work, const lpu::Chip& chip, const lpu::ScheduleOptions& options) {
  if (chip.roofline) return Outcome{lpu::roofline_report(work, chip, options.chips), {}};
  SLUICE_TRY(lpu::Schedule schedule, lpu::make_schedule(work, chip, lpu::kFitted, options));
  lpu::Report report = lpu::report_of(work, schedule, chip);
  return Outcome{std::move(report), std::move(schedule)};
}

void print_plan(const program::Program& program, const LpuOptions& options, const lpu::Chip& chip, const Outcome& found) {
  const lpu::Report& r = found.report;
  fmt::print("{}: {} chips in {} stages; weights {}, KV {}, state {}, activations {} of {}\n", chip.name, r.chips, r.stages,
             bytes_text(static_cast<uint64_t>(r.weights)), bytes_text(static_cast<uint64_t>(r.kv)), bytes_text(static_cast<uint64_t>(r.state)),
             bytes_text(static_cast<uint64_t>(r.activations)), bytes_text(static_cast<uint64_t>(r.capacity)));
  const uint64_t limit = program.facts.context_max ? program.facts.context_max : limits::kContextTokensMax;
  const uint64_t longest = lpu::longest_context(limit, [&](uint64_t context) {
    const lpu::Workload work = lpu::workload_of(program, {options.bits, context, options.users});
    if (chip.roofline) return static_cast<double>(work.weight_bytes() + work.kv_bytes() + work.state_bytes()) <= r.capacity;
    return lpu::make_schedule(work, chip, lpu::kFitted, {.chips = r.chips, .split_max = options.split_max, .stages = options.stages, .check = false}).ok();
  });
  fmt::print("  longest context on {} chips (powers of two): {} tokens a user\n", r.chips, longest);
}

Status run_lpu(const LpuOptions& options) {
  SLUICE_TRY(const program::Program program, program_for_lpu(options.model));
  SLUICE_TRY(const uint64_t count, chip_count(options.count));
  const lpu::Workload work = lpu::workload_of(program, {options.bits, options.context, options.users});
  std::vector<lpu::Report> reports;
  std::vector<lpu::Chip> chips;
  Outcome first;
  for (const std::string& path : options.chips) {
    SLUICE_TRY(lpu::Chip chip, lpu::read_chip(path));
    SLUICE_TRY(Outcome found, outcome_of(work, chip, {.chips = count, .split_max = options.split_max, .stages = options.stages}));
    if (options.plan_only && !options.json) print_plan(program, options, chip, found);
    reports.push_back(found.report);
    chips.push_back(std::move(chip));
    if (chips.size() == 1) first = std::move(found);
  }
  if (options.json) {
    fmt::print("{}", lpu::to_json(reports));
  } else if (!options.plan_only) {
    fmt::print("{}", lpu::to_table(reports));
  }
  const bool scheduled = !chips[0].roofline;
  if (!scheduled && !(options.csv.empty() && options.trace.empty() && options.svg.empty())) {
    return Error{fmt::format("{} is a roofline file: it has no schedule to write", options.chips[0])};
  }
  if (!options.csv.empty()) SLUICE_TRY_VOID(write_text(options.csv, lpu::to_csv(first.schedule, work)));
  if (!options.trace.empty()) SLUICE_TRY_VOID(write_text(options.trace, lpu::to_trace(first.schedule, work, chips[0])));
  if (!options.svg.empty()) SLUICE_TRY_VOID(write_text(options.svg, lpu::to_svg(first.schedule, work, 8)));
  if (!options.report.empty()) {
    SLUICE_TRY_VOID(write_text(options.report, lpu::to_html(reports, scheduled ? &first.schedule : nullptr, work, chips[0])));
  }
  return {};
}

}  // namespace

int lpu(const LpuOptions& options) {
  const Status status = run_lpu(options);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace sluice::cli
