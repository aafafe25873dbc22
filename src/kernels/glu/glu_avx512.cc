// glu/glu-inl.h compiled for AVX-512 (by its file name, cmake/rooms.cmake). Contract: glu.h.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/glu/glu-inl.h"

namespace sluice::kernels {

GluFn glu_avx512(Activation activation) { return glu_function(activation); }

}  // namespace sluice::kernels
