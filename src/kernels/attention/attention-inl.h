// Attention on the vocabulary of vec_*-inl.h. A tile is up to kColumns pairs (row, query head) that read the same pages: rows of one sequence in order, and
// the query heads of one part of one KV head. Both products are one register-tiled kernel, C[column][16 lanes] = sum over k of A[k][column] * B[k][lane], in
// order of k: scores have positions in the lanes and dimensions as k, outputs dimensions in the lanes and positions as k. Keys and values are widened to f32
// once per tile, a piece of at most 16 KiB at a time. Contract: attention.h; definition: attention_reference.cc.
#pragma once

#include "kernels/attention/kv_layout.h"
#include "kernels/attention/tile.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

inline constexpr size_t kColumns = kAttentionColumns;
inline constexpr size_t kTileColumns = kAvx512 ? 12 : 6;   // accumulators: 12 x 2 of 32 registers, 6 x 2 of 16
inline constexpr size_t kTileVectors = kAvx512 ? 2 : 1;    // of 16 lanes
inline constexpr size_t kPieceDims = 32;                   // of values widened at a time

// Where a tile stands and what it has so far. All arrays lie in the scratch.
struct Tile {
  size_t rows;            // of `spans`
  size_t heads;           // query heads per row; column = row * heads + head
  const KvSpan* spans;
  uint8_t* const* pages;
  float* queries;         // [head_dim_k][kColumns]
  float* scores;          // [kColumns][kPageTokens], then probabilities
  float* out;             // [kColumns][value_dims_padded], not normalised
  float* wide;            // widened keys [2 groups][head_dim_k][16] or values [64][kPieceDims]
  float* m;               // [kColumns] each: running maximum and sum, this page's, and the factors of the merge
  float* l;
  float* page_m;
  float* page_l;
  float* old_factor;
  float* page_factor;
};

// The columns of a page that see something of it, and whether all of them see all of it.
struct Active {
  size_t row_begin, row_end;
  size_t low, high;   // positions in the page that any of them sees
  bool whole;
};

SLUICE_VEC size_t at_most(size_t value, size_t limit) { return value < limit ? value : limit; }

// Positions of page `index` that a span covers.
SLUICE_VEC KvSpan within_page(KvSpan span, size_t index) {
  const size_t first = index * kPageTokens;
  const size_t begin = span.begin > first ? at_most(span.begin - first, kPageTokens) : 0;
  const size_t end = span.end > first ? at_most(span.end - first, kPageTokens) : 0;
  return {begin, end};
}

// ---- the register tile

template <size_t kCount, size_t kVectors>
struct Accumulators {
  V v[kCount][kVectors];
};

// A(k, column) = a[k * kStepK + column * kStepColumn]; B(k, vector) = b[k * b_step + vector * vector_step ...].
template <size_t kCount, size_t kVectors, size_t kStepK, size_t kStepColumn>
SLUICE_VEC Accumulators<kCount, kVectors> multiply(const float* a, const float* b, size_t b_step, size_t vector_step, size_t k_begin, size_t k_end) {
  Accumulators<kCount, kVectors> sum;
  SLUICE_UNROLL
  for (size_t c = 0; c < kCount; ++c) {
    SLUICE_UNROLL
    for (size_t v = 0; v < kVectors; ++v) sum.v[c][v] = set<V>(0.0f);
  }
  for (size_t k = k_begin; k < k_end; ++k) {
    V lanes[kVectors];
    SLUICE_UNROLL
    for (size_t v = 0; v < kVectors; ++v) lanes[v] = load<V>(b + k * b_step + v * vector_step);
    SLUICE_UNROLL
    for (size_t c = 0; c < kCount; ++c) {
      const V factor = set<V>(a[k * kStepK + c * kStepColumn]);
      SLUICE_UNROLL
      for (size_t v = 0; v < kVectors; ++v) sum.v[c][v] = fma(factor, lanes[v], sum.v[c][v]);
    }
  }
  return sum;
}

// Scores of kCount columns with kVectors groups of 16 positions; keys [kVectors][dims][16].
template <size_t kCount, size_t kVectors>
void score_columns(const float* queries, const float* keys, size_t dims, float* scores) {
  const Accumulators<kCount, kVectors> sum = multiply<kCount, kVectors, kColumns, 1>(queries, keys, 16, dims * 16, 0, dims);
  SLUICE_UNROLL
  for (size_t c = 0; c < kCount; ++c) {
    SLUICE_UNROLL
    for (size_t v = 0; v < kVectors; ++v) store(scores + c * kPageTokens + 16 * v, sum.v[c][v]);
  }
}

// Outputs of kCount columns in 16 * kVectors dimensions, merged with what was there.
struct ValueTask {
  const float* probabilities;  // [column][kPageTokens]
  const float* values;         // [position][step]
  size_t step;
  size_t begin, end;           // positions
  float* out;                  // [column][out_step]
  size_t out_step;
  const float* old_factor;
  const float* page_factor;
};
template <size_t kCount, size_t kVectors>
void sum_values(const ValueTask& task) {
  const Accumulators<kCount, kVectors> sum = multiply<kCount, kVectors, 1, kPageTokens>(task.probabilities, task.values, task.step, 16, task.begin, task.end);
  SLUICE_UNROLL
  for (size_t c = 0; c < kCount; ++c) {
    const V old_factor = set<V>(task.old_factor[c]);
    const V page_factor = set<V>(task.page_factor[c]);
    SLUICE_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      float* out = task.out + c * task.out_step + 16 * v;
      store(out, fma(load<V>(out), old_factor, mul(sum.v[c][v], page_factor)));
    }
  }
}

// Calls function.template operator()<n>() for the run-time n in 1 .. kTileColumns.
template <size_t kCount, class Function>
SLUICE_VEC void with_count(size_t n, const Function& function) {
  if constexpr (kCount > 1) {
    if (n < kCount) return with_count<kCount - 1>(n, function);
  }
  function.template operator()<kCount>();
}

// Cuts columns [begin, end) into equal register tiles: function.template operator()<n>(first column).
template <class Function>
SLUICE_VEC void for_tiles(size_t begin, size_t end, const Function& function) {
  size_t tiles = (end - begin + kTileColumns - 1) / kTileColumns;
  for (size_t column = begin; column < end; --tiles) {
    const size_t n = (end - column + tiles - 1) / tiles;
    with_count<kTileColumns>(n, [&]<size_t kCount>() { function.template operator()<kCount>(column); });
    column += n;
  }
}

// ---- widening

SLUICE_VEC V nibbles(const uint8_t* p, bool high) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i codes = _mm_and_si128(high ? _mm_srli_epi16(bytes, 4) : bytes, _mm_set1_epi8(15));
  return from_i8(_mm_sub_epi8(codes, _mm_set1_epi8(8)));
}

// Keys of one group of 16 positions: [dims][16].
template <KvType kType>
void widen_keys(const uint8_t* block, const KvLayout& layout, size_t group, size_t dims, float* out) {
  const uint8_t* codes = block + layout.key_offset + group * layout.key_group_bytes;
  const uint8_t* scales = block + layout.key_scale_offset + group * layout.key_scale_group_bytes;
  for (size_t d = 0; d < dims; ++d) {
    V wide;
    if constexpr (kType == KvType::kF16) {
      wide = widen_f16(codes + d * 32);
    } else {
      const V scale = load<V>(reinterpret_cast<const float*>(scales) + d / kKvBlock * 16);
      if constexpr (kType == KvType::kQ8) {
        wide = mul(from_i8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + d * 16))), scale);
      } else {
        wide = mul(nibbles(codes + d / 2 * 16, d % 2 != 0), scale);
      }
    }
    store(out + d * 16, wide);
  }
}

// Values of positions [begin, end), dimensions [first, first + count): [position][kPieceDims]. first is a multiple of 32, count of 16.
template <KvType kType>
void widen_values(const uint8_t* block, const KvLayout& layout, size_t begin, size_t end, size_t first, size_t count, float* out) {
  for (size_t j = begin; j < end; ++j) {
    const uint8_t* codes = block + layout.value_offset + j * layout.value_row_bytes;
    const float* scales = reinterpret_cast<const float*>(block + layout.value_scale_offset + j * layout.value_scale_row_bytes);
    for (size_t d = 0; d < count; d += 16) {
      V wide;
      if constexpr (kType == KvType::kF16) {
        wide = widen_f16(codes + (first + d) * 2);
      } else if constexpr (kType == KvType::kQ8) {
        wide = mul(from_i8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + first + d))), set<V>(scales[first / kKvBlock]));
      } else {
        wide = mul(nibbles(codes + first / 2, d != 0), set<V>(scales[first / kKvBlock]));
      }
      store(out + j * kPieceDims + d, wide);
    }
  }
}

// ---- one page

SLUICE_VEC void prefetch_range(const uint8_t* p, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64) prefetch(p + i);
}

template <KvType kType>
void score_page(const AttentionArgs& args, const KvLayout& layout, const Tile& tile, const Active& active, const uint8_t* block, const uint8_t* next) {
  const size_t dims = args.shape.head_dim_k;
  const size_t column_begin = active.row_begin * tile.heads;
  const size_t column_end = active.row_end * tile.heads;
  const size_t group_end = (active.high + 15) / 16;
  for (size_t group = active.low / 16; group < group_end;) {
    const size_t count = at_most(group_end - group, kTileVectors);
    if (next != nullptr) prefetch_range(next + layout.key_offset + group * layout.key_group_bytes, count * layout.key_group_bytes);
    const float* keys = reinterpret_cast<const float*>(block + layout.key_offset) + group * dims * 16;
    if constexpr (kType != KvType::kF32) {
      for (size_t i = 0; i < count; ++i) widen_keys<kType>(block, layout, group + i, dims, tile.wide + i * dims * 16);
      keys = tile.wide;
    }
    for_tiles(column_begin, column_end, [&]<size_t kCount>(size_t column) {
      float* scores = tile.scores + column * kPageTokens + group * 16;
      if (kTileVectors == 2 && count == 2) {
        score_columns<kCount, kTileVectors>(tile.queries + column, keys, dims, scores);
      } else {
        score_columns<kCount, 1>(tile.queries + column, keys, dims, scores);
      }
    });
    group += count;
  }
}

// Scores to probabilities; this page's maximum and sum of every column.
void soften_page(const AttentionArgs& args, const Tile& tile, const Active& active, size_t index) {
  const V scale = set<V>(args.scale);
  const V lowest = set<V>(-__builtin_inff());
  const V cap = set<V>(args.softcap);
  for (size_t row = active.row_begin; row < active.row_end; ++row) {
    const KvSpan span = within_page(tile.spans[row], index);
    const bool whole = span.begin == 0 && span.end == kPageTokens;
    for (size_t column = row * tile.heads; column < (row + 1) * tile.heads; ++column) {
      float* scores = tile.scores + column * kPageTokens;
      V s[4];
      V largest = lowest;
      SLUICE_UNROLL
      for (size_t i = 0; i < 4; ++i) {
        s[i] = mul(load<V>(scores + 16 * i), scale);
        if (args.softcap > 0) s[i] = mul(cap, tanh(div(s[i], cap)));
        // A lane against itself changes nothing.
        largest = max(largest, whole ? s[i] : keep_lanes(s[i], at_most(span.begin, 16 * i + 16) - at_most(span.begin, 16 * i),
                                                         at_most(span.end, 16 * i + 16) - at_most(span.end, 16 * i), largest));
      }
      const float m = max_tree(largest);
      V sum = set<V>(0.0f);
      SLUICE_UNROLL
      for (size_t i = 0; i < 4; ++i) {
        V p = exp(sub(s[i], set<V>(m)));
        if (!whole) {
          p = keep_lanes(p, at_most(span.begin, 16 * i + 16) - at_most(span.begin, 16 * i), at_most(span.end, 16 * i + 16) - at_most(span.end, 16 * i),
                         set<V>(0.0f));
        }
        store(scores + 16 * i, p);
        sum = add(sum, p);
      }
      tile.page_m[column] = m;
      tile.page_l[column] = sum_tree(sum);
    }
  }
}

void merge_sums(const Tile& tile, const Active& active) {
  const size_t column_end = active.row_end * tile.heads;
  for (size_t column = active.row_begin * tile.heads; column < column_end; column += 16) {
    const size_t n = at_most(column_end - column, 16);
    const V old_m = load_first(tile.m + column, n);
    const V page_m = load_first(tile.page_m + column, n);
    const V m = max(old_m, page_m);
    const V old_factor = exp(sub(old_m, m));
    const V page_factor = exp(sub(page_m, m));
    const V l = fma(load_first(tile.l + column, n), old_factor, mul(load_first(tile.page_l + column, n), page_factor));
    store_first(tile.m + column, m, n);
    store_first(tile.l + column, l, n);
    store_first(tile.old_factor + column, old_factor, n);
    store_first(tile.page_factor + column, page_factor, n);
  }
}

// Columns [column_begin, column_end) with positions [begin, end) of `count` dimensions from `first`.
void add_values(const Tile& tile, ValueTask task, size_t column_begin, size_t column_end, size_t first, size_t count) {
  const float* values = task.values;
  for_tiles(column_begin, column_end, [&]<size_t kCount>(size_t column) {
    task.probabilities = tile.scores + column * kPageTokens;
    task.old_factor = tile.old_factor + column;
    task.page_factor = tile.page_factor + column;
    for (size_t d = 0; d < count;) {
      task.values = values + d;
      task.out = tile.out + column * task.out_step + first + d;
      if (kTileVectors == 2 && count - d >= 32) {
        sum_values<kCount, kTileVectors>(task);
        d += 32;
      } else {
        sum_values<kCount, 1>(task);
        d += 16;
      }
    }
  });
}

template <KvType kType>
void value_page(const KvLayout& layout, const Tile& tile, const Active& active, size_t index, const uint8_t* block, const uint8_t* next) {
  const size_t dims = layout.value_dims_padded;
  const size_t bytes = kPageTokens * layout.value_row_bytes;
  for (size_t first = 0; first < dims; first += kPieceDims) {
    const size_t count = at_most(dims - first, kPieceDims);
    if (next != nullptr) prefetch_range(next + layout.value_offset + bytes * first / dims / 64 * 64, bytes * count / dims);
    ValueTask task{};
    task.values = reinterpret_cast<const float*>(block + layout.value_offset) + first;
    task.step = dims;
    if constexpr (kType != KvType::kF32) {
      widen_values<kType>(block, layout, active.low, active.high, first, count, tile.wide);
      task.values = tile.wide;
      task.step = kPieceDims;
    }
    task.out_step = dims;
    if (active.whole) {
      task.begin = 0;
      task.end = kPageTokens;
      add_values(tile, task, active.row_begin * tile.heads, active.row_end * tile.heads, first, count);
      continue;
    }
    for (size_t row = active.row_begin; row < active.row_end; ++row) {
      const KvSpan span = within_page(tile.spans[row], index);
      task.begin = span.begin;
      task.end = span.end;
      add_values(tile, task, row * tile.heads, (row + 1) * tile.heads, first, count);
    }
  }
}

Active active_rows(const Tile& tile, size_t index) {
  Active active{tile.rows, 0, kPageTokens, 0, true};
  for (size_t row = 0; row < tile.rows; ++row) {
    const KvSpan span = within_page(tile.spans[row], index);
    if (span.begin >= span.end) continue;
    if (active.row_begin > row) active.row_begin = row;
    active.row_end = row + 1;
    active.low = at_most(active.low, span.begin);
    if (span.end > active.high) active.high = span.end;
    active.whole = active.whole && span.begin == 0 && span.end == kPageTokens;
  }
  return active;
}

// ---- one tile

// Rows [row, row + tile.rows), query heads [q_head, q_head + tile.heads) of KV head kv_head.
template <KvType kType>
void attend_tile(const AttentionArgs& args, const KvLayout& layout, const Tile& tile, size_t row, uint32_t kv_head, uint32_t q_head) {
  const size_t dims = layout.value_dims_padded;
  const size_t columns = tile.rows * tile.heads;
  for (size_t column = 0; column < columns; ++column) {
    const size_t head = q_head + column % tile.heads;
    const float* q = args.q + (row + column / tile.heads) * args.q_stride + head * args.shape.head_dim_k;
    for (size_t d = 0; d < args.shape.head_dim_k; ++d) tile.queries[d * kColumns + column] = q[d];
    for (size_t d = 0; d < dims; d += 16) store(tile.out + column * dims + d, set<V>(0.0f));
    tile.m[column] = args.sinks != nullptr ? args.sinks[head] : -__builtin_inff();
    tile.l[column] = args.sinks != nullptr ? 1.0f : 0.0f;
  }
  const size_t head_offset = args.layer_offset + kv_head * layout.head_bytes;
  const size_t page_end = (tile.spans[tile.rows - 1].end + kPageTokens - 1) / kPageTokens;
  for (size_t index = tile.spans[0].begin / kPageTokens; index < page_end; ++index) {
    const Active active = active_rows(tile, index);
    if (active.row_begin >= active.row_end) continue;
    const uint8_t* block = tile.pages[index] + head_offset;
    const uint8_t* next = index + 1 < page_end ? tile.pages[index + 1] + head_offset : nullptr;
    score_page<kType>(args, layout, tile, active, block, next);
    soften_page(args, tile, active, index);
    merge_sums(tile, active);
    value_page<kType>(layout, tile, active, index, block, next);
  }
  for (size_t column = 0; column < columns; ++column) {
    float* out = args.out + (row + column / tile.heads) * args.out_stride + (q_head + column % tile.heads) * args.shape.head_dim_v;
    const V l = set<V>(tile.l[column]);
    for (size_t d = 0; d < args.shape.head_dim_v; d += 16) {
      store_first(out + d, div(load<V>(tile.out + column * dims + d), l), at_most(args.shape.head_dim_v - d, 16));
    }
  }
}

template <KvType kType>
void attention(const AttentionArgs& args) {
  const KvLayout layout = kv_layout(args.shape);
  const AttentionScratch offsets = attention_scratch(args.shape);
  KvSpan spans[kColumns];
  Tile tile{};
  tile.spans = spans;
  tile.queries = args.scratch + offsets.queries;
  tile.scores = args.scratch + offsets.scores;
  tile.out = args.scratch + offsets.out;
  tile.wide = args.scratch + offsets.wide;
  float* per_column = args.scratch + offsets.per_column;
  for (float** array : {&tile.m, &tile.l, &tile.page_m, &tile.page_l, &tile.old_factor, &tile.page_factor}) {
    *array = per_column;
    per_column += kColumns;
  }
  for (size_t i = args.item_begin; i < args.item_end;) {
    const AttentionItem item = attention_item(args, i);
    const size_t rows_left = at_most(args.row_count - item.row, args.item_end - i);
    const size_t heads = item.q_end - item.q_begin;
    tile.pages = args.rows[item.row].pages;
    spans[0] = visible_span(args.rows[item.row], args.window);
    tile.rows = 1;
    const size_t rows_max = heads < kColumns ? at_most(kColumns / heads, rows_left) : 1;
    for (; tile.rows < rows_max; ++tile.rows) {
      const KvRow& next = args.rows[item.row + tile.rows];
      if (next.pages != tile.pages || next.position < args.rows[item.row + tile.rows - 1].position) break;
      spans[tile.rows] = visible_span(next, args.window);
    }
    for (uint32_t head = item.q_begin; head < item.q_end; head += static_cast<uint32_t>(tile.heads)) {
      tile.heads = at_most(item.q_end - head, kColumns);
      attend_tile<kType>(args, layout, tile, item.row, item.kv_head, head);
    }
    i += tile.rows;
  }
}

AttentionFn attention_function(KvType type) {
  switch (type) {
    case KvType::kF32: return attention<KvType::kF32>;
    case KvType::kF16: return attention<KvType::kF16>;
    case KvType::kQ8: return attention<KvType::kQ8>;
    case KvType::kQ4: return attention<KvType::kQ4>;
  }
  return nullptr;
}

}  // namespace
}  // namespace sluice::kernels
