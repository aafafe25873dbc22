// The vector form of rope/rope-inl.h for AVX2; this file is compiled for it (cmake/rooms.cmake). Contract: rope.h. Its twin is rope_avx512.cc.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/rope/rope-inl.h"

namespace sluice::kernels {

void rope_avx2(const RopeArgs& args) { rope(args); }

}  // namespace sluice::kernels
