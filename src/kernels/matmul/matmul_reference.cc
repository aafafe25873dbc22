// matmul in scalar code: the definition of the bits (matmul.h) and the baseline path. Weights are unpacked once for a few rows, so it is not hopeless.
#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/half.h"
#include "kernels/dequant/blocks.h"
#include "kernels/matmul/layout.h"
#include "kernels/matmul/matmul_isa.h"
#include "kernels/vec/fma.h"

namespace sluice::kernels {
namespace {

constexpr size_t kRows = 8;  // rows that share one unpacking of the weights

size_t row_of(const int32_t* rows, size_t i) { return rows != nullptr ? static_cast<size_t>(rows[i]) : i; }

void store_outputs(const MatmulArgs& args, size_t strip, size_t row, const float* acc) {
  float* out = args.out + row_of(args.out_rows, row) * args.out_stride + 16 * strip;
  for (size_t o = 0; o < 16; ++o) {
    float value = acc[o];
    if (args.bias != nullptr) value = value + args.bias[16 * strip + o];
    if (args.accumulate) value = value + out[o];
    out[o] = value;
  }
}

// ---- F32, F16, BF16

template <DType kType>
float weight_at(const uint8_t* weights, uint64_t i) {
  if constexpr (kType == DType::kF32) {
    float value;
    std::memcpy(&value, weights + 4 * i, 4);
    return value;
  } else {
    uint16_t bits;
    std::memcpy(&bits, weights + 2 * i, 2);
    return kType == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
}

// One output, one row: 16 partial sums, then the tree.
template <DType kType>
float dot_float(const uint8_t* quad, uint64_t lane, uint64_t steps, const float* x) {
  float s[16] = {};
  for (uint64_t step = 0; step < steps; ++step) {
    for (uint64_t i = 0; i < 16; ++i) s[i] = fma_exact(x[16 * step + i], weight_at<kType>(quad, 64 * step + 16 * lane + i), s[i]);
  }
  for (uint64_t width = 8; width >= 1; width /= 2) {
    for (uint64_t i = 0; i < width; ++i) s[i] = s[i] + s[i + width];
  }
  return s[0];
}

template <DType kType>
void matmul_float(const MatmulArgs& args) {
  const uint64_t steps = (args.k + 15) / 16, quad_bytes = steps * 64 * (kType == DType::kF32 ? 4 : 2);
  for (size_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
    for (size_t row = 0; row < args.rows; ++row) {
      const auto* x = reinterpret_cast<const float*>(args.activations + row_of(args.in_rows, row) * args.activation_stride);
      float acc[16];
      for (uint64_t o = 0; o < 16; ++o) acc[o] = dot_float<kType>(args.weights + (strip * 4 + o / 4) * quad_bytes, o % 4, steps, x);
      store_outputs(args, strip, row, acc);
    }
  }
}

// ---- Block types

// The integer weights of one group: w[quad][4 * output + element].
template <PackedLayout kLayout>
void unpack_weights(const uint8_t* __restrict group, int8_t (*__restrict w)[64]) {
  constexpr uint32_t kBits = kLayout.bits;
  constexpr bool kIq4 = kLayout.type == DType::kIQ4_NL || kLayout.type == DType::kIQ4_XS;
  const uint8_t* ones = group;
  const uint8_t* pairs = ones + (kBits & 1 ? 64 : 0);
  const uint8_t* nibbles = pairs + (kBits & 2 ? 128 : 0);
  for (uint32_t quad = 0; quad < 8; ++quad) {
    for (uint32_t i = 0; i < 64; ++i) {
      uint32_t code = 0;
      if constexpr (kBits == 8) code = group[64 * quad + i];
      if constexpr ((kBits & 4) != 0) code |= nibbles[64 * (quad % 4) + i] >> (4 * (quad / 4)) & 15u;
      if constexpr ((kBits & 2) != 0) code |= (pairs[64 * (quad / 4) + i] >> (2 * (quad % 4)) & 3u) << (kBits & 4);
      if constexpr ((kBits & 1) != 0) code |= (ones[i] >> quad & 1u) << (kBits - 1);
      if constexpr (kIq4) {
        w[quad][i] = kIq4Values[code];
      } else if constexpr (kLayout.type == DType::kMXFP4) {
        w[quad][i] = kMxfp4Values[code];
      } else {
        w[quad][i] = static_cast<int8_t>(static_cast<int32_t>(code) - kLayout.offset);
      }
    }
  }
}

// f32 scales and minimums of a group: of its first and second 16 where the type has a scale per 16, else [0] for all 32.
struct Scales {
  float dw[2][16];
  float mw[2][16];
};

float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_f32(bits);
}

template <PackedLayout kLayout>
void unpack_group_scales(const uint8_t* head, uint32_t slot, Scales* scales) {
  constexpr DType kType = kLayout.type;
  for (uint32_t o = 0; o < 16; ++o) {
    if constexpr (kType == DType::kMXFP4) {
      scales->dw[0][o] = mxfp4_scale(head[16 * slot + o]);
      continue;
    }
    if constexpr (kLayout.groups < 8) {
      scales->dw[0][o] = half_at(head + 32 * slot + 2 * o);
      if constexpr (kLayout.has_min) scales->mw[0][o] = half_at(head + 32 + 2 * o);
      continue;
    }
    const float d = half_at(head + 2 * o), dmin = half_at(head + 32 + 2 * o);
    const uint8_t* s = head + 64 + o;
    for (uint32_t half = 0; half < (kLayout.scale_per_16 ? 2 : 1); ++half) {
      const uint32_t i = kLayout.scale_per_16 ? 2 * slot + half : slot;
      int32_t scale = static_cast<int8_t>(s[16 * i]), min = 0;
      if constexpr (kType == DType::kQ2_K) scale = s[16 * i] & 15, min = s[16 * i] >> 4;
      if constexpr (kType == DType::kQ3_K) {
        scale = (s[16 * (i % 8)] >> (4 * (i / 8)) & 15) | (s[128 + 16 * (i % 4)] >> (2 * (i / 4)) & 3) << 4;
        scale -= 32;
      }
      if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) min = s[128 + 16 * i];
      scales->dw[half][o] = d * static_cast<float>(scale);
      if constexpr (kType == DType::kQ2_K) {
        scales->mw[half][o] = (dmin * static_cast<float>(min)) * 0x1p-7f;
      } else {
        scales->mw[half][o] = -(dmin * static_cast<float>(min));
      }
    }
  }
}

template <PackedLayout kLayout>
void add_group(const int8_t (*w)[64], const Scales& scales, const QuantizedGroup& x, float* acc) {
  for (uint32_t o = 0; o < 16; ++o) {
    int32_t sums[2] = {0, 0};
    for (uint32_t quad = 0; quad < 8; ++quad) {
      for (uint32_t i = 0; i < 4; ++i) sums[quad / 4] += w[quad][4 * o + i] * x.q[4 * quad + i];
    }
    const float f0 = static_cast<float>(sums[0]), f1 = static_cast<float>(sums[1]);
    float a = acc[o];
    if constexpr (!kLayout.scale_per_16) {
      a = fma_exact(scales.dw[0][o], fma_exact(f1, x.d[1], f0 * x.d[0]), a);
      if constexpr (kLayout.has_min) a = fma_exact(scales.mw[0][o], x.s, a);
    } else {
      a = fma_exact(scales.dw[0][o], f0 * x.d[0], a);
      a = fma_exact(scales.dw[1][o], f1 * x.d[1], a);
      if constexpr (kLayout.has_min) {
        a = fma_exact(scales.mw[0][o], x.t[0], a);
        a = fma_exact(scales.mw[1][o], x.t[1], a);
      }
    }
    acc[o] = a;
  }
}

template <DType kType>
void matmul_blocks(const MatmulArgs& args) {
  constexpr PackedLayout kLayout = kPackedLayout<kType>;
  constexpr uint64_t kChunkBytes = kLayout.head_bytes + kLayout.groups * kLayout.group_bytes;
  const uint64_t strip_bytes = packed_strip_bytes(kType, args.k);
  for (size_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
    for (size_t first = 0; first < args.rows; first += kRows) {
      const size_t rows = std::min(kRows, args.rows - first);
      float acc[kRows][16] = {};
      for (uint64_t group = 0; group < args.k / 32; ++group) {
        const uint8_t* head = args.weights + strip * strip_bytes + group / kLayout.groups * kChunkBytes;
        const auto slot = static_cast<uint32_t>(group % kLayout.groups);
        int8_t w[8][64];
        Scales scales;
        unpack_weights<kLayout>(head + kLayout.head_bytes + slot * kLayout.group_bytes, w);
        unpack_group_scales<kLayout>(head, slot, &scales);
        for (size_t row = 0; row < rows; ++row) {
          const uint8_t* x = args.activations + row_of(args.in_rows, first + row) * args.activation_stride;
          add_group<kLayout>(w, scales, reinterpret_cast<const QuantizedGroup*>(x)[group], acc[row]);
        }
      }
      for (size_t row = 0; row < rows; ++row) store_outputs(args, strip, first + row, acc[row]);
    }
  }
}

}  // namespace

MatmulFn matmul_reference_for(DType weight) {
  switch (weight) {
    case DType::kF32: return matmul_float<DType::kF32>;
    case DType::kF16: return matmul_float<DType::kF16>;
    case DType::kBF16: return matmul_float<DType::kBF16>;
#define X(type, ...) \
  case DType::type: return matmul_blocks<DType::type>;
      SLUICE_PACKED_TYPES(X)
#undef X
    default: return nullptr;
  }
}

}  // namespace sluice::kernels
