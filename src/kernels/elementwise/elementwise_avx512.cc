// elementwise/elementwise-inl.h compiled for AVX-512 (by its file name, cmake/rooms.cmake). Contract: elementwise.h.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/elementwise/elementwise-inl.h"

namespace sluice::kernels {

ElementwiseFn elementwise_avx512(Elementwise op) { return elementwise_function(op); }

}  // namespace sluice::kernels
