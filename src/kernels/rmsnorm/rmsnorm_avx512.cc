// The vector form of rmsnorm/rmsnorm-inl.h for AVX-512; this file is compiled for it (cmake/rooms.cmake). Contract: rmsnorm.h. Its twin is rmsnorm_avx2.cc.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/rmsnorm/rmsnorm-inl.h"

namespace sluice::kernels {

void rmsnorm_avx512(const RmsNormArgs& args) { rmsnorm(args); }

}  // namespace sluice::kernels
