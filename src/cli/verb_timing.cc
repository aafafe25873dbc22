// `sluice bench`: how fast a model runs here, as shares of what the machine can do, measured in the same run, beside a peer's program if one is named.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/output.h"
#include "cli/timing_figures.h"
#include "cli/timing_model.h"
#include "cli/verbs.h"
#include "lpu/chip.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "platform/file.h"
#include "platform/memory.h"

namespace sluice::cli {
namespace {

using nlohmann::ordered_json;

ordered_json json_of_limits(uint32_t threads, const Limits& limits) {
  return {{"threads", threads},
          {"int8_gops", limits.int8.wall / 1e9},
          {"fp32_gflops", limits.fma.wall / 1e9},
          {"read_gb_per_second", limits.bytes.wall / 1e9},
          {"cpu_time", {{"int8_gops", limits.int8.cpu / 1e9}, {"fp32_gflops", limits.fma.cpu / 1e9}, {"read_gb_per_second", limits.bytes.cpu / 1e9}}}};
}

void print_limits(uint32_t threads, const Limits& limits) {
  fmt::print("{} thread(s): {:.0f} int8 GOP/s, {:.0f} fp32 GFLOP/s, {:.1f} GB/s read (by CPU time {:.0f}, {:.0f}, {:.1f})\n", threads, limits.int8.wall / 1e9,
             limits.fma.wall / 1e9, limits.bytes.wall / 1e9, limits.int8.cpu / 1e9, limits.fma.cpu / 1e9, limits.bytes.cpu / 1e9);
  std::fflush(stdout);
}

Status write_text(const std::string& path, const std::string& text) {
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.write(text));
  return file.commit();
}

std::string chip_file_of(Isa isa, uint32_t threads, const Limits& limits) {
  return lpu::roofline_file({.name = fmt::format("{}, {}, {} threads", platform::cpu().brand, name(isa), threads),
                             .int8_ops_per_s = limits.int8.wall,
                             .float_ops_per_s = limits.fma.wall,
                             .read_bytes_per_s = limits.bytes.wall,
                             .memory_bytes = static_cast<double>(platform::available_memory_bytes())});
}

Status check(const BenchOptions& options) {
  if (!options.peer.empty() && options.model.path.empty()) return Error{"--peer needs a model's file that both can read"};
  if (!options.svg.empty() && !options.profile) return Error{"--svg draws the profile: it needs --profile"};
  return {};
}

// Everything about one model with one number of threads.
Status bench_threads(const BenchOptions& options, uint32_t threads, LimitMeter& meter, ordered_json& out, std::vector<ProfileTable>& tables) {
  const bool text = !options.model.json;
  ModelOptions model_options = options.model;
  model_options.threads = threads;
  model_options.all_logits = !options.sequences.empty();
  const uint64_t begin = platform::now_ns();
  SLUICE_TRY(LoadedModel model, load_model(model_options));
  const double load_seconds = 1e-9 * static_cast<double>(platform::now_ns() - begin);
  if (text) fmt::print("{}: {:.3f} s to the first op\n", model.name, load_seconds);
  out["model"] = model.name;
  out["load_seconds"].push_back(load_seconds);

  Bench bench(options, model, meter);
  const auto add = [&](Result<Figure> figure) -> Status {
    SLUICE_TRY(const Figure f, std::move(figure));
    if (text) print(f);
    out["figures"].push_back(json_of(f));
    return {};
  };
  for (const uint64_t tokens : options.prefill) SLUICE_TRY_VOID(add(bench.prefill(tokens)));
  for (const uint64_t depth : options.depth) SLUICE_TRY_VOID(add(bench.decode(depth)));
  for (const uint64_t sequences : options.sequences) SLUICE_TRY_VOID(add(bench.together(sequences, options.depth.empty() ? 0 : options.depth[0])));
  if (options.profile) {
    const auto add_profile = [&](Result<ProfileTable> profile) -> Status {
      SLUICE_TRY(ProfileTable table, std::move(profile));
      if (text) print(table);
      out["profiles"].push_back(json_of(table));
      tables.push_back(std::move(table));
      return {};
    };
    if (!options.prefill.empty()) SLUICE_TRY_VOID(add_profile(bench.profile_prefill(options.prefill.back())));
    for (const uint64_t depth : options.depth) SLUICE_TRY_VOID(add_profile(bench.profile_decode(depth)));
  }

  if (options.time_model) {
    SLUICE_TRY(const std::vector<PredictedTime> times, predict_times(model, options.prefill.empty() ? 128 : options.prefill[0], options.repeats));
    for (const PredictedTime& time : times) {
      if (text) print(time);
      out["time_model"].push_back(json_of(time));
    }
  }

  // The meter's memory is resident in whole.
  const uint64_t resident = platform::process_memory().resident_bytes - std::min(platform::process_memory().resident_bytes, LimitMeter::kReadBytes);
  std::error_code no_file;
  const uint64_t file = std::filesystem::is_regular_file(options.model.path, no_file) ? std::filesystem::file_size(options.model.path, no_file) : 0;
  out["memory"] = {{"resident", resident}, {"planned", model.plan.total()}, {"file", file}};
  if (text) fmt::print("resident {} (planned {}, file {})\n", bytes_text(resident), bytes_text(model.plan.total()), bytes_text(file));
  return {};
}

Status bench_all(BenchOptions options, ordered_json& out) {
  SLUICE_TRY_VOID(check(options));
  std::erase(options.prefill, 0u);
  if (options.decode == 0) options.depth.clear();
  if (options.decode == 0) options.sequences.clear();
  SLUICE_TRY(const Isa isa, choose_isa(options.model.isa));
  const std::vector<uint32_t> threads = options.threads.empty() ? std::vector<uint32_t>{platform::usable_cpus()} : options.threads;
  out = {{"cpu", platform::cpu().brand}, {"isa", name(isa)}};
  if (!options.model.json) fmt::print("{}, {}\n", platform::cpu().brand, name(isa));
  std::vector<ProfileTable> tables;
  for (const uint32_t count : threads) {
    SLUICE_TRY(const std::unique_ptr<LimitMeter> meter, LimitMeter::create(count, isa));
    const Limits limits = meter->measure();
    out["limits"].push_back(json_of_limits(count, limits));
    if (!options.model.json) print_limits(count, limits);
    if (!options.chip_file.empty()) SLUICE_TRY_VOID(write_text(options.chip_file, chip_file_of(isa, count, limits)));
    if (!options.limits_only) SLUICE_TRY_VOID(bench_threads(options, count, *meter, out, tables));
  }
  if (options.svg.empty()) return {};
  return write_text(options.svg, profile_svg(fmt::format("{} on {}, {}", out.value("model", ""), platform::cpu().brand, name(isa)), tables));
}

}  // namespace

int bench(const BenchOptions& options) {
  ordered_json out;
  const Status status = bench_all(options, out);
  if (!status.ok()) return fail(status.error());
  if (options.model.json) fmt::print("{}\n", out.dump(2));
  return 0;
}

}  // namespace sluice::cli
