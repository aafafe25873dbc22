#include "cli/timing_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <set>

#include "cli/timing_figures.h"
#include "compiler/passes.h"
#include "compiler/synth.h"
#include "kernels/matmul/matmul.h"
#include "lpu/cpu_time.h"
#include "models/family.h"
#include "platform/clock.h"
#include "program/builder.h"
#include "runtime/profile.h"

namespace sluice::cli {
namespace {

using lpu::CpuSample;
using program::Program;
using program::Value;

constexpr int32_t kToken = 5;
constexpr uint64_t kDecodeTokens = 8;          // a round
constexpr uint64_t kFootprintMost = 96 << 20;  // beyond any cache that this thread has to itself
constexpr uint64_t kFootprintLeast = 2 << 20;
constexpr uint64_t kWide = 2048, kWideLeast = 512, kBlock = 256;  // of chains; a block of weights
constexpr uint64_t kLightWidth = 256, kFullWidth = 1024;         // of hybrids

// Matrices hold one random strip of 16 outputs over and over: no kernel's time depends on the numbers.
void fill_weight(const Value& v, std::byte* out) {
  switch (v.form) {
    case program::WeightForm::kMatrix: {
      const uint64_t strip = kernels::packed_strip_bytes(v.dtype, v.k);
      std::vector<std::byte> rows(16 * row_bytes(v.dtype, v.k));
      compiler::random_rows(v.dtype, 16, v.k, 1, rows.data());
      kernels::pack(v.dtype, reinterpret_cast<const uint8_t*>(rows.data()), 16, v.k, reinterpret_cast<uint8_t*>(out));
      for (uint64_t at = strip; at + strip <= v.bytes; at += strip) std::memcpy(out + at, out, strip);
      break;
    }
    case program::WeightForm::kFrequencies: std::memcpy(out, v.literals.data(), v.literals.size() * sizeof(double)); break;
    default: {
      const float number = v.form == program::WeightForm::kScanA ? -1.0f : 0.5f;
      for (uint64_t at = 0; at + 4 <= v.bytes; at += 4) std::memcpy(out + at, &number, 4);
    }
  }
}

Result<std::unique_ptr<runtime::Runtime>> runtime_of(Program program, DType type, uint64_t rows, const runtime::Options& options) {
  compiler::strip_observers(program);
  compiler::assume_weights(program, type);
  compiler::fuse(program);
  compiler::select(program);
  const uint64_t bytes = compiler::place_weights(program);
  auto memory = std::make_shared<platform::AnonymousMapping>();
  SLUICE_TRY(*memory, platform::AnonymousMapping::map(bytes, platform::AnonymousMapping::Pages::kHuge));
  for (const Value& v : program.values) {
    if (v.kind == program::ValueKind::kWeight) fill_weight(v, memory->bytes().data() + v.offset);
  }
  const program::PlanSizes sizes = compiler::plan(program, {rows, 1, options.kv_type});
  return runtime::Runtime::create(std::move(program), sizes, memory->bytes(), memory, options);
}

// Square matrices of one type in a chain, a quarter of the bytes in narrow ones; norms keep the numbers in range. Few bytes are not filled by few matrices.
Program chain(DType type, uint64_t bytes) {
  uint64_t wide = kWide;
  while (wide > kWideLeast && 4 * kernels::packed_bytes(type, wide, wide) > bytes) wide /= 2;
  const uint64_t narrow = std::max(wide / 4, kBlock);
  program::Builder b({.family = "chain", .layers = 1, .vocabulary = 64, .hidden = narrow});
  program::ValueId x = b.embed(b.matrix("embed", 64, narrow), 1);
  uint64_t made = 0;
  const auto step = [&](uint64_t n, uint64_t k) { x = b.matmul(b.rmsnorm(x, program::kNoValue, 1e-6), b.matrix(fmt::format("w{}", made++), n, k)); };
  const auto count = [&](uint64_t width, uint64_t part) { return std::max<uint64_t>(part / kernels::packed_bytes(type, width, width), 2); };
  for (uint64_t i = count(narrow, bytes / 4); i > 0; --i) step(narrow, narrow);
  step(wide, narrow);
  for (uint64_t i = count(wide, bytes * 3 / 4); i > 0; --i) step(wide, wide);
  step(narrow, wide);
  return b.finish(b.matmul(b.select_rows(x), b.matrix("head", 64, narrow)));
}

// Every other kind of op in two sizes: a hybrid with experts, and attention with rotation and norms of heads.
Result<Program> hybrid(uint64_t width) {
  const nlohmann::json fields = {{"model_type", "jamba"}, {"hidden_size", width}, {"intermediate_size", 2 * width}, {"num_hidden_layers", 4},
                                 {"num_attention_heads", width / 64}, {"num_key_value_heads", width / 128}, {"vocab_size", 64}, {"attn_layer_period", 2},
                                 {"attn_layer_offset", 1}, {"expert_layer_period", 2}, {"expert_layer_offset", 1}, {"num_experts", 4},
                                 {"num_experts_per_tok", 2}, {"mamba_d_state", 16}, {"mamba_d_conv", 4}, {"mamba_expand", 2}, {"mamba_dt_rank", 32},
                                 {"mamba_conv_bias", true}, {"mamba_proj_bias", false}, {"rms_norm_eps", 1e-6}, {"hidden_act", "silu"},
                                 {"tie_word_embeddings", false}, {"max_position_embeddings", 4096}};
  return models::build(models::Config(models::Format::kHuggingFace, fields, nullptr));
}
Result<Program> rotated(uint64_t width) {
  const nlohmann::json fields = {{"model_type", "qwen3"}, {"hidden_size", width}, {"intermediate_size", 2 * width}, {"num_hidden_layers", 3},
                                 {"num_attention_heads", width / 64}, {"num_key_value_heads", width / 128}, {"head_dim", 64}, {"vocab_size", 64},
                                 {"rms_norm_eps", 1e-6}, {"hidden_act", "silu"}, {"rope_theta", 10000.0}, {"tie_word_embeddings", false},
                                 {"attention_bias", false}, {"max_position_embeddings", 4096}};
  return models::build(models::Config(models::Format::kHuggingFace, fields, nullptr));
}

// One calibration program at work.
struct Calibration {
  std::unique_ptr<runtime::Runtime> runtime;
  std::unique_ptr<engine::Session> session;
  bool matrices = false;  // its matmuls count; of the others only the rest does
  bool light = false;     // so small that what an op costs beside its kernel stands out
};

// Seconds of a step, and of each of its ops in each of the steps that were timed op by op.
struct Timed {
  double step_s = 0;
  std::vector<std::vector<double>> op_s;
};

double cpu_seconds_since(uint64_t begin) { return 1e-9 * static_cast<double>(platform::process_cpu_ns() - begin); }

Status feed(engine::Session& session, uint64_t tokens, uint64_t steps) {
  for (uint64_t i = 0; i < steps; ++i) SLUICE_TRY_VOID(session.feed(std::vector<int32_t>(tokens, kToken), {}));
  return {};
}

// `steps` steps of `rows` rows, once plain by CPU time, and once op by op: many rows by CPU time too; one row by the wall, since reading the CPU's clock takes
// as long as a small op. What another process interrupts stands out a hundredfold then, and is trimmed.
Result<Timed> time_ops(Calibration& c, uint64_t rows, uint64_t steps) {
  Timed out;
  const uint64_t begin = platform::process_cpu_ns();
  SLUICE_TRY_VOID(feed(*c.session, rows, steps));
  out.step_s = cpu_seconds_since(begin) / static_cast<double>(steps);
  if (rows > 1) c.session->reset();
  out.op_s.resize(c.runtime->program().ops.size());
  for (uint64_t step = 0; step < steps; ++step) {
    runtime::Profile profile(out.op_s.size(), 1, rows > 1 ? runtime::Profile::Clocks::kWallAndCpu : runtime::Profile::Clocks::kWall);
    c.runtime->set_profile(&profile);
    const Status fed = feed(*c.session, rows, 1);
    c.runtime->set_profile(nullptr);
    SLUICE_TRY_VOID(fed);
    for (size_t i = 0; i < profile.ops(); ++i) {
      out.op_s[i].push_back(1e-9 * static_cast<double>(rows > 1 ? profile.at(i, 0).cpu_ns : profile.at(i, 0).wall_ns));
    }
  }
  return out;
}

// The mean without the fifth at either end: sums of it stay sums, and a burst of other processes' work does not count.
double trimmed_mean(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto cut = static_cast<ptrdiff_t>(values.size() / 5);
  const double sum = std::accumulate(values.begin() + cut, values.end() - cut, 0.0);
  return sum / static_cast<double>(values.size() - 2 * static_cast<size_t>(cut));
}

// What rounds have shown of one way to step: times of every kind of op by size, and of an op beside its kernel.
struct Seen {
  std::map<std::string, std::map<double, std::vector<double>>> of_kind;
  std::vector<double> walk_s;

  lpu::CpuRates rates() const {
    lpu::CpuRates out;
    out.walk_s = trimmed_mean(walk_s);
    for (const auto& [kind, sizes] : of_kind) {
      std::vector<CpuSample> samples;
      for (const auto& [units, seconds] : sizes) samples.push_back({units, trimmed_mean(seconds)});
      out.of_kind[kind] = lpu::fit_rate(samples);
    }
    return out;
  }
};

Status measure(std::vector<Calibration>& calibrations, uint64_t rows, Seen& seen) {
  double walk_s = 0, ops = 0;
  for (Calibration& c : calibrations) {
    const lpu::CpuStep step{rows, rows > 1 ? 0 : c.session->tokens().size() + kDecodeTokens * 3 / 2};  // the second half is timed op by op
    if (rows > 1) c.session->reset();
    SLUICE_TRY(const Timed timed, time_ops(c, rows, rows > 1 ? 1 : kDecodeTokens));
    const Program& program = c.runtime->program();
    double in_ops = 0;
    for (size_t i = 0; i < program.ops.size(); ++i) {
      in_ops += trimmed_mean(timed.op_s[i]);
      const bool matrix = program.ops[i].code == program::OpCode::kMatmul || program.ops[i].code == program::OpCode::kMoeMatmul;
      if (matrix && !c.matrices) continue;
      auto& times = seen.of_kind[lpu::op_kind(program, program.ops[i])][lpu::op_units(program, program.ops[i], step)];
      times.insert(times.end(), timed.op_s[i].begin(), timed.op_s[i].end());
    }
    if (!c.light) continue;
    walk_s += timed.step_s - in_ops;
    ops += static_cast<double>(program.ops.size());
  }
  seen.walk_s.push_back(walk_s / ops);
  return {};
}

Result<std::vector<Calibration>> calibrations_for(const runtime::Runtime& target, uint64_t rows, uint64_t context) {
  std::set<DType> types;
  uint64_t bytes = 0;  // that a token reads
  for (const program::Op& op : target.program().ops) {
    const bool expert = op.code == program::OpCode::kMoeMatmul;
    if (op.code != program::OpCode::kMatmul && !expert) continue;
    const Value& w = target.program().value(target.program().operand(op, "weight"));
    types.insert(w.dtype);
    bytes += expert ? w.bytes / w.count * target.program().value(target.program().operand(op, "ids")).width : w.bytes;
  }
  bytes = std::clamp(bytes, kFootprintLeast, kFootprintMost);
  std::vector<Calibration> out;
  const auto add = [&](Result<Program> program, DType type, bool matrices) -> Status {
    SLUICE_TRY(Program made, std::move(program));
    Calibration c;
    SLUICE_TRY(c.runtime, runtime_of(std::move(made), type, rows, target.options()));
    SLUICE_TRY(c.session, engine::Session::create(*c.runtime, context));
    c.matrices = matrices;
    c.light = !matrices && c.runtime->program().facts.hidden == kLightWidth;
    out.push_back(std::move(c));
    return {};
  };
  for (const DType type : types) SLUICE_TRY_VOID(add(chain(type, bytes), type, true));
  for (const uint64_t width : {kLightWidth, kFullWidth}) {
    SLUICE_TRY_VOID(add(hybrid(width), DType::kQ8_0, false));
    SLUICE_TRY_VOID(add(rotated(width), DType::kQ8_0, false));
  }
  return out;
}

PredictedTime compared(std::string what, double predicted_s, const std::vector<double>& measured, double tokens) {
  const Spread spread = spread_of(measured);
  const double mean = trimmed_mean(measured);
  return {std::move(what), predicted_s / tokens, mean / tokens, predicted_s / mean - 1, predicted_s / spread.high - 1, predicted_s / spread.low - 1};
}

}  // namespace

void print(const PredictedTime& t) {
  fmt::print("time model, {:<14}{:>9.3f} ms a token predicted, {:>9.3f} measured, by CPU time of one thread: {:+.1f} % ({:+.1f} to {:+.1f})\n", t.what,
             1e3 * t.predicted_s, 1e3 * t.measured_s, 100 * t.error, 100 * t.error_low, 100 * t.error_high);
  std::fflush(stdout);
}

nlohmann::ordered_json json_of(const PredictedTime& t) {
  return {{"what", t.what}, {"predicted_seconds", t.predicted_s}, {"measured_seconds", t.measured_s}, {"error", t.error}, {"error_low", t.error_low},
          {"error_high", t.error_high}};
}

Result<std::vector<PredictedTime>> predict_times(LoadedModel& model, uint64_t rows, uint64_t rounds) {
  const runtime::Runtime& target = *model.runtime;
  if (target.options().threads != 1) return Error{fmt::format("--time-model: {} threads; it is of one (--threads 1)", target.options().threads)};
  rows = std::min(rows, target.sizes().rows_max);
  const uint64_t context = rows + 3 * kDecodeTokens * (rounds + 2);
  SLUICE_TRY(auto session, engine::Session::create(*model.runtime, context));
  SLUICE_TRY(std::vector<Calibration> calibrations, calibrations_for(target, rows, context));
  Seen prefill_seen, decode_seen;
  std::vector<double> prefill_s, decode_s;
  for (uint64_t round = 0; round <= rounds; ++round) {
    if (round == 1) {  // the first was to warm up
      prefill_seen = decode_seen = {};
      prefill_s.clear();
      decode_s.clear();
    }
    SLUICE_TRY_VOID(measure(calibrations, rows, prefill_seen));
    session->reset();
    uint64_t begin = platform::process_cpu_ns();
    SLUICE_TRY_VOID(feed(*session, rows, 1));
    prefill_s.push_back(cpu_seconds_since(begin));
    SLUICE_TRY_VOID(measure(calibrations, 1, decode_seen));
    SLUICE_TRY_VOID(feed(*session, 1, 1));  // the weights are back where decoding leaves them
    begin = platform::process_cpu_ns();
    SLUICE_TRY_VOID(feed(*session, 1, kDecodeTokens));
    decode_s.push_back(cpu_seconds_since(begin) / kDecodeTokens);
  }
  SLUICE_TRY(const double prefill_predicted, lpu::predict_seconds(target.program(), {rows, 0}, prefill_seen.rates()));
  SLUICE_TRY(const double decode_predicted, lpu::predict_seconds(target.program(), {1, rows + 1 + kDecodeTokens / 2}, decode_seen.rates()));
  return std::vector{compared(fmt::format("prefill {}", rows), prefill_predicted, prefill_s, static_cast<double>(rows)),
                     compared(fmt::format("decode at {}", rows), decode_predicted, decode_s, 1)};
}

}  // namespace sluice::cli
