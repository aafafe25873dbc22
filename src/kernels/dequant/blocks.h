// Checkpoint blocks taken apart: unsigned codes in order of elements, integer scales of sub-blocks, f16 scales. dequant turns parts into values,
// matmul/pack lays them out for the kernels. Block layouts: GGUF (ggml-common.h's structures, described in docs/formats where we have it).
// Not for hot code: see kernels/matmul.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace sluice::kernels {

inline constexpr uint32_t kSuperblock = 256;  // elements of a K-quant block
inline constexpr uint32_t kGroup = 32;        // elements of a plain block, and of the unit that kernels work in

// Values of the 4-bit non-linear codes (IQ4_NL, IQ4_XS), and of e2m1 doubled (MXFP4).
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
inline constexpr int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

struct BlockParts {
  uint8_t q[kSuperblock];  // codes, always unsigned: Q8_0 is stored + 128; IQ4 and MXFP4 are indices into the tables above
  int8_t scale[16];        // of sub-blocks of 16 (Q2_K, Q3_K, Q6_K) or 32 (Q4_K, Q5_K, IQ4_XS) elements
  uint8_t min[16];         // likewise (Q2_K, Q4_K, Q5_K)
  uint16_t d;              // f16 bits; MXFP4: the exponent byte
  uint16_t m;              // f16 bits of m or dmin
};

// One block of a block type (not F32, F16, BF16).
void split_block(DType type, const uint8_t* block, BlockParts* parts);

// Its values, block_elements of them.
void block_values(DType type, const BlockParts& parts, float* out);

// 2^(e - 128), what MXFP4 multiplies its doubled codes with.
float mxfp4_scale(uint8_t e);

}  // namespace sluice::kernels
