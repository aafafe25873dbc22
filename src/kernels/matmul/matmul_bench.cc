// matmul per weight type and instruction set: GB/s of weights at few rows, GOP/s at 512 rows, beside the machine's limits measured in the same run (Limit/...).
//   ./dev bench kernels --benchmark_filter='Limit|Matmul/q4_k'
// GB/s counts packed bytes streamed once per call; GOP/s counts 2 operations per weight and row. Threads share the strips, as the engine's threads do.
// Rates are per CPU time times threads, so a busy machine does not spoil them (its caches and bus do).
#include "kernels/matmul/matmul.h"

#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"

namespace sluice::kernels {
namespace {

constexpr uint64_t kK = 2560;
constexpr uint64_t kOutputs = 8192;

class Buffer {
 public:
  explicit Buffer(size_t bytes) : memory_(bytes + 64) { data_ = memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64; }
  uint8_t* data() { return data_; }

 private:
  std::vector<uint8_t> memory_;
  uint8_t* data_;
};

bool has(Isa isa) {
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::kAvx512) return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
  return true;
}

// Weights for a stream that no cache holds (few rows: about 400 MB), or one matrix (many rows).
struct Problem {
  Problem(DType weight, size_t rows)
      : type(weight),
        matrices(rows > 32 ? 1 : 400'000'000 / packed_bytes(weight, kOutputs, kK) + 1),
        weights(matrices * packed_bytes(weight, kOutputs, kK)),
        x(rows * kK * 4),
        q(rows * quantized_row_bytes(kK)),
        out(rows * kOutputs * 4) {
    std::mt19937 random(1);
    std::vector<uint8_t> rows_in(kOutputs * row_bytes(type, kK));
    for (auto& byte : rows_in) byte = static_cast<uint8_t>(random());
    const bool halves = info(type).block_elements == 1;
    for (size_t at = 0; halves && at < rows_in.size(); at += 2) rows_in[at + 1] = 0x3C;  // about 1 as f16, small as others
    pack(type, rows_in.data(), kOutputs, kK, weights.data());
    for (size_t m = 1; m < matrices; ++m) std::memcpy(weights.data() + m * packed_bytes(type, kOutputs, kK), weights.data(), packed_bytes(type, kOutputs, kK));
    auto* floats = reinterpret_cast<float*>(x.data());
    for (size_t i = 0; i < rows * kK; ++i) floats[i] = std::normal_distribution<float>()(random);
    quantize_for(Isa::kBaseline)({floats, kK, q.data(), quantized_row_bytes(kK), kK, 0, rows});
  }

  MatmulArgs args(size_t matrix, size_t rows, size_t thread, size_t threads) {
    const bool quantized = activation_format(type) == ActivationFormat::kQ8;
    MatmulArgs a{};
    a.weights = weights.data() + matrix * packed_bytes(type, kOutputs, kK);
    a.n = kOutputs;
    a.k = kK;
    a.activations = quantized ? q.data() : x.data();
    a.activation_stride = quantized ? quantized_row_bytes(kK) : kK * 4;
    a.out = reinterpret_cast<float*>(out.data());
    a.out_stride = kOutputs;
    a.rows = rows;
    a.strip_begin = kOutputs / 16 * thread / threads;
    a.strip_end = kOutputs / 16 * (thread + 1) / threads;
    return a;
  }

  DType type;
  size_t matrices;
  Buffer weights, x, q, out;
};

Problem* shared_problem = nullptr;  // one at a time; made by thread 0 before the loop's barrier

void matmul_speed(benchmark::State& state, DType type, Isa isa, size_t rows) {
  if (state.thread_index() == 0) shared_problem = new Problem(type, rows);
  const auto thread = static_cast<size_t>(state.thread_index()), threads = static_cast<size_t>(state.threads());
  size_t matrix = 0;
  for (auto _ : state) {
    Problem& problem = *shared_problem;
    matmul_for(type, isa)(problem.args(matrix, rows, thread, threads));
    matrix = (matrix + 1) % problem.matrices;
  }
  const double share = 1.0 / static_cast<double>(state.threads());
  const double weights = static_cast<double>(kOutputs * kK) * share;
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(static_cast<double>(packed_bytes(type, kOutputs, kK)) * share * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["GOP/s"] = Counter(2e-9 * weights * static_cast<double>(rows), Counter::kIsIterationInvariantRate);
  if (state.thread_index() == 0) {
    delete shared_problem;
    shared_problem = nullptr;
  }
}

// ---- Limits

Buffer* shared_stream = nullptr;
constexpr size_t kStreamBytes = 1u << 29;

void limit_read(benchmark::State& state) {
  if (state.thread_index() == 0) {
    shared_stream = new Buffer(kStreamBytes);
    std::memset(shared_stream->data(), 1, kStreamBytes);
  }
  const size_t bytes = kStreamBytes / static_cast<size_t>(state.threads());
  for (auto _ : state) {
    const auto* p = reinterpret_cast<const __m128i*>(shared_stream->data() + bytes * static_cast<size_t>(state.thread_index()));
    __m128i sum[8] = {};
    for (size_t i = 0; i < bytes / 16; i += 8) {
      _mm_prefetch(reinterpret_cast<const char*>(p + i) + 4096, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(p + i) + 4160, _MM_HINT_T0);
      for (size_t j = 0; j < 8; ++j) sum[j] = _mm_xor_si128(sum[j], _mm_load_si128(p + i + j));
    }
    for (auto& s : sum) benchmark::DoNotOptimize(s);
  }
  state.counters["GB/s"] = benchmark::Counter(static_cast<double>(bytes) * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  if (state.thread_index() == 0) delete shared_stream;
}

constexpr int kLimitSteps = 100'000;

[[gnu::target("avx512f,avx512vnni")]] void limit_vnni(benchmark::State& state) {
  if (!has(Isa::kAvx512)) return state.SkipWithError("no AVX-512 VNNI");
  const __m512i a = _mm512_set1_epi32(state.thread_index()), b = _mm512_set1_epi32(3);
  for (auto _ : state) {
    for (int i = 0; i < kLimitSteps; ++i) {
      asm volatile(
          "vpdpbusd %[a], %[b], %%zmm16\n vpdpbusd %[a], %[b], %%zmm17\n vpdpbusd %[a], %[b], %%zmm18\n vpdpbusd %[a], %[b], %%zmm19\n"
          "vpdpbusd %[a], %[b], %%zmm20\n vpdpbusd %[a], %[b], %%zmm21\n vpdpbusd %[a], %[b], %%zmm22\n vpdpbusd %[a], %[b], %%zmm23\n"
          "vpdpbusd %[a], %[b], %%zmm24\n vpdpbusd %[a], %[b], %%zmm25\n vpdpbusd %[a], %[b], %%zmm26\n vpdpbusd %[a], %[b], %%zmm27\n"
          :
          : [a] "v"(a), [b] "v"(b)
          : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27");
    }
  }
  state.counters["GOP/s"] = benchmark::Counter(12 * 128e-9 * kLimitSteps, benchmark::Counter::kIsIterationInvariantRate);
}

// vpmaddubsw, vpmaddwd, vpaddd: i32 after every 32 products.
[[gnu::target("avx2")]] void limit_avx2_i32(benchmark::State& state) {
  if (!has(Isa::kAvx2)) return state.SkipWithError("no AVX2");
  const __m256i a = _mm256_set1_epi32(state.thread_index()), b = _mm256_set1_epi32(3);
  for (auto _ : state) {
    for (int i = 0; i < kLimitSteps; ++i) {
      asm volatile(
          "vpmaddubsw %[a], %[b], %%ymm8\n vpmaddubsw %[a], %[b], %%ymm9\n vpmaddubsw %[a], %[b], %%ymm10\n vpmaddubsw %[a], %[b], %%ymm11\n"
          "vpmaddwd %%ymm8, %[b], %%ymm8\n vpmaddwd %%ymm9, %[b], %%ymm9\n vpmaddwd %%ymm10, %[b], %%ymm10\n vpmaddwd %%ymm11, %[b], %%ymm11\n"
          "vpaddd %%ymm8, %%ymm12, %%ymm12\n vpaddd %%ymm9, %%ymm13, %%ymm13\n vpaddd %%ymm10, %%ymm14, %%ymm14\n vpaddd %%ymm11, %%ymm15, %%ymm15\n"
          :
          : [a] "x"(a), [b] "x"(b)
          : "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
  }
  state.counters["GOP/s"] = benchmark::Counter(4 * 64e-9 * kLimitSteps, benchmark::Counter::kIsIterationInvariantRate);
}

void register_all() {
  for (const int threads : {1, 2}) {
    benchmark::RegisterBenchmark("Limit/read", limit_read)->Threads(threads);
    benchmark::RegisterBenchmark("Limit/vpdpbusd", limit_vnni)->Threads(threads);
    benchmark::RegisterBenchmark("Limit/avx2_i32", limit_avx2_i32)->Threads(threads);
  }
  constexpr DType kTypes[] = {DType::kQ8_0, DType::kQ4_K,   DType::kQ6_K,   DType::kQ4_0,  DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ5_K,
                              DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4, DType::kQ2_K, DType::kQ3_K, DType::kF16, DType::kBF16, DType::kF32};
  for (const DType type : kTypes) {
    for (const Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kBaseline}) {
      if (!has(isa)) continue;
      for (const size_t rows : {1u, 2u, 4u, 8u, 512u}) {
        if (isa == Isa::kBaseline && rows != 8) continue;
        for (const int threads : {1, 2}) {
          const std::string label = "Matmul/" + std::string(info(type).name) + "/" + std::string(name(isa)) + "/rows:" + std::to_string(rows);
          benchmark::RegisterBenchmark(label.c_str(), [=](benchmark::State& state) { matmul_speed(state, type, isa, rows); })
              ->Threads(threads)->Unit(benchmark::kMillisecond);
        }
      }
    }
  }
}

const bool registered = (register_all(), true);

}  // namespace
}  // namespace sluice::kernels
