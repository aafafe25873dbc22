#include <fmt/format.h>

#include <algorithm>

#include "models/family.h"
#include "program/verify.h"

namespace sluice::models {

// One line a family.
extern const Family kJamba, kLlama;

namespace {

constexpr const Family* kFamilies[] = {
    &kJamba,
    &kLlama,
};

const Family* find_family(const Config& config) {
  for (const Family* family : kFamilies) {
    const auto& names = config.is_gguf() ? family->architectures : family->model_types;
    if (std::find(names.begin(), names.end(), config.architecture()) != names.end()) return family;
  }
  return nullptr;
}

void count_parameters(program::Program& program) {
  uint64_t total = 0, idle = 0, chosen = 1;
  for (const program::Op& op : program.ops) {
    if (op.code == program::OpCode::kMoeTopk) chosen = static_cast<uint64_t>(program.integer(op, "k"));
  }
  for (const program::Value& value : program.values) {
    if (value.kind != program::ValueKind::kWeight || value.form == program::WeightForm::kFrequencies) continue;
    total += value.n * value.k * value.count;
    if (value.count > 1) idle += value.n * value.k * (value.count - std::min(chosen, value.count));
  }
  program.facts.params_total = total;
  program.facts.params_active = total - idle;
}

}  // namespace

std::span<const Family* const> families() { return kFamilies; }

Result<program::Program> build(const Config& config) {
  const Family* family = find_family(config);
  if (family == nullptr) {
    std::string known;
    for (const Family* each : kFamilies) known += fmt::format("{}{}", known.empty() ? "" : ", ", each->name);
    const std::string_view key = config.is_gguf() ? "general.architecture" : "model_type";
    return Error{fmt::format("model family '{}' ({}) is not supported; supported: {}", config.architecture(), key, known)};
  }
  SLUICE_TRY(program::Program program, family->build(config));
  program.facts.family = family->name;
  program.facts.name = config.model_name();
  count_parameters(program);
  SLUICE_TRY_VOID(program::verify(program));
  return program;
}

}  // namespace sluice::models
