#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "base/limits.h"
#include "models/family.h"
#include "program/verify.h"

namespace sluice::models {

// One line a family, each ending in a backslash. Where two share a GGUF architecture, the one with a `claims` comes first.
#define SLUICE_FAMILIES(X) \
  X(kJamba)                \
  X(kFalconMamba)          \
  X(kMamba)                \
  X(kMixtral)              \
  X(kLlama)                \
  X(kQwen2)                \
  X(kQwen3)                \
  X(kQwen3Moe)             \
  X(kGemma2)               \
  X(kGemma3)               \

#define X(family) extern const Family family;
SLUICE_FAMILIES(X)
#undef X

namespace {

constexpr const Family* kFamilies[] = {
#define X(family) &family,
    SLUICE_FAMILIES(X)
#undef X
};

const Family* find_family(const Config& config) {
  for (const Family* family : kFamilies) {
    const auto& names = config.is_gguf() ? family->architectures : family->model_types;
    if (std::find(names.begin(), names.end(), config.architecture()) == names.end()) continue;
    if (!config.is_gguf() || family->claims == nullptr || family->claims(config)) return family;
  }
  return nullptr;
}

Status count_parameters(program::Program& program) {
  uint64_t total = 0, idle = 0, chosen = 1;
  for (const program::Op& op : program.ops) {
    if (op.code == program::OpCode::kMoeTopk) chosen = static_cast<uint64_t>(program.integer(op, "k"));
  }
  for (const program::Value& value : program.values) {
    if (value.kind != program::ValueKind::kWeight || value.form == program::WeightForm::kFrequencies) continue;
    total += value.n * value.k * value.count;  // up to 2^60: cannot wrap below the limit
    if (total > limits::kParametersMax) {
      return Error{fmt::format("model configuration: the model would have more than {} parameters", limits::kParametersMax)};
    }
    if (value.count > 1) idle += value.n * value.k * (value.count - std::min(chosen, value.count));
  }
  program.facts.params_total = total;
  program.facts.params_active = total - idle;
  return {};
}

// Tensors of published checkpoints that a text program has no use for.
bool is_known_idle(std::string_view tensor, bool tied) {
  if (tensor.ends_with("rotary_emb.inv_freq")) return true;  // Llama folders of 2023
  if (tensor.ends_with(".attn.masked_bias")) return true;
  if (tied && tensor.ends_with("lm_head.weight")) return true;
  for (const std::string_view tower : {"vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.", "model.visual."}) {
    if (tensor.starts_with(tower)) return true;
  }
  return false;
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
  SLUICE_TRY_VOID(program::verify(program));
  SLUICE_TRY_VOID(count_parameters(program));
  return program;
}

Status check_all_used(const program::Program& program, std::span<const std::string_view> tensors) {
  std::unordered_set<std::string_view> used;
  for (const program::Value& value : program.values) used.insert(value.sources.begin(), value.sources.end());
  program::ValueId table = program::kNoValue, head = program::kNoValue;
  for (const program::Op& op : program.ops) {
    if (op.code == program::OpCode::kEmbed) table = program.operand(op, "table");
    if (op.code == program::OpCode::kMatmul) head = program.operand(op, "weight");  // the last one
  }
  const bool tied = table == head;
  for (const std::string_view tensor : tensors) {
    if (used.contains(tensor) || is_known_idle(tensor, tied)) continue;
    return Error{fmt::format("tensor {} is not used by the {} family: loading would ignore a part of the model", tensor, program.facts.family)};
  }
  return {};
}

}  // namespace sluice::models
