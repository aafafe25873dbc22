// The tables of the mixture ops' forms. Contract: moe.h. Definition: moe_reference.cc; vectors: moe-inl.h.
#include "kernels/moe/moe.h"

namespace sluice::kernels {

void moe_topk_reference(const MoeTopkArgs& args);
void moe_combine_reference(const MoeCombineArgs& args);

MoeTopkFn moe_topk_for(Isa isa) {
  static constexpr MoeTopkFn kTable[kIsaCount] = {moe_topk_reference, moe_topk_reference, moe_topk_reference};
  return kTable[static_cast<size_t>(isa)];
}

MoeCombineFn moe_combine_for(Isa isa) {
  static constexpr MoeCombineFn kTable[kIsaCount] = {moe_combine_reference, moe_combine_reference, moe_combine_reference};
  return kTable[static_cast<size_t>(isa)];
}

}  // namespace sluice::kernels
