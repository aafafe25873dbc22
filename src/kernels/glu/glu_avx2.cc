// The vector form of glu/glu-inl.h for AVX2; this file is compiled for it (cmake/rooms.cmake). Contract: glu.h. Its twin is glu_avx512.cc.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/glu/glu-inl.h"

namespace sluice::kernels {

GluFn glu_avx2(Activation activation) { return glu_function(activation); }

}  // namespace sluice::kernels
