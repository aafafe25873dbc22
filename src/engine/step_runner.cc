#include "engine/step_runner.h"

#include <algorithm>

namespace sluice::engine {
StepSizes step_sizes(const runtime::Runtime& runtime) {
  const program::Program& program = runtime.program();
  const program::PlanSizes& plan = runtime.sizes();
  StepSizes sizes{plan.rows_max, plan.logit_rows_max, program.facts.vocabulary, plan.page_bytes, plan.state_bytes};
  for (const program::Op& op : program.ops) {
    if (op.code == program::OpCode::kObserve && program.integer(op, "index") == static_cast<int64_t>(program.facts.layers) + 1) {
      sizes.last_norm = program.integer(op, "index");
    }
    if (op.code == program::OpCode::kAttention) {
      const program::Value& kv = program.value(program.operand(op, "kv"));
      sizes.attention_flops += 2 * static_cast<uint64_t>(program.integer(op, "heads")) * (kv.head_dim_k + kv.head_dim_v);
    }
  }
  sizes.flops_per_token = std::max<uint64_t>(2 * program.facts.params_active, 1);
  return sizes;
}

RuntimeRunner::RuntimeRunner(runtime::Runtime& runtime) : StepRunner(step_sizes(runtime)), runtime_(runtime) {}

}  // namespace sluice::engine
