// Rows of keys and values into pages: the one form of kv_write. Contract: attention.h; layout: kv_layout.h.
#include <cstring>
#include <type_traits>

#include "base/half.h"
#include "kernels/attention/kv_layout.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {
namespace {

// Nearest integer, ties to even, of a value clamped to [low, high]; NaN gives low.
int nearest(float value, float low, float high) {
  float clamped = value > low ? value : low;
  clamped = clamped < high ? clamped : high;
  return static_cast<int>((clamped + kRoundMagic) - kRoundMagic);
}

// Codes of up to 32 values, and their scale. q4 codes are 0..15.
float quantize_block(KvType type, const float* x, size_t count, int (&codes)[kKvBlock]) {
  float largest = 0.0f;
  for (size_t i = 0; i < count; ++i) {
    if (abs32(x[i]) > abs32(largest)) largest = x[i];
  }
  const bool q4 = type == KvType::kQ4;
  const float scale = q4 ? largest / -8.0f : abs32(largest) / 127.0f;
  const float inverse = q4 ? 1.0f / scale : 127.0f / abs32(largest);
  for (size_t i = 0; i < kKvBlock; ++i) {
    const bool zero = i >= count || largest == 0.0f;
    const float scaled = zero ? 0.0f : x[i] * inverse;
    codes[i] = q4 ? nearest(scaled, -8.0f, 7.0f) + 8 : nearest(scaled, -127.0f, 127.0f);
  }
  return largest == 0.0f ? 0.0f : scale;
}

void put_nibble(uint8_t* byte, bool high, int code) {
  const int other = high ? *byte & 0x0F : *byte & 0xF0;
  *byte = static_cast<uint8_t>(other | (high ? code << 4 : code));
}

struct Place {
  uint8_t* keys;          // this group's
  uint8_t* key_scales;
  uint8_t* values;        // this position's
  uint8_t* value_scales;
  size_t lane;
};

template <KvType kType>
void write_floats(const KvShape& shape, const Place& place, const float* k, const float* v) {
  using Element = std::conditional_t<kType == KvType::kF32, float, uint16_t>;
  const auto put = [](uint8_t* to, size_t index, float value) {
    Element element;
    if constexpr (kType == KvType::kF32) {
      element = value;
    } else {
      element = f32_to_f16(value);
    }
    std::memcpy(to + index * sizeof(Element), &element, sizeof(Element));
  };
  for (size_t d = 0; d < shape.head_dim_k; ++d) put(place.keys, d * kKvGroup + place.lane, k[d]);
  for (size_t d = 0; d < shape.head_dim_v; ++d) put(place.values, d, v[d]);
}

template <KvType kType>
void write_codes(const KvShape& shape, const Place& place, const float* k, const float* v) {
  int codes[kKvBlock];
  const auto count_in = [](size_t block, size_t dims) { return dims - block * kKvBlock < kKvBlock ? dims - block * kKvBlock : kKvBlock; };
  for (size_t block = 0; block * kKvBlock < shape.head_dim_k; ++block) {
    const size_t count = count_in(block, shape.head_dim_k);
    const float scale = quantize_block(kType, k + block * kKvBlock, count, codes);
    std::memcpy(place.key_scales + (block * kKvGroup + place.lane) * sizeof(float), &scale, sizeof(float));
    for (size_t i = 0; i < count; ++i) {
      const size_t d = block * kKvBlock + i;
      if constexpr (kType == KvType::kQ8) {
        place.keys[d * kKvGroup + place.lane] = static_cast<uint8_t>(codes[i]);
      } else {
        put_nibble(place.keys + d / 2 * kKvGroup + place.lane, d % 2 != 0, codes[i]);
      }
    }
  }
  for (size_t block = 0; block * kKvBlock < shape.head_dim_v; ++block) {
    const size_t count = count_in(block, shape.head_dim_v);
    const float scale = quantize_block(kType, v + block * kKvBlock, count, codes);
    std::memcpy(place.value_scales + block * sizeof(float), &scale, sizeof(float));
    for (size_t i = 0; i < count; ++i) {
      if constexpr (kType == KvType::kQ8) {
        place.values[block * kKvBlock + i] = static_cast<uint8_t>(codes[i]);
      } else {
        put_nibble(place.values + block * 16 + i % 16, i >= 16, codes[i]);
      }
    }
  }
}

template <KvType kType>
void kv_write(const KvWriteArgs& args) {
  const KvLayout layout = kv_layout(args.shape);
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const size_t position = static_cast<size_t>(args.rows[row].position);
    uint8_t* page = args.rows[row].pages[position / kPageTokens] + args.layer_offset;
    const size_t in_page = position % kPageTokens;
    const size_t group = in_page / kKvGroup;
    for (uint32_t head = 0; head < args.shape.heads; ++head) {
      uint8_t* block = page + head * layout.head_bytes;
      const Place place{block + layout.key_offset + group * layout.key_group_bytes, block + layout.key_scale_offset + group * layout.key_scale_group_bytes,
                        block + layout.value_offset + in_page * layout.value_row_bytes,
                        block + layout.value_scale_offset + in_page * layout.value_scale_row_bytes, in_page % kKvGroup};
      const float* k = args.k + row * args.k_stride + head * args.shape.head_dim_k;
      const float* v = args.v + row * args.v_stride + head * args.shape.head_dim_v;
      if constexpr (kType == KvType::kF32 || kType == KvType::kF16) {
        write_floats<kType>(args.shape, place, k, v);
      } else {
        write_codes<kType>(args.shape, place, k, v);
      }
    }
  }
}

}  // namespace

KvWriteFn kv_write_reference(KvType type) {
  switch (type) {
    case KvType::kF32: return kv_write<KvType::kF32>;
    case KvType::kF16: return kv_write<KvType::kF16>;
    case KvType::kQ8: return kv_write<KvType::kQ8>;
    case KvType::kQ4: return kv_write<KvType::kQ4>;
  }
  return nullptr;
}

}  // namespace sluice::kernels
