// vec/fma_rate-inl.h compiled for AVX2 (by its file name, cmake/rooms.cmake). Contract: fma_rate.h.
#include "kernels/vec/vec_avx2-inl.h"
// The vocabulary comes first.
#include "kernels/vec/fma_rate-inl.h"

namespace sluice::kernels {

float fma_rate_avx2(uint64_t rounds) { return fma_rate(rounds); }

}  // namespace sluice::kernels
