// The vector form of elementwise/elementwise-inl.h for AVX2; this file is compiled for it (cmake/rooms.cmake). Contract: elementwise.h. Its twin is elementwise_avx512.cc.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/elementwise/elementwise-inl.h"

namespace sluice::kernels {

ElementwiseFn elementwise_avx2(Elementwise op) { return elementwise_function(op); }

}  // namespace sluice::kernels
