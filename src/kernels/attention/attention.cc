// Attention's layout, work items and tables. Contract: attention.h. Definition: attention_reference.cc; vectors: attention-inl.h.
#include "kernels/attention/attention.h"

#include "kernels/attention/kv_layout.h"
#include "kernels/attention/tile.h"

namespace sluice::kernels {
namespace {

size_t round_up(size_t value, size_t step) { return (value + step - 1) / step * step; }

size_t element_bits(KvType type) {
  switch (type) {
    case KvType::kF32: return 32;
    case KvType::kF16: return 16;
    case KvType::kQ8: return 8;
    case KvType::kQ4: return 4;
  }
  return 0;
}

}  // namespace

KvLayout kv_layout(const KvShape& shape) {
  const bool q4 = shape.type == KvType::kQ4;
  const bool scaled = q4 || shape.type == KvType::kQ8;
  const size_t bits = element_bits(shape.type);
  const size_t key_blocks = scaled ? round_up(shape.head_dim_k, kKvBlock) / kKvBlock : 0;
  const size_t value_blocks = scaled ? round_up(shape.head_dim_v, kKvBlock) / kKvBlock : 0;
  KvLayout layout{};
  layout.value_dims_padded = round_up(shape.head_dim_v, q4 ? 32 : 16);
  layout.key_group_bytes = round_up(shape.head_dim_k, q4 ? 2 : 1) * kKvGroup * bits / 8;
  layout.key_scale_group_bytes = key_blocks * kKvGroup * sizeof(float);
  layout.value_row_bytes = layout.value_dims_padded * bits / 8;
  layout.value_scale_row_bytes = value_blocks * sizeof(float);
  layout.key_offset = 0;
  layout.key_scale_offset = layout.key_offset + round_up(kKvGroups * layout.key_group_bytes, 64);
  layout.value_offset = layout.key_scale_offset + round_up(kKvGroups * layout.key_scale_group_bytes, 64);
  layout.value_scale_offset = layout.value_offset + round_up(kPageTokens * layout.value_row_bytes, 64);
  layout.head_bytes = layout.value_scale_offset + round_up(kPageTokens * layout.value_scale_row_bytes, 64);
  return layout;
}

uint64_t kv_page_bytes(const KvShape& shape) { return kv_layout(shape).head_bytes * shape.heads; }

KvSpan visible_span(const KvRow& row, int32_t window) {
  const size_t end = static_cast<size_t>(row.position) + 1;
  const size_t seen = static_cast<size_t>(window);
  return {window > 0 && end > seen ? end - seen : 0, end};
}

AttentionItem attention_item(const AttentionArgs& args, size_t item) {
  const uint32_t group = args.q_heads / args.shape.heads;
  const size_t column = item / args.row_count;
  const uint32_t kv_head = static_cast<uint32_t>(column / args.head_parts);
  const uint32_t part = static_cast<uint32_t>(column % args.head_parts);
  const uint32_t first = kv_head * group;
  return {item % args.row_count, kv_head, first + group * part / args.head_parts, first + group * (part + 1) / args.head_parts};
}

KvWriteFn kv_write_reference(KvType type);
AttentionFn attention_reference(KvType type);
AttentionFn attention_avx2(KvType type);
AttentionFn attention_avx512(KvType type);

// One scalar form for every instruction set: writing 512 rows of 256 values is below 0.1 % of their prefill.
KvWriteFn kv_write_for(KvType type, Isa) { return kv_write_reference(type); }

AttentionFn attention_for(KvType type, Isa isa) {
  static constexpr AttentionFn (*kTable[kIsaCount])(KvType) = {attention_reference, attention_avx2, attention_avx512};
  return kTable[static_cast<size_t>(isa)](type);
}

AttentionScratch attention_scratch(const KvShape& shape) {
  const KvLayout layout = kv_layout(shape);
  AttentionScratch at{};
  at.queries = 0;
  at.scores = at.queries + round_up(shape.head_dim_k * kAttentionColumns, 16);
  at.out = at.scores + kAttentionColumns * kPageTokens;
  at.per_column = at.out + kAttentionColumns * layout.value_dims_padded;
  at.total = at.per_column + round_up(6 * kAttentionColumns, 16);
  return at;
}

// The reference's needs (a page of scores and two outputs) are smaller.
size_t attention_scratch_floats(const KvShape& shape, uint32_t) { return attention_scratch(shape).total; }

}  // namespace sluice::kernels
