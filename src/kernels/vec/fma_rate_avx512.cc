// vec/fma_rate-inl.h compiled for AVX-512 (by its file name, cmake/rooms.cmake). Contract: fma_rate.h.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/vec/fma_rate-inl.h"

namespace sluice::kernels {

float fma_rate_avx512(uint64_t rounds) { return fma_rate(rounds); }

}  // namespace sluice::kernels
