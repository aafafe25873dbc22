// The tables of the mixture ops' forms. Contract: moe.h. Definition: moe_reference.cc; vectors: moe-inl.h.
#include "kernels/moe/moe.h"

namespace sluice::kernels {

void moe_topk_reference(const MoeTopkArgs& args);
void moe_topk_avx2(const MoeTopkArgs& args);
void moe_topk_avx512(const MoeTopkArgs& args);
void moe_combine_reference(const MoeCombineArgs& args);
void moe_combine_avx2(const MoeCombineArgs& args);
void moe_combine_avx512(const MoeCombineArgs& args);

MoeTopkFn moe_topk_for(Isa isa) {
  static constexpr MoeTopkFn kTable[kIsaCount] = {moe_topk_reference, moe_topk_avx2, moe_topk_avx512};
  return kTable[static_cast<size_t>(isa)];
}

MoeCombineFn moe_combine_for(Isa isa) {
  static constexpr MoeCombineFn kTable[kIsaCount] = {moe_combine_reference, moe_combine_avx2, moe_combine_avx512};
  return kTable[static_cast<size_t>(isa)];
}

}  // namespace sluice::kernels
