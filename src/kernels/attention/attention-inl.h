// Attention on the vocabulary of vec_*-inl.h. A tile is up to kColumns pairs (row, query head) that read the same pages: rows of one sequence in order, and
// the query heads of one part of one KV head. Both products are one register-tiled kernel, C[column][16 lanes] = sum over k of A[k][column] * B[k][lane], in
// order of k: scores have positions in the lanes and dimensions as k, outputs dimensions in the lanes and positions as k. Stored types are widened on the
// way into the registers, once for 12 (AVX2: 6) columns; the next page is fetched into L2 meanwhile, a line at a step (bursts of prefetches cost 40 %).
// Contract: attention.h; definition: attention_reference.cc.
#pragma once

#include "kernels/attention/kv_layout.h"
#include "kernels/attention/tile.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

inline constexpr size_t kColumns = kAttentionColumns;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr size_t kTileColumns = 3;   // instrumented, the full tiles take minutes to compile; no bit depends on this
#else
inline constexpr size_t kTileColumns = kAvx512 ? 12 : 6;   // accumulators: 12 x 2 of 32 registers, 6 x 2 of 16
#endif
inline constexpr size_t kTileVectors = kAvx512 ? 2 : 1;    // of 16 lanes

// Where a tile stands and what it has so far. All arrays lie in the scratch.
struct Tile {
  size_t rows;            // of `spans`
  size_t heads;           // query heads per row; column = row * heads + head
  const KvSpan* spans;
  uint8_t* const* pages;
  float* queries;         // [head_dim_k][kColumns]
  float* scores;          // [kColumns][kPageTokens], then probabilities
  float* out;             // [kColumns][value_dims_padded], not normalised
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

SLUICE_VEC V from_codes(const uint8_t* p) { return from_i8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
SLUICE_VEC V from_nibbles(const uint8_t* p, bool high) {
  const __m128i bytes = _mm_srl_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), _mm_cvtsi32_si128(high ? 4 : 0));
  return from_i8(_mm_sub_epi8(_mm_and_si128(bytes, _mm_set1_epi8(15)), _mm_set1_epi8(8)));
}

// Keys as B: k is the dimension, vector v the v-th group of 16 positions.
template <KvType kType>
struct Keys {
  const uint8_t* codes;
  const float* scales;
  size_t group_bytes;
  size_t scale_group_floats;

  SLUICE_VEC V at(size_t k, size_t v) const {
    const uint8_t* group = codes + v * group_bytes;
    if constexpr (kType == KvType::kF32) return load<V>(reinterpret_cast<const float*>(group) + k * 16);
    if constexpr (kType == KvType::kF16) return widen_f16(group + k * 32);
    const V scale = load<V>(scales + v * scale_group_floats + k / kKvBlock * 16);
    if constexpr (kType == KvType::kQ8) return mul(from_codes(group + k * 16), scale);
    return mul(from_nibbles(group + k / 2 * 16, k % 2 != 0), scale);
  }
};

// 32 dimensions of values as B: k is the position, vector v the v-th 16 of the dimensions.
template <KvType kType>
struct Values {
  const uint8_t* codes;
  const float* scales;
  size_t row_bytes;
  size_t scale_row_floats;

  SLUICE_VEC V at(size_t k, size_t v) const {
    const uint8_t* row = codes + k * row_bytes;
    if constexpr (kType == KvType::kF32) return load<V>(reinterpret_cast<const float*>(row) + v * 16);
    if constexpr (kType == KvType::kF16) return widen_f16(row + v * 32);
    const V scale = set<V>(scales[k * scale_row_floats]);
    if constexpr (kType == KvType::kQ8) return mul(from_codes(row + v * 16), scale);
    return mul(from_nibbles(row, v != 0), scale);
  }
};

// Memory that is fetched while the multiplications run, a line at each step: what the next page's same place will need.
struct Ahead {
  const uint8_t* base;
  size_t step;
};

// A(k, column) = a[k * kStepK + column * kStepColumn]; B(k, v) = b.at(k, first_vector + v).
template <size_t kCount, size_t kVectors, size_t kStepK, size_t kStepColumn, class Source>
SLUICE_VEC Accumulators<kCount, kVectors> multiply(const float* a, const Source& b, size_t first_vector, const Ahead& ahead, size_t k_begin, size_t k_end) {
  Accumulators<kCount, kVectors> sum;
  SLUICE_UNROLL
  for (size_t c = 0; c < kCount; ++c) {
    SLUICE_UNROLL
    for (size_t v = 0; v < kVectors; ++v) sum.v[c][v] = set<V>(0.0f);
  }
  const uint8_t* fetch = ahead.base + k_begin * ahead.step;
  a += k_begin * kStepK;
  for (size_t k = k_begin; k < k_end; ++k, fetch += ahead.step, a += kStepK) {
    prefetch_l2(fetch);
    V lanes[kVectors];
    SLUICE_UNROLL
    for (size_t v = 0; v < kVectors; ++v) lanes[v] = b.at(k, first_vector + v);
    SLUICE_UNROLL
    for (size_t c = 0; c < kCount; ++c) {
      const V factor = set<V>(a[c * kStepColumn]);
      SLUICE_UNROLL
      for (size_t v = 0; v < kVectors; ++v) sum.v[c][v] = fma(factor, lanes[v], sum.v[c][v]);
    }
  }
  return sum;
}

// Scores of kCount columns with kTileVectors groups of 16 positions.
template <KvType kType>
struct ScoreTask {
  const float* queries;  // [dims][kColumns]
  Keys<kType> keys;
  Ahead ahead;
  size_t dims;
  float* scores;         // [column][kPageTokens]
};
template <size_t kCount, KvType kType>
void score_columns(const ScoreTask<kType>& task) {
  const Accumulators<kCount, kTileVectors> sum = multiply<kCount, kTileVectors, kColumns, 1>(task.queries, task.keys, 0, task.ahead, 0, task.dims);
  SLUICE_UNROLL
  for (size_t c = 0; c < kCount; ++c) {
    SLUICE_UNROLL
    for (size_t v = 0; v < kTileVectors; ++v) store(task.scores + c * kPageTokens + 16 * v, sum.v[c][v]);
  }
}

// Outputs of kCount columns in 16 * kVectors dimensions, merged with what was there.
template <KvType kType>
struct ValueTask {
  const float* probabilities;  // [column][kPageTokens]
  Values<kType> values;
  Ahead ahead;
  size_t begin, end;           // positions
  float* out;                  // [column][out_step]
  size_t out_step;
  const float* old_factor;     // [column]
  const float* page_factor;
};
template <size_t kCount, size_t kVectors, KvType kType>
void sum_values(const ValueTask<kType>& task, size_t vector) {
  const Accumulators<kCount, kVectors> sum =
      multiply<kCount, kVectors, 1, kPageTokens>(task.probabilities, task.values, vector, task.ahead, task.begin, task.end);
  SLUICE_UNROLL
  for (size_t c = 0; c < kCount; ++c) {
    const V old_factor = set<V>(task.old_factor[c]);
    const V page_factor = set<V>(task.page_factor[c]);
    SLUICE_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      float* out = task.out + c * task.out_step + 16 * (vector + v);
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

// ---- one page

template <KvType kType>
void score_page(const AttentionArgs& args, const KvLayout& layout, const Tile& tile, const Active& active, const uint8_t* block, const uint8_t* next) {
  const size_t scale_group_floats = layout.key_scale_group_bytes / sizeof(float);
  const float* scales = reinterpret_cast<const float*>(block + layout.key_scale_offset);
  ScoreTask<kType> task{};
  task.dims = args.shape.head_dim_k;
  // Groups by kTileVectors from a multiple of it: what lies beside the visible positions is in the page too, and masked later.
  for (size_t group = active.low / 16 / kTileVectors * kTileVectors; group * 16 < active.high; group += kTileVectors) {
    const size_t offset = layout.key_offset + group * layout.key_group_bytes;
    task.keys = {block + offset, scales + group * scale_group_floats, layout.key_group_bytes, scale_group_floats};
    task.ahead = {next + offset, kTileVectors * layout.key_group_bytes / task.dims};
    for_tiles(active.row_begin * tile.heads, active.row_end * tile.heads, [&]<size_t kCount>(size_t column) {
      task.queries = tile.queries + column;
      task.scores = tile.scores + column * kPageTokens + group * 16;
      score_columns<kCount>(task);
    });
  }
}

// The lanes of the i-th 16 positions of a page that a span covers, `other` elsewhere.
SLUICE_VEC V keep_span(V x, KvSpan span, size_t i, V other) {
  const size_t first = 16 * i;
  return keep_lanes(x, at_most(span.begin, first + 16) - at_most(span.begin, first), at_most(span.end, first + 16) - at_most(span.end, first), other);
}

// Scaled and capped scores, and their maximum. A pass of its own: maximum and exponentials of one column are a chain of some 100 cycles, and the
// columns are independent.
void scale_page(const AttentionArgs& args, const Tile& tile, const Active& active, size_t index) {
  const V scale = set<V>(args.scale);
  const V cap = set<V>(args.softcap);
  for (size_t row = active.row_begin; row < active.row_end; ++row) {
    const KvSpan span = within_page(tile.spans[row], index);
    const bool whole = span.begin == 0 && span.end == kPageTokens;
    for (size_t column = row * tile.heads; column < (row + 1) * tile.heads; ++column) {
      float* scores = tile.scores + column * kPageTokens;
      V largest = set<V>(-__builtin_inff());
      SLUICE_UNROLL
      for (size_t i = 0; i < 4; ++i) {
        V s = mul(load<V>(scores + 16 * i), scale);
        if (args.softcap > 0) s = mul(cap, tanh(div(s, cap)));
        store(scores + 16 * i, s);
        largest = max(largest, whole ? s : keep_span(s, span, i, largest));  // a lane against itself changes nothing
      }
      tile.page_m[column] = max_tree(largest);
    }
  }
}

// Scores to probabilities, and their sum.
void soften_page(const Tile& tile, const Active& active, size_t index) {
  for (size_t row = active.row_begin; row < active.row_end; ++row) {
    const KvSpan span = within_page(tile.spans[row], index);
    const bool whole = span.begin == 0 && span.end == kPageTokens;
    for (size_t column = row * tile.heads; column < (row + 1) * tile.heads; ++column) {
      float* scores = tile.scores + column * kPageTokens;
      const V m = set<V>(tile.page_m[column]);
      V sum = set<V>(0.0f);
      SLUICE_UNROLL
      for (size_t i = 0; i < 4; ++i) {
        V p = exp(sub(load<V>(scores + 16 * i), m));
        if (!whole) p = keep_span(p, span, i, set<V>(0.0f));
        store(scores + 16 * i, p);
        sum = add(sum, p);
      }
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

template <KvType kType>
void value_page(const KvLayout& layout, const Tile& tile, const Active& active, size_t index, const uint8_t* block, const uint8_t* next) {
  const size_t dims = layout.value_dims_padded;
  // Rows that see all of the page share register tiles; where some see a part, each goes alone over its own positions.
  const size_t rows_at_once = active.whole ? active.row_end - active.row_begin : 1;
  ValueTask<kType> task{};
  task.out_step = dims;
  for (size_t first = 0; first < dims; first += kKvBlock) {
    const size_t vectors = at_most(dims - first, kKvBlock) / 16;
    const size_t offset = layout.value_offset + layout.value_row_bytes * first / dims;
    task.values = {block + offset, reinterpret_cast<const float*>(block + layout.value_scale_offset) + first / kKvBlock, layout.value_row_bytes,
                   layout.value_scale_row_bytes / sizeof(float)};
    task.ahead = {next + offset, layout.value_row_bytes};
    for (size_t row = active.row_begin; row < active.row_end; row += rows_at_once) {
      const KvSpan span = within_page(tile.spans[row], index);
      task.begin = span.begin;
      task.end = span.end;
      for_tiles(row * tile.heads, (row + rows_at_once) * tile.heads, [&]<size_t kCount>(size_t column) {
        task.probabilities = tile.scores + column * kPageTokens;
        task.old_factor = tile.old_factor + column;
        task.page_factor = tile.page_factor + column;
        task.out = tile.out + column * dims + first;
        if (kTileVectors == 2 && vectors == 2) {
          sum_values<kCount, kTileVectors>(task, 0);
        } else {
          for (size_t v = 0; v < vectors; ++v) sum_values<kCount, 1>(task, v);
        }
      });
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
    const uint8_t* next = index + 1 < page_end ? tile.pages[index + 1] + head_offset : block;
    score_page<kType>(args, layout, tile, active, block, next);
    scale_page(args, tile, active, index);
    soften_page(tile, active, index);
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
