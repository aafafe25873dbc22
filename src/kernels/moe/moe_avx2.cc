// moe/moe-inl.h compiled for AVX2 (by its file name, cmake/rooms.cmake). Contract: moe.h.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/moe/moe-inl.h"

namespace sluice::kernels {

void moe_topk_avx2(const MoeTopkArgs& args) { moe_topk(args); }
void moe_combine_avx2(const MoeCombineArgs& args) { moe_combine(args); }

}  // namespace sluice::kernels
