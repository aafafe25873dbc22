// `sluice plan`: what a model costs in bytes before it runs, from its file or from a config.json alone.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "models/family.h"
#include "platform/cpu.h"

namespace sluice::cli {
namespace {

// The program of a lone configuration, as if converted to one weight type.
Result<program::Program> program_of_config(const weights::Checkpoint& checkpoint, const std::string& type_name) {
  const std::string name = type_name.empty() ? "q8_0" : type_name;
  const std::optional<DType> type = dtype_from_name(name);
  if (!type) return Error{fmt::format("--weights {}: unknown type; for example f16, q8_0, q4_k", name)};
  SLUICE_TRY(program::Program program, models::build(compiler::config_of(checkpoint)));
  compiler::strip_observers(program);
  compiler::assume_weights(program, *type);
  compiler::fuse(program);
  compiler::select(program);
  compiler::place_weights(program);
  return program;
}

Result<program::Program> program_of(const PlanVerbOptions& options) {
  SLUICE_TRY(const weights::Checkpoint checkpoint, open_checkpoint(options.model.path));
  if (!checkpoint.has_tensors()) return program_of_config(checkpoint, options.weights);
  if (!options.weights.empty()) return Error{"--weights is for a config.json alone: this file's weights have their own types"};
  return compiler::compile_program(checkpoint, {}, "");
}

struct Planned {
  program::ModelFacts facts;
  compiler::MemoryPlanOptions options;
  compiler::MemoryPlan bytes;
  uint64_t max_context = 0;
  uint64_t cap = 0;
  bool fits = true;
};

Result<Planned> plan_of(const PlanVerbOptions& options) {
  SLUICE_TRY(const program::Program program, program_of(options));
  Planned out;
  out.facts = program.facts;
  SLUICE_TRY(out.options.kv_type, kv_type_from_name(options.model.kv));
  const uint64_t limit = program.facts.context_max ? program.facts.context_max : limits::kContextTokensMax;
  out.options.context = options.model.context ? options.model.context : std::min<uint64_t>(4096, limit);
  out.options.users = options.model.users;
  out.options.rows_max = options.model.rows ? options.model.rows : 512;
  out.options.threads = options.model.threads ? options.model.threads : platform::usable_cpus();
  out.bytes = compiler::memory_plan(program, out.options);
  out.max_context = limit;
  if (!options.model.memory.empty()) {
    SLUICE_TRY(out.cap, parse_bytes(options.model.memory));
    out.fits = out.bytes.total() <= out.cap;
    out.max_context = compiler::longest_context(program, out.options, out.cap, limit);
  }
  return out;
}

void print_json(const Planned& p) {
  const nlohmann::ordered_json out = {
      {"model", p.facts.name.empty() ? p.facts.family : p.facts.name},
      {"family", p.facts.family},
      {"params_total", p.facts.params_total},
      {"params_active", p.facts.params_active},
      {"context", p.options.context},
      {"users", p.options.users},
      {"bytes", {{"weights", p.bytes.weights}, {"kv", p.bytes.kv}, {"state", p.bytes.state}, {"activations", p.bytes.activations}, {"total", p.bytes.total()}}},
      {"fits", p.fits},
      {"max_context", p.max_context}};
  fmt::print("{}\n", out.dump(2));
}

void print_table(const Planned& p) {
  fmt::print("{} ({}), {:.2f} billion parameters, {:.2f} active\n", p.facts.name.empty() ? "model" : p.facts.name, p.facts.family,
             static_cast<double>(p.facts.params_total) / 1e9, static_cast<double>(p.facts.params_active) / 1e9);
  fmt::print("{} user(s), {} tokens of context each, steps of up to {} rows\n\n", p.options.users, p.options.context, p.options.rows_max);
  const auto line = [](const char* what, uint64_t bytes) { fmt::print("  {:<14}{:>14}  {:>18} bytes\n", what, bytes_text(bytes), bytes); };
  line("weights", p.bytes.weights);
  line("KV", p.bytes.kv);
  line("state", p.bytes.state);
  line("activations", p.bytes.activations);
  line("total", p.bytes.total());
  if (p.cap == 0) return;
  fmt::print("\n{} of {}: {}; longest context that fits: {} tokens\n", bytes_text(p.bytes.total()), bytes_text(p.cap), p.fits ? "fits" : "does not fit",
             p.max_context);
}

}  // namespace

int plan(const PlanVerbOptions& options) {
  const Result<Planned> planned = plan_of(options);
  if (!planned.ok()) return fail(planned.error());
  options.model.json ? print_json(*planned) : print_table(*planned);
  return 0;
}

}  // namespace sluice::cli
