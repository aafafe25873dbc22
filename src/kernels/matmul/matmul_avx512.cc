// matmul in AVX-512 with VNNI: one line of a strip (16 outputs x 4 elements, unsigned codes) is one operand of vpdpbusd, 4 elements of a row, broadcast, the
// other. vpdpbusd adds into i32 and never saturates here: |16 * 255 * 127| + |128 * 16 * 127| < 2^20. Same bits as matmul_reference.cc.
//
// Few rows (decode) unpack each group of 32 in registers and go on: the work hides behind memory. Many rows unpack a block of groups of a few strips once
// to the stack, with all offsets made 128, so that taking an offset off costs nothing: the sums start at n (quantize.h).
#include <immintrin.h>

#include "kernels/dequant/blocks.h"
#include "kernels/matmul/layout.h"
#include "kernels/matmul/matmul_isa.h"
#include "kernels/matmul/unroll-inl.h"

namespace sluice::kernels {
namespace {

constexpr size_t kPrefetchBytes = 4096;

__m512i bytes(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
__m128i load_128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
__m512 load_halves(const uint8_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
__m512 bytes_to_f32(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load_128(p))); }
__m512 signed_bytes_to_f32(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_128(p))); }

// What is taken off unsigned codes (after the table, for types with one); a power of two up to 128, or 0.
constexpr int code_offset(const PackedLayout& layout) {
  if (layout.type == DType::kIQ4_NL || layout.type == DType::kIQ4_XS) return 128;
  return layout.type == DType::kMXFP4 ? 16 : layout.offset;
}

constexpr int shift_of_n(int offset) {
  int shift = 0;
  while (offset << shift < 128) ++shift;
  return shift;
}

__m512i table_of(DType type) {
  alignas(16) uint8_t table[16];
  for (int i = 0; i < 16; ++i) table[i] = static_cast<uint8_t>(type == DType::kMXFP4 ? kMxfp4Values[i] + 16 : kIq4Values[i] + 128);
  return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
}

// One bit or two of each byte, moved to bit kTo from bit kFrom; the others are masked away by the caller.
template <int kFrom, int kTo>
__m512i moved(__m512i v) {
  if constexpr (kFrom > kTo) return _mm512_srli_epi16(v, kFrom - kTo);
  if constexpr (kFrom < kTo) return _mm512_slli_epi16(v, kTo - kFrom);
  return v;
}

// The codes of a group, u[quad], less nothing: see code_offset.
template <PackedLayout kLayout>
[[gnu::always_inline]] inline void unpack_codes(const uint8_t* group, __m512i (&u)[8]) {
  constexpr uint32_t kBits = kLayout.bits;
  if constexpr (kBits == 8) {
    unroll<8>([&](auto quad) SLUICE_INLINE { u[quad] = _mm512_load_si512(group + 64 * quad); });
    return;
  }
  constexpr size_t kPairsAt = kBits & 1 ? 64 : 0, kNibblesAt = kPairsAt + (kBits & 2 ? 128 : 0);
  if constexpr ((kBits & 4) != 0) {
    unroll<4>([&](auto line) SLUICE_INLINE {
      const __m512i v = _mm512_load_si512(group + kNibblesAt + 64 * line);
      u[line] = _mm512_and_si512(v, bytes(15));
      u[line + 4] = _mm512_and_si512(_mm512_srli_epi16(v, 4), bytes(15));
    });
  }
  if constexpr ((kBits & 2) != 0) {
    constexpr int kTo = kBits & 4;
    const __m512i v[2] = {_mm512_load_si512(group + kPairsAt), _mm512_load_si512(group + kPairsAt + 64)};
    unroll<8>([&](auto quad) SLUICE_INLINE {
      constexpr int kFrom = 2 * (decltype(quad)::value % 4);
      const __m512i pairs = moved<kFrom, kTo>(v[quad / 4]);
      u[quad] = kTo == 0 ? _mm512_and_si512(pairs, bytes(3)) : _mm512_ternarylogic_epi64(u[quad], pairs, bytes(0x30), 0xF8);  // a | (b & c)
    });
  }
  if constexpr ((kBits & 1) != 0) {
    constexpr int kTo = kBits - 1;
    const __m512i v = _mm512_load_si512(group);
    unroll<8>([&](auto quad) SLUICE_INLINE {
      const __m512i ones = moved<decltype(quad)::value, kTo>(v);
      u[quad] = _mm512_ternarylogic_epi64(u[quad], ones, bytes(1 << kTo), 0xF8);
    });
  }
  if constexpr (kLayout.type == DType::kIQ4_NL || kLayout.type == DType::kIQ4_XS || kLayout.type == DType::kMXFP4) {
    const __m512i table = table_of(kLayout.type);
    unroll<8>([&](auto quad) SLUICE_INLINE { u[quad] = _mm512_shuffle_epi8(table, u[quad]); });
  }
}

// f32 scales and minimums of a group; [1] only where the type has a scale per 16.
struct Scales {
  __m512 dw[2], mw[2];
};

__m512 mxfp4_scales(const uint8_t* e) {
  const __m512i v = _mm512_cvtepu8_epi32(load_128(e));
  // e = 0 and 1 are subnormal: 2^-128 and 2^-127.
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(v, _mm512_set1_epi32(1)), 23);
  const __mmask16 tiny = _mm512_cmplt_epi32_mask(v, _mm512_set1_epi32(2));
  return _mm512_castsi512_ps(_mm512_mask_sllv_epi32(normal, tiny, _mm512_set1_epi32(0x200000), v));
}

__m512 q3_k_scales(const uint8_t* s, uint32_t i) {
  const __m512i low = _mm512_srl_epi32(_mm512_cvtepu8_epi32(load_128(s + 16 * (i % 8))), _mm_cvtsi32_si128(static_cast<int>(4 * (i / 8))));
  const __m512i high = _mm512_srl_epi32(_mm512_cvtepu8_epi32(load_128(s + 128 + 16 * (i % 4))), _mm_cvtsi32_si128(static_cast<int>(2 * (i / 4))));
  const __m512i scale = _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi32(15)),
                                        _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(3)), 4));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(scale, _mm512_set1_epi32(32)));
}

template <PackedLayout kLayout>
[[gnu::always_inline]] inline Scales unpack_scales(const uint8_t* head, size_t slot) {
  constexpr DType kType = kLayout.type;
  Scales scales{};
  if constexpr (kType == DType::kMXFP4) {
    scales.dw[0] = mxfp4_scales(head + 16 * slot);
  } else if constexpr (kLayout.groups < 8) {
    scales.dw[0] = load_halves(head + 32 * slot);
    if constexpr (kLayout.has_min) scales.mw[0] = load_halves(head + 32);
  } else {
    const __m512 d = load_halves(head);
    const uint8_t* s = head + 64;
    if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
      scales.dw[0] = _mm512_mul_ps(d, bytes_to_f32(s + 16 * slot));
      const __m512 minus_dmin = _mm512_sub_ps(_mm512_set1_ps(-0.0f), load_halves(head + 32));
      scales.mw[0] = _mm512_mul_ps(minus_dmin, bytes_to_f32(s + 128 + 16 * slot));
    } else if constexpr (kType == DType::kIQ4_XS) {
      scales.dw[0] = _mm512_mul_ps(d, signed_bytes_to_f32(s + 16 * slot));
    } else {
      unroll<2>([&](auto half) SLUICE_INLINE {
        const size_t i = 2 * slot + half;
        if constexpr (kType == DType::kQ6_K) scales.dw[half] = _mm512_mul_ps(d, signed_bytes_to_f32(s + 16 * i));
        if constexpr (kType == DType::kQ3_K) scales.dw[half] = _mm512_mul_ps(d, q3_k_scales(s, static_cast<uint32_t>(i)));
        if constexpr (kType == DType::kQ2_K) {
          const __m512i both = _mm512_cvtepu8_epi32(load_128(s + 16 * i));
          scales.dw[half] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
          const __m512 dmin = _mm512_mul_ps(load_halves(head + 32), _mm512_set1_ps(0x1p-7f));
          scales.mw[half] = _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
        }
      });
    }
  }
  return scales;
}

// One group of one row into its 16 sums. kOffset: what u is too large by; n is scaled to it.
template <int kOffset, bool kMin, bool kPer16>
[[gnu::always_inline]] inline __m512 add_group(const __m512i (&u)[8], const Scales& scales, const QuantizedGroup& x, __m512 acc) {
  __m512i sums[2];
  unroll<2>([&](auto half) SLUICE_INLINE {
    sums[half] = _mm512_setzero_si512();
    if constexpr (kOffset != 0) sums[half] = _mm512_set1_epi32(x.n[half]);
    if constexpr (kOffset != 0 && kOffset < 128) sums[half] = _mm512_srai_epi32(sums[half], shift_of_n(kOffset));
  });
  const auto* q = reinterpret_cast<const int32_t*>(x.q);
  unroll<4>([&](auto quad) SLUICE_INLINE {
    sums[0] = _mm512_dpbusd_epi32(sums[0], u[quad], _mm512_set1_epi32(q[quad]));
    sums[1] = _mm512_dpbusd_epi32(sums[1], u[quad + 4], _mm512_set1_epi32(q[quad + 4]));
  });
  const __m512 first = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[0]), _mm512_set1_ps(x.d[0]));
  if constexpr (!kPer16) {
    acc = _mm512_fmadd_ps(scales.dw[0], _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[1]), _mm512_set1_ps(x.d[1]), first), acc);
    if constexpr (kMin) acc = _mm512_fmadd_ps(scales.mw[0], _mm512_set1_ps(x.s), acc);
  } else {
    const __m512 second = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[1]), _mm512_set1_ps(x.d[1]));
    acc = _mm512_fmadd_ps(scales.dw[0], first, acc);
    acc = _mm512_fmadd_ps(scales.dw[1], second, acc);
    if constexpr (kMin) {
      acc = _mm512_fmadd_ps(scales.mw[0], _mm512_set1_ps(x.t[0]), acc);
      acc = _mm512_fmadd_ps(scales.mw[1], _mm512_set1_ps(x.t[1]), acc);
    }
  }
  return acc;
}

const QuantizedGroup* row_in(const MatmulArgs& args, size_t i) {
  const size_t row = args.in_rows != nullptr ? static_cast<size_t>(args.in_rows[i]) : i;
  return reinterpret_cast<const QuantizedGroup*>(args.activations + row * args.activation_stride);
}

void store_row(const MatmulArgs& args, size_t strip, size_t i, __m512 value) {
  const size_t row = args.out_rows != nullptr ? static_cast<size_t>(args.out_rows[i]) : i;
  float* out = args.out + row * args.out_stride + 16 * strip;
  if (args.bias != nullptr) value = _mm512_add_ps(value, _mm512_loadu_ps(args.bias + 16 * strip));
  if (args.accumulate) value = _mm512_add_ps(value, _mm512_loadu_ps(out));
  _mm512_storeu_ps(out, value);
}

template <PackedLayout kLayout>
constexpr size_t kChunkBytes = kLayout.head_bytes + kLayout.groups * kLayout.group_bytes;

template <PackedLayout kLayout>
size_t strip_bytes(uint64_t groups) {
  return (groups + kLayout.groups - 1) / kLayout.groups * kLayout.head_bytes + groups * kLayout.group_bytes;
}

// ---- Few rows

constexpr size_t kFewRows = 8;

// One row keeps its sums in a register; more rows keep them in L1, in one loop for any count, which costs nothing there and compiles once a type.
template <PackedLayout kLayout, bool kOneRow>
void few_rows(const MatmulArgs& args) {
  const uint64_t groups = args.k / 32;
  const size_t rows = kOneRow ? 1 : args.rows;
  const uint8_t* w = args.weights + args.strip_begin * strip_bytes<kLayout>(groups);
  const QuantizedGroup* x[kFewRows];
  for (size_t r = 0; r < rows; ++r) x[r] = row_in(args, r);
  for (size_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
    __m512 one = _mm512_setzero_ps();
    alignas(64) float acc[kFewRows][16];
    for (size_t r = 0; !kOneRow && r < rows; ++r) _mm512_store_ps(acc[r], one);
    for (uint64_t group = 0; group < groups;) {
      const uint8_t* head = w;
      unroll<kLayout.head_bytes / 64>([&](auto line) SLUICE_INLINE { _mm_prefetch(head + kPrefetchBytes + 64 * line, _MM_HINT_T0); });
      w += kLayout.head_bytes;
      for (size_t slot = 0; slot < kLayout.groups && group < groups; ++slot, ++group, w += kLayout.group_bytes) {
        unroll<kLayout.bits>([&](auto line) SLUICE_INLINE { _mm_prefetch(w + kPrefetchBytes + 64 * line, _MM_HINT_T0); });
        __m512i u[8];
        unpack_codes<kLayout>(w, u);
        const Scales scales = unpack_scales<kLayout>(head, slot);
        const auto added = [&](size_t r, __m512 sum) SLUICE_INLINE {
          return add_group<code_offset(kLayout), kLayout.has_min, kLayout.scale_per_16>(u, scales, x[r][group], sum);
        };
        if constexpr (kOneRow) {
          one = added(0, one);
        } else {
          for (size_t r = 0; r < rows; ++r) _mm512_store_ps(acc[r], added(r, _mm512_load_ps(acc[r])));
        }
      }
    }
    for (size_t r = 0; r < rows; ++r) store_row(args, strip, r, kOneRow ? one : _mm512_load_ps(acc[r]));
  }
}

// ---- Many rows

constexpr size_t kBlockGroups = 8;  // groups unpacked at once
constexpr size_t kStrips = 4;       // strips that share the rows in L1
constexpr size_t kBlockRows = 128;  // rows that share one unpacking
constexpr size_t kTileRows = 8;     // rows that share one load of the weights

struct alignas(64) Unpacked {
  uint8_t u[8][64];
  float dw[2][16];
  float mw[2][16];
};

struct Block {
  Unpacked groups[kStrips][kBlockGroups];
  alignas(64) float acc[kBlockRows / kTileRows][kStrips][kTileRows][16];  // what a tile needs lies together: no two strips in one set of L1
};

// Groups begin .. begin + count (count <= 8, within a chunk where chunks are larger) of a strip. Offsets become 128.
template <PackedLayout kLayout>
void unpack_block(const uint8_t* strip, uint64_t begin, size_t count, Unpacked* out) {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t group = begin + i;
    const uint8_t* head = strip + group / kLayout.groups * kChunkBytes<kLayout>;
    const size_t slot = group % kLayout.groups;
    __m512i u[8];
    unpack_codes<kLayout>(head + kLayout.head_bytes + slot * kLayout.group_bytes, u);
    constexpr int kAdd = code_offset(kLayout) == 0 ? 0 : 128 - code_offset(kLayout);
    unroll<8>([&](auto quad) SLUICE_INLINE { _mm512_store_si512(out[i].u[quad], _mm512_add_epi8(u[quad], bytes(kAdd))); });
    const Scales scales = unpack_scales<kLayout>(head, slot);
    unroll<kLayout.scale_per_16 ? 2 : 1>([&](auto half) SLUICE_INLINE {
      _mm512_store_ps(out[i].dw[half], scales.dw[half]);
      if constexpr (kLayout.has_min) _mm512_store_ps(out[i].mw[half], scales.mw[half]);
    });
  }
}

template <bool kMin, bool kPer16, size_t kRows>
void tile(const Unpacked* groups, size_t count, const QuantizedGroup* const* x, uint64_t begin, float (*acc_memory)[16]) {
  __m512 acc[kRows];
  const QuantizedGroup* row[kRows];
  unroll<kRows>([&](auto r) SLUICE_INLINE {
    acc[r] = _mm512_load_ps(acc_memory[r]);
    row[r] = x[r] + begin;
  });
  for (size_t i = 0; i < count; ++i) {
    __m512i u[8];
    Scales scales{};
    unroll<8>([&](auto quad) SLUICE_INLINE { u[quad] = _mm512_load_si512(groups[i].u[quad]); });
    unroll<kPer16 ? 2 : 1>([&](auto half) SLUICE_INLINE {
      scales.dw[half] = _mm512_load_ps(groups[i].dw[half]);
      if constexpr (kMin) scales.mw[half] = _mm512_load_ps(groups[i].mw[half]);
    });
    unroll<kRows>([&](auto r) SLUICE_INLINE { acc[r] = add_group<kMin ? 0 : 128, kMin, kPer16>(u, scales, row[r][i], acc[r]); });
  }
  unroll<kRows>([&](auto r) SLUICE_INLINE { _mm512_store_ps(acc_memory[r], acc[r]); });
}

template <bool kMin, bool kPer16>
void tile_of(size_t rows, const Unpacked* groups, size_t count, const QuantizedGroup* const* x, uint64_t begin, float (*acc)[16]) {
  using Tile = void (*)(const Unpacked*, size_t, const QuantizedGroup* const*, uint64_t, float (*)[16]);
  constexpr Tile kTiles[kTileRows] = {tile<kMin, kPer16, 1>, tile<kMin, kPer16, 2>, tile<kMin, kPer16, 3>, tile<kMin, kPer16, 4>,
                                      tile<kMin, kPer16, 5>, tile<kMin, kPer16, 6>, tile<kMin, kPer16, 7>, tile<kMin, kPer16, 8>};
  kTiles[rows - 1](groups, count, x, begin, acc);
}

// Rows first .. first + rows (at most kBlockRows) of strips strip .. strip + strips (at most kStrips).
template <PackedLayout kLayout>
void many_rows_block(const MatmulArgs& args, size_t strip, size_t strips, size_t first, size_t rows, Block* block) {
  const uint64_t groups = args.k / 32;
  const uint8_t* w = args.weights + strip * strip_bytes<kLayout>(groups);
  const QuantizedGroup* x[kBlockRows];
  for (size_t r = 0; r < rows; ++r) x[r] = row_in(args, first + r);
  __builtin_memset(block->acc, 0, (rows + kTileRows - 1) / kTileRows * sizeof(block->acc[0]));
  for (uint64_t begin = 0; begin < groups; begin += kBlockGroups) {
    const size_t count = groups - begin < kBlockGroups ? groups - begin : kBlockGroups;
    for (size_t s = 0; s < strips; ++s) unpack_block<kLayout>(w + s * strip_bytes<kLayout>(groups), begin, count, block->groups[s]);
    for (size_t r = 0; r < rows; r += kTileRows) {
      const size_t tile_rows = rows - r < kTileRows ? rows - r : kTileRows;
      for (size_t s = 0; s < strips; ++s) {
        tile_of<kLayout.has_min, kLayout.scale_per_16>(tile_rows, block->groups[s], count, x + r, begin, block->acc[r / kTileRows][s]);
      }
    }
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t s = 0; s < strips; ++s) store_row(args, strip + s, first + r, _mm512_load_ps(block->acc[r / kTileRows][s][r % kTileRows]));
  }
}

template <PackedLayout kLayout>
void many_rows(const MatmulArgs& args) {
  Block block;
  for (size_t first = 0; first < args.rows; first += kBlockRows) {
    const size_t rows = args.rows - first < kBlockRows ? args.rows - first : kBlockRows;
    for (size_t strip = args.strip_begin; strip < args.strip_end; strip += kStrips) {
      const size_t strips = args.strip_end - strip < kStrips ? args.strip_end - strip : kStrips;
      many_rows_block<kLayout>(args, strip, strips, first, rows, &block);
    }
  }
}

template <DType kType>
void matmul(const MatmulArgs& args) {
  constexpr PackedLayout kLayout = kPackedLayout<kType>;
  if (args.rows == 0) return;
  if (args.rows == 1) return few_rows<kLayout, true>(args);
  return args.rows <= kFewRows ? few_rows<kLayout, false>(args) : many_rows<kLayout>(args);
}

}  // namespace

MatmulFn matmul_avx512_for(DType weight) {
  switch (weight) {
#define X(type, ...) \
  case DType::type: return matmul<DType::type>;
    SLUICE_PACKED_TYPES(X)
#undef X
    default: return matmul_float_avx512_for(weight);
  }
}

}  // namespace sluice::kernels
