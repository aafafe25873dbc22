// `sluice bench` and `sluice synth`: how fast a model runs here, as shares of what the machine can do, measured in the same run; and files to time.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "cli/verbs.h"
#include "compiler/synth.h"
#include "engine/sampler.h"
#include "kernels/limits/limits.h"
#include "platform/cpu.h"
#include "platform/memory.h"

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::ordered_json;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Spread {
  double median = 0, low = 0, high = 0;
};
Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

// The limits of this machine with these threads, now: they move with whatever else the host does, so they are measured around every figure.
struct Limits {
  double int8_per_second = 0;
  double read_bytes_per_second = 0;
};

class LimitMeter {
 public:
  static Result<std::unique_ptr<LimitMeter>> create(uint32_t threads, Isa isa) {
    std::unique_ptr<LimitMeter> meter(new LimitMeter(isa));
    SLUICE_TRY(meter->pool_, platform::ThreadPool::create(threads));
    SLUICE_TRY(meter->memory_, platform::AnonymousMapping::map(kReadBytes, platform::AnonymousMapping::Pages::kHuge));
    meter->memory_.touch();
    return meter;
  }
  Limits measure() {
    Limits out;
    for (int repeat = 0; repeat < 3; ++repeat) {
      auto start = Clock::now();
      operations_ = 0;
      pool_->run([](void* self, uint32_t) { static_cast<LimitMeter*>(self)->multiply(); }, this);
      out.int8_per_second = std::max(out.int8_per_second, static_cast<double>(operations_) / seconds_since(start));
      start = Clock::now();
      pool_->run([](void* self, uint32_t thread) { static_cast<LimitMeter*>(self)->read(thread); }, this);
      out.read_bytes_per_second = std::max(out.read_bytes_per_second, static_cast<double>(kReadBytes) / seconds_since(start));
    }
    return out;
  }

 private:
  static constexpr uint64_t kReadBytes = 512ull << 20;  // far beyond any cache
  explicit LimitMeter(Isa isa) : loops_(kernels::limit_loops_for(isa)) {}
  void multiply() {
    int32_t sink = 0;
    operations_ += loops_.int8_multiply_adds(1'000'000, &sink);
  }
  void read(uint32_t thread) {
    uint64_t sink = 0;
    const uint64_t part = kReadBytes / pool_->size() / 256 * 256;
    loops_.read(reinterpret_cast<const uint8_t*>(memory_.bytes().data()) + thread * part, part, &sink);
  }
  kernels::LimitLoops loops_;
  std::unique_ptr<platform::ThreadPool> pool_;
  platform::AnonymousMapping memory_;
  std::atomic<uint64_t> operations_{0};
};

// Of one token: operations of its matmuls (the head too), and bytes of the weights that it reads.
struct TokenCost {
  double operations = 0;
  double weight_bytes = 0;
};
TokenCost token_cost(const program::Program& program, bool with_head) {
  TokenCost cost;
  double chosen = 1;
  for (const program::Op& op : program.ops) {
    if (op.code == program::OpCode::kMoeTopk) chosen = static_cast<double>(program.integer(op, "k"));
    const bool expert = op.code == program::OpCode::kMoeMatmul;
    if (op.code != program::OpCode::kMatmul && !expert) continue;
    const program::Value& w = program.value(program.operand(op, "weight"));
    if (!with_head && w.n == program.facts.vocabulary) continue;
    const double used = expert ? chosen : 1;
    cost.operations += 2 * used * static_cast<double>(w.n) * static_cast<double>(w.k);
    cost.weight_bytes += used * static_cast<double>(w.bytes) / static_cast<double>(w.count);
  }
  return cost;
}

struct Figure {
  std::string what;
  Spread tokens_per_second;
  Spread share;        // of the limit beside it
  const char* of = "";
};

class Bench {
 public:
  Bench(const BenchOptions& options, LoadedModel& model, LimitMeter& meter) : options_(options), model_(model), meter_(meter) {}

  Result<Figure> prefill(uint64_t tokens) {
    std::vector<double> speeds, shares;
    const double operations = token_cost(model_.runtime->program(), false).operations * static_cast<double>(tokens);
    const std::vector<int32_t> ids(tokens, 5);
    for (uint64_t repeat = 0; repeat <= options_.repeats; ++repeat) {
      SLUICE_TRY(auto session, engine::Session::create(*model_.runtime, tokens));
      const Limits before = meter_.measure();
      const auto start = Clock::now();
      SLUICE_TRY_VOID(session->feed(ids, {}));
      const double seconds = seconds_since(start);
      if (repeat == 0) continue;  // warm-up
      speeds.push_back(static_cast<double>(tokens) / seconds);
      shares.push_back(operations / seconds / before.int8_per_second);
    }
    return Figure{fmt::format("prefill {}", tokens), spread_of(speeds), spread_of(shares), "int8 rate"};
  }

  Result<Figure> decode(uint64_t depth, uint64_t tokens) {
    std::vector<double> speeds, shares;
    const double bytes = token_cost(model_.runtime->program(), true).weight_bytes * static_cast<double>(tokens);
    SLUICE_TRY(auto session, engine::Session::create(*model_.runtime, depth + tokens * (options_.repeats + 1) + 1));
    SLUICE_TRY_VOID(session->feed(std::vector<int32_t>(depth + 1, 5), {}));
    for (uint64_t repeat = 0; repeat <= options_.repeats; ++repeat) {
      const Limits before = meter_.measure();
      const auto start = Clock::now();
      for (uint64_t i = 0; i < tokens; ++i) {
        const int32_t next[] = {engine::argmax(session->logits())};
        SLUICE_TRY_VOID(session->feed(next, {}));
      }
      const double seconds = seconds_since(start);
      if (repeat == 0) continue;
      speeds.push_back(static_cast<double>(tokens) / seconds);
      shares.push_back(bytes / seconds / before.read_bytes_per_second);
    }
    return Figure{fmt::format("decode at {}", depth), spread_of(speeds), spread_of(shares), "read bandwidth"};
  }

 private:
  const BenchOptions& options_;
  LoadedModel& model_;
  LimitMeter& meter_;
};

void print(const Figure& f) {
  fmt::print("{:<16} {:>9.1f} tokens/s ({:.1f} - {:.1f})   {:>5.1f} % of {} ({:.1f} - {:.1f})\n", f.what, f.tokens_per_second.median, f.tokens_per_second.low,
             f.tokens_per_second.high, 100 * f.share.median, f.of, 100 * f.share.low, 100 * f.share.high);
  std::fflush(stdout);
}

ordered_json json_of(const Figure& f) {
  return {{"what", f.what}, {"tokens_per_second", f.tokens_per_second.median}, {"low", f.tokens_per_second.low}, {"high", f.tokens_per_second.high},
          {"share", f.share.median}, {"of", f.of}};
}

}  // namespace

int bench(const BenchOptions& options) {
  const Result<Isa> isa = choose_isa(options.model.isa);
  if (!isa.ok()) return fail(isa.error());
  const uint32_t threads = options.model.threads ? options.model.threads : platform::usable_cpus();
  Result<std::unique_ptr<LimitMeter>> meter = LimitMeter::create(threads, *isa);
  if (!meter.ok()) return fail(meter.error());
  const Limits limits = (*meter)->measure();
  ordered_json out = {{"cpu", platform::cpu().brand}, {"isa", name(*isa)}, {"threads", threads}, {"int8_gops", limits.int8_per_second / 1e9},
                      {"read_gb_per_second", limits.read_bytes_per_second / 1e9}};
  if (!options.model.json) {
    fmt::print("{}, {}, {} thread(s): {:.0f} int8 GOP/s, {:.1f} GB/s read\n", platform::cpu().brand, name(*isa), threads, limits.int8_per_second / 1e9,
               limits.read_bytes_per_second / 1e9);
  }
  if (!options.limits_only) {
    const auto start = Clock::now();
    Result<LoadedModel> model = load_model(options.model);
    if (!model.ok()) return fail(model.error());
    const double load_seconds = seconds_since(start);
    out["load_seconds"] = load_seconds;
    if (!options.model.json) fmt::print("{}: {:.3f} s to the first op\n", model->name, load_seconds);
    Bench bench(options, *model, **meter);
    std::vector<Result<Figure>> figures;
    const auto add = [&](Result<Figure> figure) {
      if (figure.ok() && !options.model.json) print(*figure);
      figures.push_back(std::move(figure));
    };
    for (const uint64_t tokens : options.prefill) add(bench.prefill(tokens));
    for (const uint64_t depth : options.depth) add(bench.decode(depth, options.decode));
    for (const Result<Figure>& figure : figures) {
      if (!figure.ok()) return fail(figure.error());
      out["figures"].push_back(json_of(*figure));
    }
    out["peak_rss"] = platform::process_memory().resident_peak_bytes;
  }
  if (options.model.json) fmt::print("{}\n", out.dump(2));
  return 0;
}

int synth(const SynthVerbOptions& options) {
  const Result<weights::Checkpoint> config = open_checkpoint(options.config);
  if (!config.ok()) return fail(config.error());
  compiler::SynthOptions synth_options{.recipe = options.weights, .seed = options.seed, .progress = {}};
  ProgressBar bar("writing " + options.out, 0);
  const Status status = compiler::synthesize(*config, options.out, synth_options);
  if (!status.ok()) return fail(status.error());
  std::error_code error;
  fmt::print("{}: {}\n", options.out, bytes_text(std::filesystem::file_size(options.out, error)));
  return 0;
}

}  // namespace sluice::cli
