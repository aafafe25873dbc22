#include "compiler/memory_plan.h"

#include <algorithm>

namespace sluice::compiler {

MemoryPlan memory_plan(const program::Program& original, const MemoryPlanOptions& options) {
  program::Program program = original;
  const program::PlanSizes sizes = plan(program, {options.rows_max, options.logit_rows_max, options.kv_type});
  MemoryPlan out;
  out.weights = sizes.weight_bytes;
  out.state = options.users * sizes.state_bytes;
  const uint64_t pages = (options.context + kernels::kPageTokens - 1) / kernels::kPageTokens;
  out.kv = options.users * pages * sizes.page_bytes;
  uint64_t scratch_floats = 0;
  for (const program::Op& op : program.ops) {
    if (op.code != program::OpCode::kAttention) continue;
    const program::Value& kv = program.value(program.operand(op, "kv"));
    const kernels::KvShape shape{options.kv_type, kv.kv_heads, kv.head_dim_k, kv.head_dim_v};
    const uint32_t heads = static_cast<uint32_t>(program.integer(op, "heads"));
    scratch_floats = std::max<uint64_t>(scratch_floats, kernels::attention_scratch_floats(shape, heads));
  }
  out.activations = sizes.arena_bytes + options.threads * scratch_floats * 4;
  return out;
}

uint64_t longest_context(const program::Program& program, MemoryPlanOptions options, uint64_t cap, uint64_t context_max) {
  const auto fits = [&](uint64_t pages) {
    options.context = pages * kernels::kPageTokens;
    return memory_plan(program, options).total() <= cap;
  };
  uint64_t low = 0, high = std::max<uint64_t>(context_max / kernels::kPageTokens, 1);
  while (low < high) {
    const uint64_t middle = (low + high + 1) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low * kernels::kPageTokens;
}

void assume_weights(program::Program& program, DType type) {
  for (program::Value& value : program.values) {
    if (value.kind != program::ValueKind::kWeight || value.form != program::WeightForm::kMatrix) continue;
    value.dtype = value.k % info(type).block_elements == 0 ? type : DType::kF16;
  }
}

}  // namespace sluice::compiler
