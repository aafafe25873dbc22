// Checkpoint rows to strips and back. Layout: layout.h; contract: matmul.h. Runs at compile time of a model and for embedding rows: plain code.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/half.h"
#include "kernels/dequant/blocks.h"
#include "kernels/dequant/dequant.h"
#include "kernels/matmul/layout.h"
#include "kernels/matmul/matmul.h"

namespace sluice::kernels {
namespace {

bool is_float_type(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

const PackedLayout& layout_of(DType type) {
  for (const PackedLayout& layout : kPackedLayouts) {
    if (layout.type == type) return layout;
  }
  SLUICE_CHECK(false && "not a weight type");
}

// Element (k) of output o of a strip of a float type, in elements from the strip's start.
uint64_t float_index(uint64_t k_padded, uint64_t o, uint64_t k) { return (o / 4 * (k_padded / 16) + k / 16) * 64 + o % 4 * 16 + k % 16; }

void pack_float_strip(uint64_t element, const uint8_t* rows_in, uint64_t rows, uint64_t k, uint8_t* out) {
  const uint64_t k_padded = (k + 15) / 16 * 16;
  std::memset(out, 0, 16 * k_padded * element);
  for (uint64_t o = 0; o < rows; ++o) {
    for (uint64_t i = 0; i < k; i += 16) {
      std::memcpy(out + float_index(k_padded, o, i) * element, rows_in + (o * k + i) * element, std::min<uint64_t>(16, k - i) * element);
    }
  }
}

// The planes of one group; q[o] points to the 32 codes of output o.
void pack_codes(uint32_t bits, const uint8_t* const* q, uint8_t* out) {
  if (bits & 1) {
    const uint32_t shift = bits - 1;
    for (uint32_t byte = 0; byte < 64; ++byte) {
      const uint8_t* code = q[byte / 4] + byte % 4;
      uint32_t line = 0;
      for (uint32_t quad = 0; quad < 8; ++quad) line |= (code[4 * quad] >> shift & 1u) << quad;
      out[byte] = static_cast<uint8_t>(line);
    }
    out += 64;
  }
  if (bits & 2) {
    const uint32_t shift = bits & 4;
    for (uint32_t at = 0; at < 128; ++at) {
      const uint8_t* code = q[at % 64 / 4] + at % 4 + at / 64 * 16;
      uint32_t line = 0;
      for (uint32_t j = 0; j < 4; ++j) line |= (code[4 * j] >> shift & 3u) << (2 * j);
      out[at] = static_cast<uint8_t>(line);
    }
    out += 128;
  }
  if (bits & 4) {
    for (uint32_t at = 0; at < 256; ++at) {
      const uint8_t* code = q[at % 64 / 4] + at % 4 + at / 64 * 4;
      out[at] = static_cast<uint8_t>((code[0] & 15) | (code[16] & 15) << 4);
    }
  }
  if (bits & 8) {
    for (uint32_t at = 0; at < 512; ++at) out[at] = q[at % 64 / 4][at % 4 + at / 64 * 4];
  }
}

// Code of element e (0..31) of output o of a group.
uint8_t code_at(uint32_t bits, const uint8_t* group, uint32_t o, uint32_t e) {
  const uint32_t quad = e / 4, byte = 4 * o + e % 4;
  if (bits & 8) return group[64 * quad + byte];
  uint32_t code = 0;
  if (bits & 1) {
    code |= (group[byte] >> quad & 1u) << (bits - 1);
    group += 64;
  }
  if (bits & 2) {
    code |= (group[64 * (quad / 4) + byte] >> (2 * (quad % 4)) & 3u) << (bits & 4);
    group += 128;
  }
  if (bits & 4) code |= group[64 * (quad % 4) + byte] >> (4 * (quad / 4)) & 15u;
  return static_cast<uint8_t>(code);
}

void put_u16(uint8_t* at, uint16_t value) { std::memcpy(at, &value, 2); }
uint16_t get_u16(const uint8_t* at) {
  uint16_t value;
  std::memcpy(&value, at, 2);
  return value;
}

// Scales of output o in a head: of group `slot` for plain blocks, of the whole chunk for superblocks.
void pack_scales(DType type, const BlockParts& parts, uint32_t slot, uint32_t o, uint8_t* head) {
  if (type == DType::kMXFP4) {
    head[16 * slot + o] = static_cast<uint8_t>(parts.d);
    return;
  }
  const PackedLayout& layout = layout_of(type);
  put_u16(head + 32 * slot + 2 * o, parts.d);
  if (layout.has_min) put_u16(head + 32 + 2 * o, parts.m);
  head += 64 + o;
  switch (type) {
    case DType::kQ4_K:
    case DType::kQ5_K:
      for (uint32_t i = 0; i < 8; ++i) head[16 * i + 128] = parts.min[i];
      [[fallthrough]];
    case DType::kIQ4_XS:
      for (uint32_t i = 0; i < 8; ++i) head[16 * i] = static_cast<uint8_t>(parts.scale[i]);
      break;
    case DType::kQ6_K:
      for (uint32_t i = 0; i < 16; ++i) head[16 * i] = static_cast<uint8_t>(parts.scale[i]);
      break;
    case DType::kQ2_K:
      for (uint32_t i = 0; i < 16; ++i) head[16 * i] = static_cast<uint8_t>(parts.scale[i] | parts.min[i] << 4);
      break;
    case DType::kQ3_K:
      for (uint32_t i = 0; i < 16; ++i) {
        const uint32_t scale = static_cast<uint32_t>(parts.scale[i] + 32);
        head[16 * (i % 8)] = static_cast<uint8_t>(head[16 * (i % 8)] | (scale & 15) << (4 * (i / 8)));
        head[128 + 16 * (i % 4)] = static_cast<uint8_t>(head[128 + 16 * (i % 4)] | scale >> 4 << (2 * (i / 4)));
      }
      break;
    default: break;
  }
}

void unpack_scales(DType type, const uint8_t* head, uint32_t slot, uint32_t o, BlockParts* parts) {
  if (type == DType::kMXFP4) {
    parts->d = head[16 * slot + o];
    return;
  }
  const PackedLayout& layout = layout_of(type);
  parts->d = get_u16(head + 32 * slot + 2 * o);
  if (layout.has_min) parts->m = get_u16(head + 32 + 2 * o);
  head += 64 + o;
  for (uint32_t i = 0; i < 16; ++i) {
    if (type == DType::kQ3_K) {
      const int low = head[16 * (i % 8)] >> (4 * (i / 8)) & 15, high = head[128 + 16 * (i % 4)] >> (2 * (i / 4)) & 3;
      parts->scale[i] = static_cast<int8_t>((low | high << 4) - 32);
    } else if (type == DType::kQ2_K) {
      parts->scale[i] = static_cast<int8_t>(head[16 * i] & 15);
      parts->min[i] = head[16 * i] >> 4;
    } else if (type == DType::kQ6_K || (layout.groups == 8 && i < 8)) {
      parts->scale[i] = static_cast<int8_t>(head[16 * i]);
      if (layout.has_min) parts->min[i] = head[16 * i + 128];
    }
  }
}

// `rows` (1..16) rows of checkpoint blocks to one strip.
void pack_block_strip(DType type, const uint8_t* rows_in, uint64_t rows, uint64_t k, uint8_t* out) {
  const PackedLayout& layout = layout_of(type);
  const uint64_t row_size = row_bytes(type, k), groups_all = k / kGroup;
  const uint32_t groups_block = info(type).block_elements / kGroup;
  BlockParts parts[16] = {};
  const uint8_t* codes[16];
  uint8_t* head = out;
  for (uint64_t group = 0; group < groups_all; ++group) {
    const auto slot = static_cast<uint32_t>(group % layout.groups);
    if (slot == 0) {
      head = out;
      std::memset(head, 0, layout.head_bytes);
      out += layout.head_bytes;
    }
    for (uint32_t o = 0; o < 16; ++o) {
      if (o < rows && group % groups_block == 0) {
        split_block(type, rows_in + o * row_size + group / groups_block * info(type).block_bytes, &parts[o]);
        pack_scales(type, parts[o], slot, o, head);
      }
      codes[o] = parts[o].q + group % groups_block * kGroup;
    }
    pack_codes(layout.bits, codes, out);
    out += layout.group_bytes;
  }
}

}  // namespace

uint64_t packed_strip_bytes(DType type, uint64_t k) {
  if (is_float_type(type)) return 16 * ((k + 15) / 16 * 16) * info(type).block_bytes;
  const PackedLayout& layout = layout_of(type);
  const uint64_t groups = k / kGroup;
  return (groups + layout.groups - 1) / layout.groups * layout.head_bytes + groups * layout.group_bytes;
}

uint64_t packed_bytes(DType type, uint64_t n, uint64_t k) { return (n + 15) / 16 * packed_strip_bytes(type, k); }

void pack(DType type, const uint8_t* rows_in, uint64_t n, uint64_t k, uint8_t* out) {
  SLUICE_CHECK(k % info(type).block_elements == 0);
  for (uint64_t row = 0; row < n; row += 16) {
    const uint64_t rows = std::min<uint64_t>(16, n - row);
    const uint8_t* in = rows_in + row * row_bytes(type, k);
    if (is_float_type(type)) {
      pack_float_strip(info(type).block_bytes, in, rows, k, out);
    } else {
      pack_block_strip(type, in, rows, k, out);
    }
    out += packed_strip_bytes(type, k);
  }
}

void unpack_row(DType type, const uint8_t* packed, uint64_t n, uint64_t k, uint64_t row, float* out) {
  SLUICE_DCHECK(row < n);
  const uint8_t* strip = packed + row / 16 * packed_strip_bytes(type, k);
  const auto o = static_cast<uint32_t>(row % 16);
  if (is_float_type(type)) {
    const uint64_t element = info(type).block_bytes;
    for (uint64_t i = 0; i < k; i += 16) {
      const uint8_t* from = strip + float_index((k + 15) / 16 * 16, o, i) * element;
      dequantize_row(type, from, std::min<uint64_t>(16, k - i), out + i);
    }
    return;
  }
  const PackedLayout& layout = layout_of(type);
  const uint32_t groups_block = info(type).block_elements / kGroup;
  const uint64_t chunk_bytes = layout.head_bytes + layout.groups * layout.group_bytes;
  BlockParts parts = {};
  for (uint64_t group = 0; group < k / kGroup; ++group) {
    const uint8_t* head = strip + group / layout.groups * chunk_bytes;
    const auto slot = static_cast<uint32_t>(group % layout.groups);
    const uint8_t* codes = head + layout.head_bytes + slot * layout.group_bytes;
    const uint64_t in_block = group % groups_block;
    for (uint32_t e = 0; e < kGroup; ++e) parts.q[in_block * kGroup + e] = code_at(layout.bits, codes, o, e);
    if (in_block + 1 < groups_block) continue;
    unpack_scales(type, head, groups_block > 1 ? 0 : slot, o, &parts);
    block_values(type, parts, out + (group + 1 - groups_block) * kGroup);
  }
}

}  // namespace sluice::kernels
