// The vector form of rope/rope-inl.h for AVX-512; this file is compiled for it (cmake/rooms.cmake). Contract: rope.h. Its twin is rope_avx2.cc.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/rope/rope-inl.h"

namespace sluice::kernels {

void rope_avx512(const RopeArgs& args) { rope(args); }

}  // namespace sluice::kernels
