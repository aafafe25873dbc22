#include "engine/step_runner.h"

#include <algorithm>

namespace sluice::engine {
namespace {

constexpr uint64_t kBlockBytesWithoutKv = 4096;  // of the store's blocks where a model has no attention

}  // namespace
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

StoreOptions store_options(const StepSizes& sizes, uint64_t running_pages, uint64_t beyond) {
  StoreOptions store;
  store.page_bytes = sizes.page_bytes == 0 ? kBlockBytesWithoutKv : sizes.page_bytes;
  store.state_bytes = sizes.state_bytes;
  store.cost = {static_cast<double>(sizes.flops_per_token), static_cast<double>(sizes.attention_flops) / 2};
  // While a sequence resumes, the state and the last page that it copies are still there.
  store.running_pages = running_pages + (sizes.state_bytes + store.page_bytes - 1) / store.page_bytes + 1;
  store.bytes_backed = true;
  store.budget_bytes = StateStore::bytes_for(store, store.running_pages) + beyond;
  return store;
}

RuntimeRunner::RuntimeRunner(runtime::Runtime& runtime) : StepRunner(step_sizes(runtime)), runtime_(runtime) {}

}  // namespace sluice::engine
