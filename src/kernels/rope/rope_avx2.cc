// rope/rope-inl.h compiled for AVX2 (by its file name, cmake/rooms.cmake). Contract: rope.h.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/rope/rope-inl.h"

namespace sluice::kernels {

void rope_avx2(const RopeArgs& args) { rope(args); }

}  // namespace sluice::kernels
