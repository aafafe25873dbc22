// The vector form of glu/glu-inl.h for AVX-512; this file is compiled for it (cmake/rooms.cmake). Contract: glu.h. Its twin is glu_avx2.cc.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/glu/glu-inl.h"

namespace sluice::kernels {

GluFn glu_avx512(Activation activation) { return glu_function(activation); }

}  // namespace sluice::kernels
