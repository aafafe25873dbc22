#include "cli/verb_lpu.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/limits.h"
#include "cli/model_loading.h"
#include "cli/output.h"
#include "compiler/shapes.h"
#include "engine/sampler.h"
#include "lpu/export.h"
#include "lpu/fit.h"
#include "lpu/values.h"
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

lpu::WorkOptions work_options(const LpuOptions& o) { return {.bits = o.bits, .context = o.context, .users = o.users}; }

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

uint64_t longest_on(const program::Program& program, const LpuOptions& options, const lpu::Chip& chip, const lpu::Report& r) {
  const uint64_t limit = program.facts.context_max ? program.facts.context_max : limits::kContextTokensMax;
  return lpu::longest_context(limit, [&](uint64_t context) {
    lpu::WorkOptions longer = work_options(options);
    longer.context = context;
    const lpu::Workload work = lpu::workload_of(program, longer);
    if (chip.roofline) return static_cast<double>(work.weight_bytes() + work.kv_bytes() + work.state_bytes()) <= r.capacity;
    return lpu::make_schedule(work, chip, lpu::kFitted, {.chips = r.chips, .split_max = options.split_max, .stages = options.stages, .check = false}).ok();
  });
}

void print_plan(const lpu::Report& r) {
  fmt::print("{} on {}: {} chips in {} stages; weights {}, KV {}, state {}, activations {} of {}\n", r.model, r.chip, r.chips, r.stages,
             bytes_text(static_cast<uint64_t>(r.weights)), bytes_text(static_cast<uint64_t>(r.kv)), bytes_text(static_cast<uint64_t>(r.state)),
             bytes_text(static_cast<uint64_t>(r.activations)), bytes_text(static_cast<uint64_t>(r.capacity)));
  fmt::print("  longest context on {} chips: {} tokens a user\n", r.chips, r.longest_context);
}

Status write_files(const LpuOptions& options, std::span<const lpu::Report> reports, const lpu::Workload& work, const lpu::Chip& chip,
                   const lpu::Schedule& schedule) {
  if (chip.roofline && !(options.csv.empty() && options.trace.empty() && options.svg.empty())) {
    return Error{fmt::format("{} is a roofline file: it has no schedule to write", options.chips[0])};
  }
  if (!options.csv.empty()) SLUICE_TRY_VOID(write_text(options.csv, lpu::to_csv(schedule, work)));
  if (!options.trace.empty()) SLUICE_TRY_VOID(write_text(options.trace, lpu::to_trace(schedule, work, chip)));
  if (!options.svg.empty()) SLUICE_TRY_VOID(write_text(options.svg, lpu::to_svg(schedule, work, chip, 8)));
  if (!options.report.empty()) SLUICE_TRY_VOID(write_text(options.report, lpu::to_html(reports, chip.roofline ? nullptr : &schedule, work, chip)));
  return {};
}

// The first model decodes on the chips of the first file, number by number, and on the CPU; says whether all logits are the same bits.
Status compare_values(const LpuOptions& options, const lpu::Chip& chip, const lpu::ScheduleOptions& how) {
  SLUICE_TRY(const weights::Checkpoint checkpoint, open_checkpoint(options.models[0]));
  SLUICE_TRY(const compiler::Model model, compiler::compile_in_memory(checkpoint, "", {}));
  const lpu::Workload work = lpu::workload_of(model.program, {.context = std::max(options.context, options.values), .exact = true});
  SLUICE_TRY(const lpu::Schedule schedule, lpu::make_schedule(work, chip, lpu::kFitted, how));
  SLUICE_TRY(const auto machine, lpu::ValueMachine::create(model.program, model.weights, work, chip, schedule));
  ModelOptions cpu;
  cpu.path = options.models[0];
  cpu.kv = "f32";
  cpu.context = options.values;
  SLUICE_TRY(const LoadedModel loaded, load_model(cpu));
  SLUICE_TRY(const auto session, engine::Session::create(*loaded.runtime, options.values));
  int32_t token = 1;
  for (uint64_t i = 0; i < options.values; ++i) {
    SLUICE_TRY(const std::span<const float> logits, machine->step(token));
    SLUICE_TRY_VOID(session->feed({&token, 1}, {}));
    if (std::memcmp(logits.data(), session->logits().data(), logits.size_bytes()) != 0) {
      return Error{fmt::format("token {}: the chips' logits are not the CPU's", i)};
    }
    token = engine::argmax(logits);
  }
  const lpu::ValueMachine::Counters& c = machine->counters();
  fmt::print("{} tokens on {} chips of {} in {} stages: logits equal to the CPU's, bit for bit; {} cycles, {} slots, {} read, {} over links\n", options.values,
             schedule.chips(), chip.name, schedule.stages.size(), c.cycles, c.slots, bytes_text(c.bytes_read), bytes_text(c.bytes_sent));
  return {};
}

Status run_lpu(const LpuOptions& options) {
  SLUICE_TRY(const uint64_t count, chip_count(options.count));
  const lpu::ScheduleOptions how{.chips = count, .split_max = options.split_max, .stages = options.stages};
  std::vector<lpu::Chip> chips;
  for (const std::string& path : options.chips) {
    SLUICE_TRY(lpu::Chip chip, lpu::read_chip(path));
    chips.push_back(std::move(chip));
  }
  if (options.values > 0 && chips[0].roofline) return Error{fmt::format("{} is a roofline file: nothing is computed on it", options.chips[0])};
  if (options.values > 0) return compare_values(options, chips[0], how);
  std::vector<lpu::Report> reports;
  lpu::Workload first_work;
  Outcome first;
  for (const std::string& path : options.models) {
    SLUICE_TRY(program::Program program, program_for_lpu(path));
    if (program.facts.name.empty()) program.facts.name = std::filesystem::path(path).stem().string();
    const lpu::Workload work = lpu::workload_of(program, work_options(options));
    for (const lpu::Chip& chip : chips) {
      SLUICE_TRY(Outcome found, outcome_of(work, chip, how));
      found.report.longest_context = longest_on(program, options, chip, found.report);
      if (options.plan_only && !options.json) print_plan(found.report);
      reports.push_back(found.report);
      if (reports.size() > 1) continue;
      first = std::move(found);
      first_work = work;
    }
  }
  if (options.json) {
    fmt::print("{}", lpu::to_json(reports));
  } else if (!options.plan_only) {
    fmt::print("{}", lpu::to_table(reports));
  }
  return write_files(options, reports, first_work, chips[0], first.schedule);
}

}  // namespace

int lpu(const LpuOptions& options) {
  LpuOptions named = options;
  if (named.models.empty()) named.models = {""};
  const Status status = run_lpu(named);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace sluice::cli
