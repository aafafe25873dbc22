// Attention, the definition: plain scalar code in the order that the contract (attention.h) states. Also the baseline path.
#include <cstring>
#include <limits>

#include "base/half.h"
#include "kernels/attention/kv_layout.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {
namespace {

float float_at(const uint8_t* bytes, size_t index) {
  float value;
  std::memcpy(&value, bytes + index * sizeof(float), sizeof(float));
  return value;
}

float half_at(const uint8_t* bytes, size_t index) {
  uint16_t value;
  std::memcpy(&value, bytes + index * sizeof(uint16_t), sizeof(uint16_t));
  return f16_to_f32(value);
}

float nibble_at(const uint8_t* bytes, size_t index, bool high) {
  const int code = high ? bytes[index] >> 4 : bytes[index] & 15;
  return static_cast<float>(code - 8);
}

// One KV head's block of one page.
template <KvType kType>
struct Block {
  const KvLayout& layout;
  const uint8_t* bytes;

  float key(size_t j, size_t d) const {
    const size_t group = j / kKvGroup;
    const size_t lane = j % kKvGroup;
    const uint8_t* keys = bytes + layout.key_offset + group * layout.key_group_bytes;
    if constexpr (kType == KvType::kF32) return float_at(keys, d * kKvGroup + lane);
    if constexpr (kType == KvType::kF16) return half_at(keys, d * kKvGroup + lane);
    const float scale = float_at(bytes + layout.key_scale_offset + group * layout.key_scale_group_bytes, d / kKvBlock * kKvGroup + lane);
    if constexpr (kType == KvType::kQ8) return static_cast<float>(static_cast<int8_t>(keys[d * kKvGroup + lane])) * scale;
    return nibble_at(keys, d / 2 * kKvGroup + lane, d % 2 != 0) * scale;
  }

  float value(size_t j, size_t d) const {
    const uint8_t* values = bytes + layout.value_offset + j * layout.value_row_bytes;
    if constexpr (kType == KvType::kF32) return float_at(values, d);
    if constexpr (kType == KvType::kF16) return half_at(values, d);
    const float scale = float_at(bytes + layout.value_scale_offset + j * layout.value_scale_row_bytes, d / kKvBlock);
    if constexpr (kType == KvType::kQ8) return static_cast<float>(static_cast<int8_t>(values[d])) * scale;
    return nibble_at(values, d / kKvBlock * 16 + d % 16, d % kKvBlock >= 16) * scale;
  }
};

// Max, sum and unnormalised output; what pages are merged into.
struct Partial {
  float m;
  float l;
  float* o;  // [head_dim_v]
};

template <KvType kType>
void attend_page(const AttentionArgs& args, const float* q, const Block<kType>& block, size_t begin, size_t end, float* p, Partial* page) {
  float partial_max[16];
  for (float& m : partial_max) m = -std::numeric_limits<float>::infinity();
  for (size_t j = begin; j < end; ++j) {
    float s = 0.0f;
    for (size_t d = 0; d < args.shape.head_dim_k; ++d) s = fma_exact(q[d], block.key(j, d), s);
    s = s * args.scale;
    if (args.softcap > 0) s = args.softcap * tanh32(s / args.softcap);
    p[j] = s;
    partial_max[j % 16] = max32(partial_max[j % 16], s);
  }
  page->m = tree_max(partial_max);
  float partial[16] = {};
  for (size_t j = begin; j < end; ++j) {
    p[j] = exp32(p[j] - page->m);
    partial[j % 16] = partial[j % 16] + p[j];
  }
  page->l = tree_sum(partial);
  for (size_t d = 0; d < args.shape.head_dim_v; ++d) {
    float o = 0.0f;
    for (size_t j = begin; j < end; ++j) o = fma_exact(p[j], block.value(j, d), o);
    page->o[d] = o;
  }
}

void merge(const Partial& page, size_t dims, Partial* total) {
  const float m = max32(total->m, page.m);
  const float a = exp32(total->m - m);
  const float b = exp32(page.m - m);
  for (size_t d = 0; d < dims; ++d) total->o[d] = fma_exact(total->o[d], a, page.o[d] * b);
  total->l = fma_exact(total->l, a, page.l * b);
  total->m = m;
}

template <KvType kType>
void attend(const AttentionArgs& args, const KvLayout& layout, size_t row, uint32_t kv_head, uint32_t q_head) {
  const size_t dims = args.shape.head_dim_v;
  const float* q = args.q + row * args.q_stride + q_head * args.shape.head_dim_k;
  float* p = args.scratch;
  Partial page{0, 0, p + kPageTokens};
  Partial total{-std::numeric_limits<float>::infinity(), 0.0f, page.o + layout.value_dims_padded};
  if (args.sinks != nullptr) {
    total.m = args.sinks[q_head];
    total.l = 1.0f;
  }
  std::memset(total.o, 0, dims * sizeof(float));
  const KvSpan span = visible_span(args.rows[row], args.window);
  for (size_t index = span.begin / kPageTokens; index * kPageTokens < span.end; ++index) {
    const size_t first = index * kPageTokens;
    const Block<kType> block{layout, args.rows[row].pages[index] + args.layer_offset + kv_head * layout.head_bytes};
    const size_t begin = span.begin > first ? span.begin - first : 0;
    const size_t end = span.end - first < kPageTokens ? span.end - first : kPageTokens;
    attend_page(args, q, block, begin, end, p, &page);
    merge(page, dims, &total);
  }
  float* out = args.out + row * args.out_stride + q_head * dims;
  for (size_t d = 0; d < dims; ++d) out[d] = total.o[d] / total.l;
}

template <KvType kType>
void attention(const AttentionArgs& args) {
  const KvLayout layout = kv_layout(args.shape);
  for (size_t i = args.item_begin; i < args.item_end; ++i) {
    const AttentionItem item = attention_item(args, i);
    for (uint32_t h = item.q_begin; h < item.q_end; ++h) attend<kType>(args, layout, item.row, item.kv_head, h);
  }
}

}  // namespace

AttentionFn attention_reference(KvType type) {
  switch (type) {
    case KvType::kF32: return attention<KvType::kF32>;
    case KvType::kF16: return attention<KvType::kF16>;
    case KvType::kQ8: return attention<KvType::kQ8>;
    case KvType::kQ4: return attention<KvType::kQ4>;
  }
  return nullptr;
}

}  // namespace sluice::kernels
