// The forms of limits.h, one an instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::kernels {

uint64_t int8_multiply_adds_reference(uint64_t rounds, int32_t* sink);
uint64_t int8_multiply_adds_avx2(uint64_t rounds, int32_t* sink);
uint64_t int8_multiply_adds_avx512(uint64_t rounds, int32_t* sink);
void read_reference(const uint8_t* data, size_t bytes, uint64_t* sink);
void read_avx2(const uint8_t* data, size_t bytes, uint64_t* sink);
void read_avx512(const uint8_t* data, size_t bytes, uint64_t* sink);

}  // namespace sluice::kernels
