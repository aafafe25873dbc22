// conv1d/conv1d-inl.h compiled for AVX2 (by its file name, cmake/rooms.cmake). Contract: conv1d.h.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/conv1d/conv1d-inl.h"

namespace sluice::kernels {

void conv1d_avx2(const Conv1dArgs& args) { conv1d(args); }

}  // namespace sluice::kernels
