// The vector form of elementwise/elementwise-inl.h for AVX-512; this file is compiled for it (cmake/rooms.cmake). Contract: elementwise.h. Its twin is elementwise_avx2.cc.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/elementwise/elementwise-inl.h"

namespace sluice::kernels {

ElementwiseFn elementwise_avx512(Elementwise op) { return elementwise_function(op); }

}  // namespace sluice::kernels
