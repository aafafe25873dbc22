// matmul in AVX2: a line of a strip (16 outputs x 4 elements) is two operands of vpmaddubsw, 8 outputs each. Same bits as matmul_reference.cc.
//
// Nothing saturates. Codes of up to 5 bits (Q4, Q5, Q2_K, Q3_K, MXFP4 + 16 <= 28): 4 products of pairs added in i16, 4 * 2 * 31 * 127 = 31496 < 2^15;
// Q6_K: 2 of them, 2 * 2 * 63 * 127 = 32004; then vpmaddwd with ones adds neighbours in i32. 8-bit codes (Q8_0, and IQ4 values + 128) are widened to i16
// for vpmaddwd, even and odd elements apart.
// Few rows (decode) unpack in registers and go on; many rows unpack a block of groups of a few strips, and rows, once to the stack.
#include <immintrin.h>

#include "kernels/dequant/blocks.h"
#include "kernels/matmul/layout.h"
#include "kernels/matmul/matmul_isa.h"
#include "kernels/matmul/unroll-inl.h"

namespace sluice::kernels {
namespace {

constexpr size_t kPrefetchBytes = 4096;

__m256i bytes(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }
__m256i load_256(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
__m128i load_64(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
__m256 load_halves(const uint8_t* p) { return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p))); }
__m256 bytes_to_f32(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(load_64(p))); }
__m256 signed_bytes_to_f32(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_64(p))); }

// What is taken off unsigned codes (after the table, for types with one); a power of two up to 128, or 0.
constexpr int code_offset(const PackedLayout& layout) {
  if (layout.type == DType::kIQ4_NL || layout.type == DType::kIQ4_XS) return 128;
  return layout.type == DType::kMXFP4 ? 16 : layout.offset;
}

// Whether products of codes need i16 operands.
constexpr bool is_wide(const PackedLayout& layout) {
  return layout.type == DType::kQ8_0 || layout.type == DType::kIQ4_NL || layout.type == DType::kIQ4_XS;
}

constexpr int shift_of_n(int offset) {
  int shift = 0;
  while (offset << shift < 128) ++shift;
  return shift;
}

__m256i table_of(DType type) {
  alignas(16) uint8_t table[16];
  for (int i = 0; i < 16; ++i) table[i] = static_cast<uint8_t>(type == DType::kMXFP4 ? kMxfp4Values[i] + 16 : kIq4Values[i] + 128);
  return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(table)));
}

// One bit or two of each byte, moved to bit kTo from bit kFrom, the others masked away.
template <int kFrom, int kTo>
__m256i moved(__m256i v, int mask) {
  if constexpr (kFrom > kTo) v = _mm256_srli_epi16(v, kFrom - kTo);
  if constexpr (kFrom < kTo) v = _mm256_slli_epi16(v, kTo - kFrom);
  return _mm256_and_si256(v, bytes(mask));
}

// The codes of quads kFirst .. kFirst + kCount - 1 of a group, for 8 outputs; `group` points to the first byte of those outputs in the first line.
template <PackedLayout kLayout, size_t kFirst, size_t kCount>
[[gnu::always_inline]] inline void unpack_codes(const uint8_t* group, __m256i (&u)[kCount]) {
  constexpr uint32_t kBits = kLayout.bits;
  constexpr size_t kPairsAt = kBits & 1 ? 64 : 0, kNibblesAt = kPairsAt + (kBits & 2 ? 128 : 0);
  unroll<kCount>([&](auto i) SLUICE_INLINE {
    constexpr size_t kQuad = kFirst + decltype(i)::value;
    if constexpr (kBits == 8) u[i] = load_256(group + 64 * kQuad);
    if constexpr ((kBits & 4) != 0) u[i] = moved<kQuad < 4 ? 0 : 4, 0>(load_256(group + kNibblesAt + 64 * (kQuad % 4)), 15);
    if constexpr ((kBits & 2) != 0) {
      constexpr int kTo = kBits & 4;
      const __m256i pairs = moved<2 * (kQuad % 4), kTo>(load_256(group + kPairsAt + 64 * (kQuad / 4)), 3 << kTo);
      u[i] = kTo == 0 ? pairs : _mm256_or_si256(u[i], pairs);
    }
    if constexpr ((kBits & 1) != 0) u[i] = _mm256_or_si256(u[i], moved<kQuad, kBits - 1>(load_256(group), 1 << (kBits - 1)));
    if constexpr (kLayout.type == DType::kIQ4_NL || kLayout.type == DType::kIQ4_XS || kLayout.type == DType::kMXFP4) {
      u[i] = _mm256_shuffle_epi8(table_of(kLayout.type), u[i]);
    }
  });
}

// f32 scales and minimums of a group for 8 outputs; [1] only where the type has a scale per 16.
struct Scales {
  __m256 dw[2], mw[2];
};

__m256 mxfp4_scales(const uint8_t* e) {
  const __m256i v = _mm256_cvtepu8_epi32(load_64(e));
  // e = 0 and 1 are subnormal: 2^-128 and 2^-127.
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(v, _mm256_set1_epi32(1)), 23);
  const __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x200000), v);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, tiny, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), v)));
}

__m256 q3_k_scales(const uint8_t* s, uint32_t i) {
  const __m256i low = _mm256_srl_epi32(_mm256_cvtepu8_epi32(load_64(s + 16 * (i % 8))), _mm_cvtsi32_si128(static_cast<int>(4 * (i / 8))));
  const __m256i high = _mm256_srl_epi32(_mm256_cvtepu8_epi32(load_64(s + 128 + 16 * (i % 4))), _mm_cvtsi32_si128(static_cast<int>(2 * (i / 4))));
  const __m256i scale = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(15)),
                                        _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(scale, _mm256_set1_epi32(32)));
}

// Of outputs 8 * side .. 8 * side + 7.
template <PackedLayout kLayout>
[[gnu::always_inline]] inline Scales unpack_scales(const uint8_t* head, size_t slot, size_t side) {
  constexpr DType kType = kLayout.type;
  Scales scales{};
  if constexpr (kType == DType::kMXFP4) {
    scales.dw[0] = mxfp4_scales(head + 16 * slot + 8 * side);
  } else if constexpr (kLayout.groups < 8) {
    scales.dw[0] = load_halves(head + 32 * slot + 16 * side);
    if constexpr (kLayout.has_min) scales.mw[0] = load_halves(head + 32 + 16 * side);
  } else {
    const __m256 d = load_halves(head + 16 * side);
    const uint8_t* s = head + 64 + 8 * side;
    if constexpr (kType == DType::kQ4_K || kType == DType::kQ5_K) {
      scales.dw[0] = _mm256_mul_ps(d, bytes_to_f32(s + 16 * slot));
      const __m256 minus_dmin = _mm256_sub_ps(_mm256_set1_ps(-0.0f), load_halves(head + 32 + 16 * side));
      scales.mw[0] = _mm256_mul_ps(minus_dmin, bytes_to_f32(s + 128 + 16 * slot));
    } else if constexpr (kType == DType::kIQ4_XS) {
      scales.dw[0] = _mm256_mul_ps(d, signed_bytes_to_f32(s + 16 * slot));
    } else {
      unroll<2>([&](auto half) SLUICE_INLINE {
        const size_t i = 2 * slot + half;
        if constexpr (kType == DType::kQ6_K) scales.dw[half] = _mm256_mul_ps(d, signed_bytes_to_f32(s + 16 * i));
        if constexpr (kType == DType::kQ3_K) scales.dw[half] = _mm256_mul_ps(d, q3_k_scales(s, static_cast<uint32_t>(i)));
        if constexpr (kType == DType::kQ2_K) {
          const __m256i both = _mm256_cvtepu8_epi32(load_64(s + 16 * i));
          scales.dw[half] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_and_si256(both, _mm256_set1_epi32(15))));
          const __m256 dmin = _mm256_mul_ps(load_halves(head + 32 + 16 * side), _mm256_set1_ps(0x1p-7f));
          scales.mw[half] = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4)));
        }
      });
    }
  }
  return scales;
}

// ---- One group of one row and 8 outputs

__m256i four_bytes(const int8_t* q) {
  int32_t v;
  __builtin_memcpy(&v, q, 4);
  return _mm256_set1_epi32(v);
}

// Integer sum over 16 elements, codes as bytes.
template <uint32_t kBits>
[[gnu::always_inline]] inline __m256i dot_16(__m256i u0, __m256i u1, __m256i u2, __m256i u3, const int8_t* q) {
  const __m256i one = _mm256_set1_epi16(1);
  const __m256i p01 = _mm256_add_epi16(_mm256_maddubs_epi16(u0, four_bytes(q)), _mm256_maddubs_epi16(u1, four_bytes(q + 4)));
  const __m256i p23 = _mm256_add_epi16(_mm256_maddubs_epi16(u2, four_bytes(q + 8)), _mm256_maddubs_epi16(u3, four_bytes(q + 12)));
  if constexpr (kBits < 6) return _mm256_madd_epi16(_mm256_add_epi16(p01, p23), one);
  return _mm256_add_epi32(_mm256_madd_epi16(p01, one), _mm256_madd_epi16(p23, one));
}

// A group of a row as i16: even[j] holds elements 4 j and 4 j + 2, odd[j] 4 j + 1 and 4 j + 3.
struct alignas(32) WideRow {
  int32_t even[8];
  int32_t odd[8];
};

[[gnu::always_inline]] inline void widen_row(const QuantizedGroup& x, WideRow* out) {
  const __m256i q = load_256(x.q);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out->even), _mm256_srai_epi16(_mm256_slli_epi16(q, 8), 8));
  _mm256_store_si256(reinterpret_cast<__m256i*>(out->odd), _mm256_srai_epi16(q, 8));
}

__m256i even_bytes(__m256i u) { return _mm256_and_si256(u, _mm256_set1_epi16(255)); }
__m256i odd_bytes(__m256i u) { return _mm256_srli_epi16(u, 8); }

// Integer sum over 16 elements (kHalf of the group), codes widened: w[2 i] even, w[2 i + 1] odd bytes of quad i.
template <size_t kHalf>
[[gnu::always_inline]] inline __m256i dot_16_wide(const __m256i (&w)[8], const WideRow& x) {
  __m256i sums[2] = {_mm256_madd_epi16(w[0], _mm256_set1_epi32(x.even[4 * kHalf])), _mm256_madd_epi16(w[1], _mm256_set1_epi32(x.odd[4 * kHalf]))};
  unroll<3>([&](auto i) SLUICE_INLINE {
    constexpr size_t kQuad = decltype(i)::value + 1;
    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(w[2 * kQuad], _mm256_set1_epi32(x.even[4 * kHalf + kQuad])));
    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(w[2 * kQuad + 1], _mm256_set1_epi32(x.odd[4 * kHalf + kQuad])));
  });
  return _mm256_add_epi32(sums[0], sums[1]);
}

// The f32 part: the two integer sums into the 8 sums of a row.
template <bool kMin, bool kPer16>
[[gnu::always_inline]] inline __m256 add_sums(__m256 first, __m256i sum1, const Scales& scales, const QuantizedGroup& x, __m256 acc) {
  if constexpr (!kPer16) {
    acc = _mm256_fmadd_ps(scales.dw[0], _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum1), _mm256_set1_ps(x.d[1]), first), acc);
    if constexpr (kMin) acc = _mm256_fmadd_ps(scales.mw[0], _mm256_set1_ps(x.s), acc);
  } else {
    acc = _mm256_fmadd_ps(scales.dw[0], first, acc);
    acc = _mm256_fmadd_ps(scales.dw[1], _mm256_mul_ps(_mm256_cvtepi32_ps(sum1), _mm256_set1_ps(x.d[1])), acc);
    if constexpr (kMin) {
      acc = _mm256_fmadd_ps(scales.mw[0], _mm256_set1_ps(x.t[0]), acc);
      acc = _mm256_fmadd_ps(scales.mw[1], _mm256_set1_ps(x.t[1]), acc);
    }
  }
  return acc;
}

const QuantizedGroup* row_in(const MatmulArgs& args, size_t i) {
  const size_t row = args.in_rows != nullptr ? static_cast<size_t>(args.in_rows[i]) : i;
  return reinterpret_cast<const QuantizedGroup*>(args.activations + row * args.activation_stride);
}

void store_row(const MatmulArgs& args, size_t strip, size_t side, size_t i, __m256 value) {
  const size_t row = args.out_rows != nullptr ? static_cast<size_t>(args.out_rows[i]) : i, at = 16 * strip + 8 * side;
  float* out = args.out + row * args.out_stride + at;
  if (args.bias != nullptr) value = _mm256_add_ps(value, _mm256_loadu_ps(args.bias + at));
  if (args.accumulate) value = _mm256_add_ps(value, _mm256_loadu_ps(out));
  _mm256_storeu_ps(out, value);
}

template <PackedLayout kLayout>
constexpr size_t kChunkBytes = kLayout.head_bytes + kLayout.groups * kLayout.group_bytes;

template <PackedLayout kLayout>
size_t strip_bytes(uint64_t groups) {
  return (groups + kLayout.groups - 1) / kLayout.groups * kLayout.head_bytes + groups * kLayout.group_bytes;
}

// ---- Few rows

// The n of the first or second 16, scaled to the type's offset.
template <PackedLayout kLayout>
[[gnu::always_inline]] inline __m256i offset_of(int32_t n) {
  return _mm256_srai_epi32(_mm256_set1_epi32(n), shift_of_n(code_offset(kLayout)));
}

constexpr size_t kFewRows = 4;

// One row keeps its sums in registers (acc is then one row); more rows keep them in L1, in one loop for any count, which compiles once a type.
template <bool kOneRow>
struct FewSums {
  __m256 one[2];
  alignas(32) float more[kOneRow ? 1 : kFewRows][16];
};

// One group, one side of 8 outputs.
template <PackedLayout kLayout, bool kOneRow, size_t kSide>
[[gnu::always_inline]] inline void add_group_few(const uint8_t* codes, const Scales& scales, const QuantizedGroup* const* x, uint64_t group, size_t rows,
                                                 const WideRow* wide, FewSums<kOneRow>& acc) {
  __m256 first[kFewRows];
  unroll<2>([&](auto half) SLUICE_INLINE {
    constexpr size_t kHalf = decltype(half)::value;
    __m256i u[4], w[8];
    unpack_codes<kLayout, 4 * kHalf, 4>(codes + 32 * kSide, u);
    if constexpr (is_wide(kLayout)) {
      unroll<4>([&](auto i) SLUICE_INLINE {
        w[2 * i] = even_bytes(u[i]);
        w[2 * i + 1] = odd_bytes(u[i]);
      });
    }
    const auto add_row = [&](size_t r) SLUICE_INLINE {
      const QuantizedGroup& row = x[r][group];
      __m256i sum;
      if constexpr (is_wide(kLayout)) {
        sum = dot_16_wide<kHalf>(w, wide[r]);
      } else {
        sum = dot_16<kLayout.bits>(u[0], u[1], u[2], u[3], row.q + 16 * kHalf);
      }
      if constexpr (code_offset(kLayout) != 0) sum = _mm256_add_epi32(sum, offset_of<kLayout>(row.n[kHalf]));
      if constexpr (kHalf == 0) {
        first[r] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_set1_ps(row.d[0]));
      } else if constexpr (kOneRow) {
        acc.one[kSide] = add_sums<kLayout.has_min, kLayout.scale_per_16>(first[0], sum, scales, row, acc.one[kSide]);
      } else {
        float* to = acc.more[r] + 8 * kSide;
        _mm256_store_ps(to, add_sums<kLayout.has_min, kLayout.scale_per_16>(first[r], sum, scales, row, _mm256_load_ps(to)));
      }
    };
    if constexpr (kOneRow) {
      add_row(0);
    } else {
      for (size_t r = 0; r < rows; ++r) add_row(r);
    }
  });
}

template <PackedLayout kLayout, bool kOneRow>
void few_rows(const MatmulArgs& args) {
  const uint64_t groups = args.k / 32;
  const size_t rows = kOneRow ? 1 : args.rows;
  const uint8_t* w = args.weights + args.strip_begin * strip_bytes<kLayout>(groups);
  const QuantizedGroup* x[kFewRows];
  for (size_t r = 0; r < rows; ++r) x[r] = row_in(args, r);
  for (size_t strip = args.strip_begin; strip < args.strip_end; ++strip) {
    FewSums<kOneRow> acc;
    acc.one[0] = acc.one[1] = _mm256_setzero_ps();
    for (size_t i = 0; !kOneRow && i < 2 * rows; ++i) _mm256_store_ps(acc.more[i / 2] + 8 * (i % 2), acc.one[0]);
    for (uint64_t group = 0; group < groups;) {
      const uint8_t* head = w;
      unroll<kLayout.head_bytes / 64>([&](auto line) SLUICE_INLINE { _mm_prefetch(head + kPrefetchBytes + 64 * line, _MM_HINT_T0); });
      w += kLayout.head_bytes;
      for (size_t slot = 0; slot < kLayout.groups && group < groups; ++slot, ++group, w += kLayout.group_bytes) {
        unroll<kLayout.bits>([&](auto line) SLUICE_INLINE { _mm_prefetch(w + kPrefetchBytes + 64 * line, _MM_HINT_T0); });
        WideRow wide[kFewRows];
        for (size_t r = 0; is_wide(kLayout) && r < rows; ++r) widen_row(x[r][group], &wide[r]);
        unroll<2>([&](auto side) SLUICE_INLINE {
          const Scales scales = unpack_scales<kLayout>(head, slot, side);
          add_group_few<kLayout, kOneRow, decltype(side)::value>(w, scales, x, group, rows, wide, acc);
        });
      }
    }
    for (size_t r = 0; r < rows; ++r) {
      unroll<2>([&](auto side) SLUICE_INLINE {
        store_row(args, strip, side, r, kOneRow ? acc.one[side] : _mm256_load_ps(acc.more[kOneRow ? 0 : r] + 8 * side));
      });
    }
  }
}

// ---- Many rows

constexpr size_t kStrips = 8;       // strips that share the rows in L1
constexpr size_t kBlockRows = 128;  // rows that share one unpacking
constexpr size_t kTileRows = 16;    // rows that share one load of the weights
constexpr size_t kSumRows = 4;      // of them, rows whose sums are in registers together

// One group of a strip, unpacked: both sides of a quad together. 8-bit codes as i16, even bytes of a quad first, then odd ones; others as bytes.
template <bool kWide>
struct alignas(64) Unpacked {
  uint8_t u[kWide ? 16 : 8][2][32];
  float dw[2][16];
  float mw[2][16];
};

template <bool kWide>
struct Block {
  Unpacked<kWide> strips[kStrips];
  WideRow wide[kWide ? kTileRows : 1];
  alignas(64) float acc[kBlockRows / kTileRows][kStrips][kTileRows][16];  // what a tile needs lies together: no two strips in one set of L1
};

template <PackedLayout kLayout>
void unpack_group(const uint8_t* strip, uint64_t group, Unpacked<is_wide(kLayout)>* out) {
  const uint8_t* head = strip + group / kLayout.groups * kChunkBytes<kLayout>;
  const size_t slot = group % kLayout.groups;
  const uint8_t* codes = head + kLayout.head_bytes + slot * kLayout.group_bytes;
  for (size_t side = 0; side < 2; ++side) {
    __m256i u[8];
    unpack_codes<kLayout, 0, 8>(codes + 32 * side, u);
    const auto store = [&](size_t at, __m256i v) SLUICE_INLINE { _mm256_store_si256(reinterpret_cast<__m256i*>(out->u[at][side]), v); };
    unroll<8>([&](auto quad) SLUICE_INLINE {
      if constexpr (is_wide(kLayout)) {
        store(2 * quad, even_bytes(u[quad]));
        store(2 * quad + 1, odd_bytes(u[quad]));
      } else {
        store(quad, u[quad]);
      }
    });
    const Scales scales = unpack_scales<kLayout>(head, slot, side);
    unroll<kLayout.scale_per_16 ? 2 : 1>([&](auto half) SLUICE_INLINE {
      _mm256_store_ps(out->dw[half] + 8 * side, scales.dw[half]);
      if constexpr (kLayout.has_min) _mm256_store_ps(out->mw[half] + 8 * side, scales.mw[half]);
    });
  }
}

// Keeps a sum as the source has it; else gcc adds products as a tree and keeps them all in memory until then.
void pin(__m256i& v) { __asm__("" : "+x"(v)); }

// The two integer sums (of half kHalf) of a row, as f32 into its 16 outputs. first: what half 0 leaves for half 1.
template <PackedLayout kLayout, size_t kHalf>
[[gnu::always_inline]] inline void finish_half(const Unpacked<is_wide(kLayout)>& strip, const QuantizedGroup& x, __m256i (&sums)[2], float* first, float* acc) {
  if constexpr (code_offset(kLayout) != 0) {
    const __m256i offset = offset_of<kLayout>(x.n[kHalf]);
    unroll<2>([&](auto side) SLUICE_INLINE { sums[side] = _mm256_add_epi32(sums[side], offset); });
  }
  const __m256 d = _mm256_set1_ps(x.d[kHalf]);
  unroll<2>([&](auto side) SLUICE_INLINE {
    constexpr size_t kAt = 8 * decltype(side)::value;
    const __m256 sum = _mm256_cvtepi32_ps(sums[side]);
    if constexpr (!kLayout.scale_per_16 && kHalf == 0) {
      _mm256_store_ps(first + kAt, _mm256_mul_ps(sum, d));
    } else {
      __m256 total = _mm256_load_ps(acc + kAt);
      const __m256 value = kLayout.scale_per_16 ? _mm256_mul_ps(sum, d) : _mm256_fmadd_ps(sum, d, _mm256_load_ps(first + kAt));
      total = _mm256_fmadd_ps(_mm256_load_ps(strip.dw[kLayout.scale_per_16 ? kHalf : 0] + kAt), value, total);
      if constexpr (kLayout.has_min && !kLayout.scale_per_16) total = _mm256_fmadd_ps(_mm256_load_ps(strip.mw[0] + kAt), _mm256_set1_ps(x.s), total);
      _mm256_store_ps(acc + kAt, total);
    }
  });
}

// Q2_K: its two minimums come after both scales.
template <PackedLayout kLayout>
[[gnu::always_inline]] inline void add_minimums(const Unpacked<is_wide(kLayout)>& strip, const QuantizedGroup& x, float* acc) {
  unroll<2>([&](auto side) SLUICE_INLINE {
    constexpr size_t kAt = 8 * decltype(side)::value;
    __m256 total = _mm256_load_ps(acc + kAt);
    total = _mm256_fmadd_ps(_mm256_load_ps(strip.mw[0] + kAt), _mm256_set1_ps(x.t[0]), total);
    _mm256_store_ps(acc + kAt, _mm256_fmadd_ps(_mm256_load_ps(strip.mw[1] + kAt), _mm256_set1_ps(x.t[1]), total));
  });
}

// Codes of up to 6 bits: one group of a strip and all rows of the tile, half by half: the half's 4 quads stay in 8 registers, both sides of them take one
// broadcast of a row's 4 elements. (Copies of the rows with every element repeated to a register cost a third more: their loads were the bound.)
// Codes of up to 6 bits: a group of a strip and kRows rows, half by half: the weights come from memory, and the sums of all rows and both sides stay in
// registers, in i16 as long as they fit.
template <PackedLayout kLayout, size_t kRows>
[[gnu::always_inline]] inline void tile_group(const Unpacked<false>& strip, const QuantizedGroup* const* x, uint64_t group, float (*acc)[16]) {
  constexpr size_t kQuads = kLayout.bits < 6 ? 4 : 2;  // whose products fit in i16 together
  alignas(32) float first[kRows][16];
  const QuantizedGroup* row[kRows];
  unroll<kRows>([&](auto r) SLUICE_INLINE { row[r] = x[r] + group; });
  const __m256i one = _mm256_set1_epi16(1);
  unroll<2>([&](auto half) SLUICE_INLINE {
    constexpr size_t kHalf = decltype(half)::value;
    __m256i sums[kRows][2], early[kRows][2];
    unroll<4>([&](auto i) SLUICE_INLINE {
      constexpr size_t kQuad = 4 * kHalf + decltype(i)::value;
      constexpr bool kFirst = decltype(i)::value % kQuads == 0;
      const __m256i w[2] = {load_256(strip.u[kQuad][0]), load_256(strip.u[kQuad][1])};
      unroll<kRows>([&](auto r) SLUICE_INLINE {
        const __m256i q = four_bytes(row[r]->q + 4 * kQuad);
        unroll<2>([&](auto side) SLUICE_INLINE {
          const __m256i products = _mm256_maddubs_epi16(w[side], q);
          sums[r][side] = kFirst ? products : _mm256_add_epi16(sums[r][side], products);
          pin(sums[r][side]);
          if constexpr (kQuads == 2 && kQuad % 4 == 1) early[r][side] = _mm256_madd_epi16(sums[r][side], one);
        });
      });
    });
    unroll<kRows>([&](auto r) SLUICE_INLINE {
      unroll<2>([&](auto side) SLUICE_INLINE {
        sums[r][side] = _mm256_madd_epi16(sums[r][side], one);
        if constexpr (kQuads == 2) sums[r][side] = _mm256_add_epi32(sums[r][side], early[r][side]);
      });
      finish_half<kLayout, kHalf>(strip, *row[r], sums[r], first[r], acc[r]);
    });
  });
  if constexpr (kLayout.has_min && kLayout.scale_per_16) {
    unroll<kRows>([&](auto r) SLUICE_INLINE { add_minimums<kLayout>(strip, *row[r], acc[r]); });
  }
}

// 8-bit codes: 16 products an operation, so the weights come from memory and the sums of some rows and both sides stay in registers.
template <PackedLayout kLayout, size_t kRows>
[[gnu::always_inline]] inline void tile_group_wide(const Unpacked<true>& strip, const QuantizedGroup* const* x, const WideRow* wide, uint64_t group,
                                                   float (*acc)[16]) {
  static_assert(!kLayout.has_min && !kLayout.scale_per_16);
  alignas(32) float first[kRows][16];
  unroll<2>([&](auto half) SLUICE_INLINE {
    constexpr size_t kHalf = decltype(half)::value;
    __m256i sums[kRows][2];
    unroll<8>([&](auto i) SLUICE_INLINE {
      constexpr size_t kQuad = 4 * kHalf + decltype(i)::value / 2;
      constexpr bool kOdd = decltype(i)::value % 2 == 1;
      const __m256i w[2] = {load_256(strip.u[8 * kHalf + i][0]), load_256(strip.u[8 * kHalf + i][1])};
      unroll<kRows>([&](auto r) SLUICE_INLINE {
        const __m256i q = _mm256_set1_epi32(kOdd ? wide[r].odd[kQuad] : wide[r].even[kQuad]);
        unroll<2>([&](auto side) SLUICE_INLINE {
          const __m256i products = _mm256_madd_epi16(w[side], q);
          sums[r][side] = decltype(i)::value == 0 ? products : _mm256_add_epi32(sums[r][side], products);
          pin(sums[r][side]);
        });
      });
    });
    unroll<kRows>([&](auto r) SLUICE_INLINE { finish_half<kLayout, kHalf>(strip, x[r][group], sums[r], first[r], acc[r]); });
  });
}

// Rows r .. r + rows (at most kTileRows) of a block, one group.
template <PackedLayout kLayout>
void tile(const QuantizedGroup* const* x, size_t r, size_t rows, uint64_t group, size_t strips, Block<is_wide(kLayout)>* block) {
  if constexpr (is_wide(kLayout)) {
    for (size_t i = 0; i < rows; ++i) widen_row(x[r + i][group], &block->wide[i]);
  }
  for (size_t s = 0; s < strips; ++s) {
    float(*acc)[16] = block->acc[r / kTileRows][s];
    const auto add = [&](auto count, size_t i) SLUICE_INLINE {
      if constexpr (is_wide(kLayout)) {
        tile_group_wide<kLayout, decltype(count)::value>(block->strips[s], x + r + i, block->wide + i, group, acc + i);
      } else {
        tile_group<kLayout, decltype(count)::value>(block->strips[s], x + r + i, group, acc + i);
      }
    };
    size_t i = 0;
    for (; i + kSumRows <= rows; i += kSumRows) add(Index<kSumRows>{}, i);
    for (; i < rows; ++i) add(Index<1>{}, i);
  }
}

// Rows first .. first + rows (at most kBlockRows) of strips strip .. strip + strips (at most kStrips).
template <PackedLayout kLayout>
void many_rows_block(const MatmulArgs& args, size_t strip, size_t strips, size_t first, size_t rows, Block<is_wide(kLayout)>* block) {
  const uint64_t groups = args.k / 32;
  const uint8_t* w = args.weights + strip * strip_bytes<kLayout>(groups);
  const QuantizedGroup* x[kBlockRows];
  for (size_t r = 0; r < rows; ++r) x[r] = row_in(args, first + r);
  __builtin_memset(block->acc, 0, (rows + kTileRows - 1) / kTileRows * sizeof(block->acc[0]));
  for (uint64_t group = 0; group < groups; ++group) {
    for (size_t s = 0; s < strips; ++s) unpack_group<kLayout>(w + s * strip_bytes<kLayout>(groups), group, &block->strips[s]);
    for (size_t r = 0; r < rows; r += kTileRows) tile<kLayout>(x, r, rows - r < kTileRows ? rows - r : kTileRows, group, strips, block);
  }
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < 2 * strips; ++i) {
      store_row(args, strip + i / 2, i % 2, first + r, _mm256_load_ps(block->acc[r / kTileRows][i / 2][r % kTileRows] + 8 * (i % 2)));
    }
  }
}

template <PackedLayout kLayout>
void many_rows(const MatmulArgs& args) {
  Block<is_wide(kLayout)> block;
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
  const size_t few = is_wide(kLayout) ? 2 : kFewRows;  // 8-bit codes share more in the other form (4 rows: 49 cycles a row and group against 57)
  return args.rows <= few ? few_rows<kLayout, false>(args) : many_rows<kLayout>(args);
}

}  // namespace

MatmulFn matmul_avx2_for(DType weight) {
  switch (weight) {
#define X(type, ...) \
  case DType::type: return matmul<DType::type>;
    SLUICE_PACKED_TYPES(X)
#undef X
    default: return matmul_float_avx2_for(weight);
  }
}

}  // namespace sluice::kernels
