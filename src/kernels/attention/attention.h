// Attention over paged keys and values, blocks cut at absolute positions (one page = kPageTokens positions).
// kv_write stores rows into pages; attention reads them. For each row and query head, page by page: scores s[j] = (sum_d fma(q[d], k[j][d]) in order of d,
// from 0) * scale, then softcap * tanh(s / softcap) if softcap > 0; masked positions are left out; m = max, p = exp(s - m), l = sum of p (16 interleaved sums
// over position-in-page mod 16, masked ones 0, tree of matmul.h), o[d] = sum_j fma(p[j], v[j][d]) in order of j, from 0. Pages with a visible
// position are merged in order: M = max(m_old, m); a = exp(m_old - M), b = exp(m - M); o = fma(o_old, a, o * b), l = fma(l_old, a, l * b), starting from
// m = -inf, l = 0, o = 0; with sinks, from m = sink, l = 1, o = 0. At the end out = o / l. Stored keys and values are widened to f32 exactly
// (f16, q8: i8 * scale, q4: (nibble - 8) * scale, one product each).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

inline constexpr size_t kPageTokens = 64;

enum class KvType : uint8_t { kF32, kF16, kQ8, kQ4 };

// What one layer stores in a page: for each KV head, one block of keys as [4 groups of 16 positions][head_dim_k][16 positions] and values as
// [64 positions][head_dim_v padded to 16]; kQ8 and kQ4 have an f32 scale per position, head and 32 dimensions beside them (KvLayout, attention.cc).
struct KvShape {
  KvType type;
  uint32_t heads;
  uint32_t head_dim_k;
  uint32_t head_dim_v;
};
// Bytes of one layer's part of a page; a multiple of 64.
uint64_t kv_page_bytes(const KvShape& shape);

// A row's place: its sequence's pages (page i holds positions 64 i .. 64 i + 63; each pointer is a whole page, layer_offset selects the layer's part).
struct KvRow {
  uint8_t* const* pages;
  int32_t position;
};

// kQ8: per 32 dimensions d = max|x| / 127, q = nearest_even(x * (127 / max|x|)). kQ4: d = (the value of largest magnitude, the first of equals) / -8,
// q = min(nearest_even(x * (1 / d)) + 8, 15). Both 0 where max|x| is 0; values that are not finite give some code, the same on every machine.
struct KvWriteArgs {
  KvShape shape;
  const float* k;  // [rows, heads * head_dim_k], stride k_stride floats
  size_t k_stride;
  const float* v;  // [rows, heads * head_dim_v]
  size_t v_stride;
  const KvRow* rows;
  size_t layer_offset;  // bytes into a page
  size_t row_begin, row_end;
};
using KvWriteFn = void (*)(const KvWriteArgs&);
KvWriteFn kv_write_for(KvType type, Isa isa);

// The work is cut into heads * head_parts * rows items, item = (kv_head * head_parts + part) * rows + row: a part is a share of the query heads of one
// KV head, query heads [part, part + 1) * (q_heads / heads) / head_parts of it. No cut changes bits. Items of one kv_head and part stand together, so
// that a range of them reads each page once for several rows; take head_parts = min(q_heads / heads, threads) where heads < threads, else 1.
struct AttentionArgs {
  KvShape shape;
  const float* q;  // [rows, q_heads * head_dim_k]; query head h uses KV head h / (q_heads / heads)
  size_t q_stride;
  float* out;      // [rows, q_heads * head_dim_v]
  size_t out_stride;
  uint32_t q_heads;
  float scale;
  float softcap;       // 0: none
  int32_t window;      // positions seen, own included (q - k < window); 0: all
  const float* sinks;  // [q_heads] or null
  const KvRow* rows;   // [row_count]
  size_t row_count;
  uint32_t head_parts;  // 1 .. q_heads / heads
  size_t layer_offset;
  float* scratch;      // attention_scratch_floats, 64-byte aligned, one per thread
  size_t item_begin, item_end;
};
using AttentionFn = void (*)(const AttentionArgs&);
AttentionFn attention_for(KvType type, Isa isa);
size_t attention_scratch_floats(const KvShape& shape, uint32_t q_heads);

}  // namespace sluice::kernels
