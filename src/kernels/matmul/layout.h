// How packed matrices lie in memory: strips of 16 outputs one after the other, each strip through all of k. Data only (no inline code that a wide file
// could emit). Written by pack.cc, read by the kernels.
//
// F32, F16, BF16: a strip is 4 quads of outputs; a quad is [k / 16 rounded up][4 outputs][16 elements].
//
// Block types: a strip is chunks of one or more groups of 32 elements: a head of scales (a multiple of 64 bytes), then the codes of its groups. The last
// chunk may hold fewer groups. The codes of a group are planes of bits, each of 64-byte lines whose byte 4 * o + i belongs to output o and element i of a
// quad (4 elements); a group has 8 quads:
//   1-bit plane: 1 line, bit q = quad q            2-bit plane: 2 lines, line h holds quads 4 * h + j in bits 2 * j
//   4-bit plane: 4 lines, line l holds quad l in the low and quad l + 4 in the high nibble            8-bit plane: 8 lines, one a quad
// so that one line is one operand of 16 outputs x 4 elements, for vpdpbusd whole and for vpmaddubsw in halves of 8 outputs.
// Heads (rows of 16 outputs): Q8_0 Q4_0 Q5_0 IQ4_NL: f16 d[groups][16].  MXFP4: u8 e[groups][16].  Q4_1 Q5_1: f16 d[16], m[16].
//   Q4_K Q5_K: f16 d[16], dmin[16], u8 scale[8][16], min[8][16].  Q6_K: f16 d[16], 32 bytes of zeros, i8 scale[16][16].
//   Q2_K: f16 d[16], dmin[16], u8 scale | min << 4 [16][16].  IQ4_XS: f16 d[16], 32 bytes of zeros, i8 scale[8][16].
//   Q3_K: f16 d[16], 32 bytes of zeros; scale + 32 of sub-block i: low 4 bits in nibble i / 8 of u8[8][16] at i % 8, high 2 bits at bit 2 * (i / 4) of
//   u8[4][16] at i % 4.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace sluice::kernels {

struct PackedLayout {
  DType type;
  uint32_t bits;         // planes of the codes: the sum of some of 1, 2, 4, 8
  uint32_t groups;       // of 32 elements, in a full chunk
  uint32_t head_bytes;
  uint32_t group_bytes;  // 64 * bits
  int32_t offset;        // integer weight = code - offset (types with a table: see blocks.h)
  bool has_min;
  bool scale_per_16;
};

#define SLUICE_PACKED_TYPES(X)                                  \
  /* type, bits, groups, head, offset, has_min, scale_per_16 */ \
  X(kQ8_0, 8, 2, 64, 128, false, false)                         \
  X(kQ4_0, 4, 2, 64, 8, false, false)                           \
  X(kQ4_1, 4, 1, 64, 0, true, false)                            \
  X(kQ5_0, 5, 2, 64, 16, false, false)                          \
  X(kQ5_1, 5, 1, 64, 0, true, false)                            \
  X(kIQ4_NL, 4, 2, 64, 0, false, false)                         \
  X(kMXFP4, 4, 4, 64, 0, false, false)                          \
  X(kQ2_K, 2, 8, 320, 0, true, true)                            \
  X(kQ3_K, 3, 8, 256, 4, false, true)                           \
  X(kQ4_K, 4, 8, 320, 0, true, false)                           \
  X(kQ5_K, 5, 8, 320, 0, true, false)                           \
  X(kQ6_K, 6, 8, 320, 32, false, true)                          \
  X(kIQ4_XS, 4, 8, 192, 0, false, false)

inline constexpr PackedLayout kPackedLayouts[] = {
#define X(type, bits, groups, head, offset, has_min, per_16) {DType::type, bits, groups, head, 64 * bits, offset, has_min, per_16},
    SLUICE_PACKED_TYPES(X)
#undef X
};

constexpr size_t packed_layout_index(DType type) {
  size_t i = 0;
  while (kPackedLayouts[i].type != type) ++i;
  return i;
}

template <DType kType>
inline constexpr PackedLayout kPackedLayout = kPackedLayouts[packed_layout_index(kType)];

}  // namespace sluice::kernels
