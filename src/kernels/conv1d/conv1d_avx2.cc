// The vector form of conv1d/conv1d-inl.h for AVX2; this file is compiled for it (cmake/rooms.cmake). Contract: conv1d.h. Its twin is conv1d_avx512.cc.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/conv1d/conv1d-inl.h"

namespace sluice::kernels {

void conv1d_avx2(const Conv1dArgs& args) { conv1d(args); }

}  // namespace sluice::kernels
