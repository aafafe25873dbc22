// One decode step's attention of Jamba 3B (2 layers, 20 query heads of 128 on 1 KV head) at depth 8K and 32K, and a prefill chunk at depth 8K.
// The speed issue asks for <= 3 ms (AVX-512) and <= 5 ms (AVX2) at 32K with f16 and two threads; llama.cpp takes 14 to 26 ms.
#include "kernels/attention/attention.h"

#include "kernels/vec/kernel_benching.h"

namespace sluice::kernels {
namespace {

constexpr size_t kLayers = 2, kHeads = 20, kDim = 128;

struct Cache {
  Cache(KvType type, size_t depth, size_t rows_in, uint32_t kv_heads) : shape{type, kv_heads, kDim, kDim}, row_count(rows_in) {
    const size_t page_bytes = kLayers * kv_page_bytes(shape);
    const size_t pages_count = (depth + kPageTokens - 1) / kPageTokens;
    storage.resize(pages_count * page_bytes + 64);
    uint8_t* base = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
    for (size_t i = 0; i < pages_count; ++i) pages.push_back(base + i * page_bytes);
    const std::vector<float> kv = random_floats(kv_heads * kDim * 64, 1);
    for (size_t position = 0; position < depth; ++position) {
      const KvRow row{pages.data(), static_cast<int32_t>(position)};
      const float* values = kv.data() + position % 32 * kv_heads * kDim;
      for (size_t layer = 0; layer < kLayers; ++layer) {
        kv_write_for(type, Isa::kBaseline)({shape, values, kDim, values + 32 * kv_heads * kDim, kDim, &row, layer * kv_page_bytes(shape), 0, 1});
      }
    }
    for (size_t row = 0; row < row_count; ++row) rows.push_back({pages.data(), static_cast<int32_t>(depth - row_count + row)});
  }
  KvShape shape;
  size_t row_count;
  std::vector<uint8_t> storage;
  std::vector<uint8_t*> pages;
  std::vector<KvRow> rows;
};

void attend(benchmark::State& state, KvType type, Isa isa, size_t depth, size_t rows, uint32_t kv_heads, size_t threads) {
  if (!machine_has(isa)) return state.SkipWithError("not on this machine");
  const Cache cache(type, depth, rows, kv_heads);
  const std::vector<float> q = random_floats(rows * kHeads * kDim, 1, 3);
  std::vector<float> out(rows * kHeads * kDim);
  std::vector<std::vector<float>> scratch(threads, std::vector<float>(attention_scratch_floats(cache.shape, kHeads) + 16));
  const uint32_t parts = kv_heads < threads ? static_cast<uint32_t>(threads) : 1;
  const size_t items = kv_heads * parts * rows;
  const auto work = [&](size_t thread) {
    float* aligned = scratch[thread].data() + (64 - reinterpret_cast<uintptr_t>(scratch[thread].data()) % 64) % 64 / 4;
    for (size_t layer = 0; layer < kLayers; ++layer) {
      attention_for(type, isa)({cache.shape, q.data(), kHeads * kDim, out.data(), kHeads * kDim, kHeads, 0.088f, 0, 0, nullptr, cache.rows.data(), rows, parts,
                                layer * kv_page_bytes(cache.shape), aligned, items * thread / threads, items * (thread + 1) / threads});
    }
  };
  double smallest = 1e30;
  double limit = 0;
  for (auto _ : state) {
    smallest = std::min(smallest, smallest_round(threads, 5, work));
    limit = std::max(limit, fma_limit(isa, threads));
  }
  state.counters["ms_per_row"] = smallest / static_cast<double>(rows) * 1e3;
  state.counters["share_of_fma"] = static_cast<double>(kLayers * kHeads * kDim * depth * 2 * rows) / smallest / limit;
  state.counters["fma_ms"] = static_cast<double>(kLayers * kHeads * kDim * depth * 2) / limit * 1e3;
  state.counters["GB_per_s"] = static_cast<double>(kLayers * kv_page_bytes(cache.shape) / kPageTokens * depth) / smallest * 1e-9;
}

#define ATTEND(name, type, depth, rows, heads)                                        \
  BENCHMARK_CAPTURE(attend, name##_avx2_1t, type, Isa::kAvx2, depth, rows, heads, 1); \
  BENCHMARK_CAPTURE(attend, name##_avx2_2t, type, Isa::kAvx2, depth, rows, heads, 2); \
  BENCHMARK_CAPTURE(attend, name##_avx512_1t, type, Isa::kAvx512, depth, rows, heads, 1); \
  BENCHMARK_CAPTURE(attend, name##_avx512_2t, type, Isa::kAvx512, depth, rows, heads, 2)
ATTEND(f16_8k, KvType::kF16, 8192, 1, 1);
ATTEND(f16_32k, KvType::kF16, 32768, 1, 1);
ATTEND(f32_32k, KvType::kF32, 32768, 1, 1);
ATTEND(q8_32k, KvType::kQ8, 32768, 1, 1);
ATTEND(q4_32k, KvType::kQ4, 32768, 1, 1);
ATTEND(f16_8k_64_rows, KvType::kF16, 8192, 64, 1);
ATTEND(f16_8k_64_rows_20_kv_heads, KvType::kF16, 8192, 64, 20);
#undef ATTEND

}  // namespace
}  // namespace sluice::kernels
