// rmsnorm/rmsnorm-inl.h compiled for AVX2 (by its file name, cmake/rooms.cmake). Contract: rmsnorm.h.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/rmsnorm/rmsnorm-inl.h"

namespace sluice::kernels {

void rmsnorm_avx2(const RmsNormArgs& args) { rmsnorm(args); }

}  // namespace sluice::kernels
