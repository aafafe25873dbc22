// `sluice plan`: what a model costs in bytes before it runs, from its file or from a config.json alone.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "cli/verbs.h"
#include "models/family.h"

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
  if (options.weights.empty() && names_package(options.model.path)) {
    SLUICE_TRY(compiler::Model model, compiler::open_package(options.model.path));
    return std::move(model.program);
  }
  SLUICE_TRY(const weights::Checkpoint checkpoint, open_checkpoint(options.model.path));
  if (!checkpoint.has_tensors() || !options.weights.empty()) return program_of_config(checkpoint, options.weights);
  return compiler::compile_program(checkpoint, {}, "");
}

struct Planned {
  program::ModelFacts facts;
  uint64_t users = 1;
  Fit fit;
};

Result<Planned> plan_of(const PlanVerbOptions& options) {
  SLUICE_TRY(const program::Program program, program_of(options));
  SLUICE_TRY(const Fit fitted, fit(program, options.model));
  return Planned{program.facts, options.model.users, fitted};
}

void print_json(const Planned& p) {
  const compiler::MemoryPlan& bytes = p.fit.plan;
  const nlohmann::ordered_json out = {
      {"model", p.facts.name.empty() ? p.facts.family : p.facts.name},
      {"family", p.facts.family},
      {"params_total", p.facts.params_total},
      {"params_active", p.facts.params_active},
      {"context", p.fit.context},
      {"users", p.users},
      {"rows", p.fit.rows},
      {"bytes", {{"weights", bytes.weights}, {"kv", bytes.kv}, {"state", bytes.state}, {"activations", bytes.activations}, {"total", bytes.total()}}},
      {"fits", p.fit.fits},
      {"max_context", p.fit.longest_context},
      {"smallest_cap", p.fit.smallest_cap}};
  fmt::print("{}\n", out.dump(2));
}

void print_table(const Planned& p) {
  fmt::print("{} ({}), {:.2f} billion parameters, {:.2f} active\n", p.facts.name.empty() ? "model" : p.facts.name, p.facts.family,
             static_cast<double>(p.facts.params_total) / 1e9, static_cast<double>(p.facts.params_active) / 1e9);
  fmt::print("{} user(s), {} tokens of context each, steps of up to {} rows\n\n", p.users, p.fit.context, p.fit.rows);
  const auto line = [](const char* what, uint64_t bytes) { fmt::print("  {:<14}{:>14}  {:>18} bytes\n", what, bytes_text(bytes), bytes); };
  const compiler::MemoryPlan& bytes = p.fit.plan;
  line("weights", bytes.weights);
  line("KV", bytes.kv);
  line("state", bytes.state);
  line("activations", bytes.activations);
  line("total", bytes.total());
  if (p.fit.cap == 0) return;
  fmt::print("\n{} of {}: {}; longest context that fits: {} tokens; smallest cap: {}\n", bytes_text(bytes.total()), bytes_text(p.fit.cap),
             p.fit.fits ? "fits" : "does not fit", p.fit.longest_context, bytes_text(p.fit.smallest_cap));
}

}  // namespace

int plan(const PlanVerbOptions& options) {
  const Result<Planned> planned = plan_of(options);
  if (!planned.ok()) return fail(planned.error());
  options.model.json ? print_json(*planned) : print_table(*planned);
  return 0;
}

}  // namespace sluice::cli
