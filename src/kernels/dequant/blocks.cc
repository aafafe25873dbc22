// Checkpoint blocks taken apart and evaluated. One split per layout; values are written as the formats define them. See blocks.h.
#include "kernels/dequant/blocks.h"

#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/half.h"

namespace sluice::kernels {
namespace {

uint16_t load_u16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }

// 16 bytes of nibbles to 32 codes: low nibbles first.
void split_nibbles(const uint8_t* qs, uint8_t* q) {
  for (int j = 0; j < 16; ++j) {
    q[j] = qs[j] & 15;
    q[j + 16] = qs[j] >> 4;
  }
}

void add_fifth_bits(const uint8_t* qh, uint8_t* q) {
  for (int j = 0; j < 32; ++j) {
    const int bit = (qh[j / 8] >> (j % 8)) & 1;
    q[j] = static_cast<uint8_t>(q[j] | bit << 4);
  }
}

// The eight 6-bit scales and mins of Q4_K and Q5_K.
void split_scales_k4(const uint8_t* s, BlockParts* parts) {
  for (int i = 0; i < 4; ++i) {
    parts->scale[i] = static_cast<int8_t>(s[i] & 63);
    parts->min[i] = s[i + 4] & 63;
    parts->scale[i + 4] = static_cast<int8_t>((s[i + 8] & 15) | (s[i] >> 6) << 4);
    parts->min[i + 4] = static_cast<uint8_t>((s[i + 8] >> 4) | (s[i + 4] >> 6) << 4);
  }
}

// Nibbles of Q4_K and Q5_K: 64 elements to 32 bytes.
void split_nibbles_k4(const uint8_t* qs, uint8_t* q) {
  for (int c = 0; c < 4; ++c) {
    for (int r = 0; r < 32; ++r) {
      q[64 * c + r] = qs[32 * c + r] & 15;
      q[64 * c + 32 + r] = qs[32 * c + r] >> 4;
    }
  }
}

// 2-bit codes of Q2_K and Q3_K: 128 elements to 32 bytes.
void split_pairs_k(const uint8_t* qs, uint8_t* q) {
  for (int i = 0; i < 8; ++i) {
    for (int l = 0; l < 32; ++l) q[32 * i + l] = (qs[32 * (i / 4) + l] >> (2 * (i % 4))) & 3;
  }
}

// Bit i of bits[l] is bit `shift` of element 32 i + l (Q3_K, Q5_K).
void add_high_bits(const uint8_t* bits, int shift, uint8_t* q) {
  for (int i = 0; i < 8; ++i) {
    for (int l = 0; l < 32; ++l) q[32 * i + l] = static_cast<uint8_t>(q[32 * i + l] | ((bits[l] >> i) & 1) << shift);
  }
}

void split_q2_k(const uint8_t* b, BlockParts* parts) {
  for (int i = 0; i < 16; ++i) {
    parts->scale[i] = static_cast<int8_t>(b[i] & 15);
    parts->min[i] = b[i] >> 4;
  }
  split_pairs_k(b + 16, parts->q);
  parts->d = load_u16(b + 80);
  parts->m = load_u16(b + 82);
}

void split_q3_k(const uint8_t* b, BlockParts* parts) {
  const uint8_t* scales = b + 96;
  split_pairs_k(b + 32, parts->q);
  add_high_bits(b, 2, parts->q);
  for (int i = 0; i < 16; ++i) {
    const int low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
    const int high = (scales[8 + i % 4] >> (2 * (i / 4))) & 3;
    parts->scale[i] = static_cast<int8_t>((low | high << 4) - 32);
  }
  parts->d = load_u16(b + 108);
}

void split_q4_k(const uint8_t* b, BlockParts* parts) {
  parts->d = load_u16(b);
  parts->m = load_u16(b + 2);
  split_scales_k4(b + 4, parts);
  split_nibbles_k4(b + 16, parts->q);
}

void split_q5_k(const uint8_t* b, BlockParts* parts) {
  parts->d = load_u16(b);
  parts->m = load_u16(b + 2);
  split_scales_k4(b + 4, parts);
  split_nibbles_k4(b + 48, parts->q);
  add_high_bits(b + 16, 4, parts->q);
}

void split_q6_k(const uint8_t* b, BlockParts* parts) {
  for (int i = 0; i < 8; ++i) {  // 32 elements each
    const int g = i % 4, low_shift = g < 2 ? 0 : 4;
    const uint8_t* ql = b + 64 * (i / 4) + 32 * (g & 1);
    const uint8_t* qh = b + 128 + 32 * (i / 4);
    for (int l = 0; l < 32; ++l) parts->q[32 * i + l] = static_cast<uint8_t>((ql[l] >> low_shift & 15) | (qh[l] >> (2 * g) & 3) << 4);
  }
  std::memcpy(parts->scale, b + 192, 16);
  parts->d = load_u16(b + 208);
}

void split_iq4_xs(const uint8_t* b, BlockParts* parts) {
  const uint16_t scales_high = load_u16(b + 2);
  parts->d = load_u16(b);
  for (int i = 0; i < 8; ++i) {
    const int low = (b[4 + i / 2] >> (4 * (i % 2))) & 15;
    const int high = (scales_high >> (2 * i)) & 3;
    parts->scale[i] = static_cast<int8_t>((low | high << 4) - 32);
    split_nibbles(b + 8 + 16 * i, parts->q + 32 * i);
  }
}

void split_q8_0(const uint8_t* b, BlockParts* parts) {
  parts->d = load_u16(b);
  for (int j = 0; j < 32; ++j) parts->q[j] = b[2 + j] ^ 0x80;
}

// d * scale * (q - offset); every product but the last is exact in f32 (11 + 8 bits), so it is rounded once.
void values_scaled(const BlockParts& parts, int sub_block, int offset, float* out) {
  const float d = f16_to_f32(parts.d);
  for (int j = 0; j < 256; ++j) {
    const float scale = d * static_cast<float>(parts.scale[j / sub_block]);
    out[j] = scale * static_cast<float>(parts.q[j] - offset);
  }
}

void values_scaled_min(const BlockParts& parts, int sub_block, float* out) {
  const float d = f16_to_f32(parts.d), dmin = f16_to_f32(parts.m);
  for (int j = 0; j < 256; ++j) {
    const float scale = d * static_cast<float>(parts.scale[j / sub_block]);
    const float low = dmin * static_cast<float>(parts.min[j / sub_block]);
    out[j] = scale * static_cast<float>(parts.q[j]) - low;
  }
}

void values_plain(const BlockParts& parts, int offset, float* out) {
  const float d = f16_to_f32(parts.d);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(parts.q[j] - offset);
}

void values_min(const BlockParts& parts, float* out) {
  const float d = f16_to_f32(parts.d), m = f16_to_f32(parts.m);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(parts.q[j]) + m;
}

void values_table(const int8_t* table, float d, const BlockParts& parts, float* out) {
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(table[parts.q[j]]);
}

void values_iq4_xs(const BlockParts& parts, float* out) {
  const float d = f16_to_f32(parts.d);
  for (int j = 0; j < 256; ++j) {
    const float scale = d * static_cast<float>(parts.scale[j / 32]);
    out[j] = scale * static_cast<float>(kIq4Values[parts.q[j]]);
  }
}

}  // namespace

float mxfp4_scale(uint8_t e) {
  // e = 0 and 1 are the subnormals 2^-128 and 2^-127.
  const uint32_t bits = e < 2 ? 0x200000u << e : static_cast<uint32_t>(e - 1) << 23;
  return std::bit_cast<float>(bits);
}

void split_block(DType type, const uint8_t* b, BlockParts* parts) {
  switch (type) {
    case DType::kQ8_0: return split_q8_0(b, parts);
    case DType::kQ4_0:
    case DType::kIQ4_NL:
      parts->d = load_u16(b);
      return split_nibbles(b + 2, parts->q);
    case DType::kMXFP4:
      parts->d = b[0];
      return split_nibbles(b + 1, parts->q);
    case DType::kQ4_1:
      parts->d = load_u16(b);
      parts->m = load_u16(b + 2);
      return split_nibbles(b + 4, parts->q);
    case DType::kQ5_0:
      parts->d = load_u16(b);
      split_nibbles(b + 6, parts->q);
      return add_fifth_bits(b + 2, parts->q);
    case DType::kQ5_1:
      parts->d = load_u16(b);
      parts->m = load_u16(b + 2);
      split_nibbles(b + 8, parts->q);
      return add_fifth_bits(b + 4, parts->q);
    case DType::kQ2_K: return split_q2_k(b, parts);
    case DType::kQ3_K: return split_q3_k(b, parts);
    case DType::kQ4_K: return split_q4_k(b, parts);
    case DType::kQ5_K: return split_q5_k(b, parts);
    case DType::kQ6_K: return split_q6_k(b, parts);
    case DType::kIQ4_XS: return split_iq4_xs(b, parts);
    default: SLUICE_CHECK(false && "not a block type");
  }
}

void block_values(DType type, const BlockParts& parts, float* out) {
  switch (type) {
    case DType::kQ8_0: return values_plain(parts, 128, out);
    case DType::kQ4_0: return values_plain(parts, 8, out);
    case DType::kQ5_0: return values_plain(parts, 16, out);
    case DType::kQ4_1:
    case DType::kQ5_1: return values_min(parts, out);
    case DType::kIQ4_NL: return values_table(kIq4Values, f16_to_f32(parts.d), parts, out);
    case DType::kMXFP4: return values_table(kMxfp4Values, mxfp4_scale(static_cast<uint8_t>(parts.d)), parts, out);
    case DType::kQ2_K: return values_scaled_min(parts, 16, out);
    case DType::kQ3_K: return values_scaled(parts, 16, 4, out);
    case DType::kQ4_K:
    case DType::kQ5_K: return values_scaled_min(parts, 32, out);
    case DType::kQ6_K: return values_scaled(parts, 16, 32, out);
    case DType::kIQ4_XS: return values_iq4_xs(parts, out);
    default: SLUICE_CHECK(false && "not a block type");
  }
}

}  // namespace sluice::kernels
