// Where things stand in one KV head's block of a page. Private to attention's files; the contract is attention.h.
//   keys    f32, f16, q8: [4][dim][16] elements;  q4: [4][dim_pairs][16] bytes, low nibble dimension 2i, high 2i + 1
//   values  f32, f16, q8: [64][dim padded to 16];  q4: [64][dim padded to 32] nibbles, byte i of each 16 holding dimensions i (low) and i + 16 (high)
//   scales  keys [4][blocks of 32 dimensions][16], values [64][blocks of 32 dimensions]; f32, kQ8 and kQ4 only
#pragma once

#include <cstddef>

#include "kernels/attention/attention.h"

namespace sluice::kernels {

inline constexpr size_t kKvBlock = 32;    // dimensions that share a scale
inline constexpr size_t kKvGroup = 16;    // positions that stand in lanes
inline constexpr size_t kKvGroups = kPageTokens / kKvGroup;

// All offsets and strides in bytes; offsets from the head's block, each a multiple of 64.
struct KvLayout {
  size_t key_offset;
  size_t key_group_bytes;         // codes of 16 positions
  size_t key_scale_offset;
  size_t key_scale_group_bytes;   // scales of 16 positions
  size_t value_offset;
  size_t value_row_bytes;         // one position
  size_t value_scale_offset;
  size_t value_scale_row_bytes;
  size_t value_dims_padded;       // multiple of 16; 32 for kQ4
  size_t head_bytes;
};
KvLayout kv_layout(const KvShape& shape);

// The visible positions of a row: first and one past the last.
struct KvSpan {
  size_t begin, end;
};
KvSpan visible_span(const KvRow& row, int32_t window);

// What an item of AttentionArgs stands for.
struct AttentionItem {
  size_t row;
  uint32_t kv_head;
  uint32_t q_begin, q_end;  // query heads
};
AttentionItem attention_item(const AttentionArgs& args, size_t item);

}  // namespace sluice::kernels
