// matmul: packing loses nothing, the reference is close to exact arithmetic, and every instruction set gives the reference's bits for random shapes, rows,
// values (extremes included), gathers, bias and accumulation.
#include "kernels/matmul/matmul.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/dequant/dequant.h"

namespace sluice::kernels {
namespace {

using Random = std::mt19937;

constexpr DType kTypes[] = {DType::kF32,    DType::kF16,   DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,   DType::kQ5_0,   DType::kQ5_1,
                            DType::kQ2_K,   DType::kQ3_K,  DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4};

bool has(Isa isa) {
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::kAvx512) return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
  return true;
}

// 64-byte aligned bytes with a red zone of 0xEE behind.
class Aligned {
 public:
  explicit Aligned(size_t bytes) : bytes_(bytes), memory_(bytes + 64 + kZone, 0) {
    data_ = memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64;
    std::memset(data_ + bytes, 0xEE, kZone);
  }
  Aligned(const Aligned&) = delete;
  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return bytes_; }
  bool intact() const {
    for (size_t i = 0; i < kZone; ++i) {
      if (data_[bytes_ + i] != 0xEE) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kZone = 64;
  size_t bytes_;
  std::vector<uint8_t> memory_;
  uint8_t* data_;
};

enum class Values { kSane, kExtreme };

float sane(Random& random) { return std::normal_distribution<float>()(random); }

float extreme(Random& random) {
  const float special[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-130f, 0x1p-101f, 1e30f, -1e30f, 3e38f, INFINITY, -INFINITY, NAN, 127.0f, -127.0f};
  return random() % 8 == 0 ? special[random() % std::size(special)] : sane(random) * std::exp2(static_cast<float>(static_cast<int>(random() % 40) - 20));
}

// Places of f16 scales in a block, as byte offsets.
std::vector<uint32_t> half_offsets(DType type) {
  switch (type) {
    case DType::kQ2_K: return {80, 82};
    case DType::kQ3_K: return {108};
    case DType::kQ6_K: return {208};
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K: return {0, 2};
    case DType::kMXFP4: return {};
    default: return {0};
  }
}

void random_weights(DType type, Values values, Random& random, uint8_t* out, uint64_t bytes) {
  const auto put = [&](uint64_t at, float value) {
    const uint16_t half = type == DType::kBF16 ? f32_to_bf16(value) : f32_to_f16(value);
    std::memcpy(out + at, &half, 2);
  };
  if (type == DType::kF32) {
    for (uint64_t at = 0; at < bytes; at += 4) {
      const float value = values == Values::kSane ? sane(random) : extreme(random);
      std::memcpy(out + at, &value, 4);
    }
    return;
  }
  if (type == DType::kF16 || type == DType::kBF16) {
    for (uint64_t at = 0; at < bytes; at += 2) put(at, values == Values::kSane ? sane(random) : extreme(random));
    return;
  }
  const uint32_t fill = random() % 4;  // the largest codes, the smallest, or any
  for (uint64_t i = 0; i < bytes; ++i) out[i] = static_cast<uint8_t>(values == Values::kExtreme && fill == 0 ? 0xFF : random());
  for (uint64_t block = 0; block < bytes; block += info(type).block_bytes) {
    for (const uint32_t at : half_offsets(type)) put(block + at, values == Values::kSane ? 0.01f * sane(random) : extreme(random));
    if (type == DType::kMXFP4 && values == Values::kSane) out[block] = static_cast<uint8_t>(120 + random() % 8);
  }
}

struct Case {
  DType type;
  uint64_t n, k;
  size_t rows, rows_stored;
  Values values;
  bool bias, accumulate, gather;
};

// Everything that a call reads, prepared once for all instruction sets.
struct Prepared {
  Prepared(const Case& c, Random& random)
      : n_padded((c.n + 15) / 16 * 16),
        checkpoint(c.n * row_bytes(c.type, c.k)),
        packed(packed_bytes(c.type, c.n, c.k)),
        x_stride((c.k + 15) / 16 * 16 + 16),
        x(c.rows_stored * x_stride * 4),
        q(c.rows_stored * quantized_row_bytes(c.k)),
        bias(n_padded, 0.0f),
        before(c.rows_stored * (n_padded + 16)) {
    random_weights(c.type, c.values, random, checkpoint.data(), checkpoint.size());
    pack(c.type, checkpoint.data(), c.n, c.k, packed.data());
    auto* floats = reinterpret_cast<float*>(x.data());
    for (size_t row = 0; row < c.rows_stored; ++row) {
      const bool wild = c.values == Values::kExtreme && random() % 2 == 0;
      for (size_t i = 0; i < c.k; ++i) {
        float value = wild ? extreme(random) : sane(random);
        if (c.values == Values::kExtreme && row % 3 == 2) value = row % 2 == 0 ? 1.0f : -1.0f;  // all q at their bound, one sign
        floats[row * x_stride + i] = value;
      }
    }
    if (activation_format(c.type) == ActivationFormat::kQ8) {
      quantize_for(Isa::kBaseline)({floats, x_stride, q.data(), quantized_row_bytes(c.k), c.k, 0, c.rows_stored});
    }
    for (size_t i = 0; i < c.n; ++i) bias[i] = sane(random);
    for (auto& v : before) v = sane(random);
    for (size_t i = 0; i < c.rows; ++i) {
      in_rows.push_back(static_cast<int32_t>(c.gather ? random() % c.rows_stored : i));
      out_rows.push_back(static_cast<int32_t>(c.gather ? (i * 7 + 3) % c.rows_stored : i));
    }
  }

  std::vector<float> run(const Case& c, Isa isa, size_t rows_at_once) const {
    std::vector<float> out = before;
    MatmulArgs args{};
    args.weights = packed.data();
    args.n = c.n;
    args.k = c.k;
    const bool quantized = activation_format(c.type) == ActivationFormat::kQ8;
    args.activations = quantized ? q.data() : x.data();
    args.activation_stride = quantized ? quantized_row_bytes(c.k) : x_stride * 4;
    args.bias = c.bias ? bias.data() : nullptr;
    args.out = out.data();
    args.out_stride = n_padded + 16;
    args.accumulate = c.accumulate;
    args.strip_end = n_padded / 16;
    for (size_t row = 0; row < c.rows; row += rows_at_once) {
      args.in_rows = in_rows.data() + row;
      args.out_rows = out_rows.data() + row;
      args.rows = std::min(rows_at_once, c.rows - row);
      matmul_for(c.type, isa)(args);
    }
    return out;
  }

  size_t n_padded;
  Aligned checkpoint, packed;
  size_t x_stride;
  Aligned x, q;
  std::vector<float> bias, before;
  std::vector<int32_t> in_rows, out_rows;
};

// Equal bits; any NaN equals any NaN (which NaN an operation returns depends on the order of its operands).
testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) {
      return testing::AssertionFailure() << "element " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return testing::AssertionSuccess();
}

class Matmul : public testing::TestWithParam<DType> {};

uint64_t random_k(DType type, Random& random) {
  const uint64_t block = info(type).block_elements;
  return block == 1 ? 1 + random() % 200 : block * (1 + random() % (block == 32 ? 11 : 4));
}

TEST_P(Matmul, PackedRowsUnpackToTheSameBits) {
  Random random(1);
  for (int round = 0; round < 8; ++round) {
    const Case c{GetParam(), 1 + random() % 40, random_k(GetParam(), random), 1, 1, round % 2 == 0 ? Values::kSane : Values::kExtreme, false, false, false};
    const Prepared prepared(c, random);
    ASSERT_TRUE(prepared.packed.intact());
    for (uint64_t row = 0; row < c.n; ++row) {
      std::vector<float> want(c.k), got(c.k);
      dequantize_row(c.type, prepared.checkpoint.data() + row * row_bytes(c.type, c.k), c.k, want.data());
      unpack_row(c.type, prepared.packed.data(), c.n, c.k, row, got.data());
      ASSERT_TRUE(same_bits(want, got)) << "row " << row << " of " << c.n << " x " << c.k;
    }
  }
}

TEST_P(Matmul, PackedSizeIsTheCheckpoints) {
  const uint64_t n = 2560, k = 8192;
  const double ratio = static_cast<double>(packed_bytes(GetParam(), n, k)) / static_cast<double>(n * row_bytes(GetParam(), k));
  EXPECT_LE(ratio, 1.03);
}

TEST_P(Matmul, ReferenceIsCloseToExactArithmetic) {
  Random random(2);
  const Case c{GetParam(), 20, info(GetParam()).block_elements == 1 ? 300 : 512u, 3, 3, Values::kSane, true, true, false};
  const Prepared prepared(c, random);
  const auto out = prepared.run(c, Isa::kBaseline, 3);
  const auto* x = reinterpret_cast<const float*>(prepared.x.data());
  std::vector<float> w(c.k);
  for (uint64_t o = 0; o < c.n; ++o) {
    dequantize_row(c.type, prepared.checkpoint.data() + o * row_bytes(c.type, c.k), c.k, w.data());
    for (size_t row = 0; row < c.rows; ++row) {
      double sum = 0, norm = 0;
      for (uint64_t i = 0; i < c.k; ++i) {
        sum += static_cast<double>(w[i]) * x[row * prepared.x_stride + i];
        norm += static_cast<double>(w[i]) * w[i];
      }
      const size_t at = row * (prepared.n_padded + 16) + o;
      const double want = sum + prepared.bias[o] + prepared.before[at];
      // 8-bit activations err by 0.4 % of x rms per element (x ~ N(0, 1)); six sigma.
      const double tolerance = activation_format(c.type) == ActivationFormat::kF32 ? 1e-4 : 0.03 * std::sqrt(norm) + 1e-5;
      EXPECT_NEAR(out[at], want, tolerance) << "output " << o << " row " << row;
    }
  }
}

TEST_P(Matmul, InstructionSetsAndRowCountsGiveTheSameBits) {
  Random random(3);
  for (int round = 0; round < 13; ++round) {
    Case c{GetParam(), 1 + random() % 70, random_k(GetParam(), random), 1 + random() % 20, 24, round % 3 == 0 ? Values::kExtreme : Values::kSane,
           random() % 2 == 0, random() % 2 == 0, random() % 2 == 0};
    if (round == 12) c.rows = 150, c.rows_stored = 157, c.n = 37;  // beyond a block of rows
    const Prepared prepared(c, random);
    const auto want = prepared.run(c, Isa::kBaseline, c.rows);
    EXPECT_TRUE(same_bits(want, prepared.run(c, Isa::kBaseline, 1))) << "baseline, row by row";
    for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
      if (!has(isa)) continue;
      for (const size_t at_once : {size_t{1}, size_t{2}, size_t{3}, size_t{4}, size_t{7}, c.rows}) {
        ASSERT_TRUE(same_bits(want, prepared.run(c, isa, at_once)))
            << name(isa) << ", " << at_once << " rows at once of " << c.rows << ", n " << c.n << " k " << c.k << " round " << round;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Matmul, testing::ValuesIn(kTypes), [](const auto& test) { return std::string(sluice::info(test.param).name); });

}  // namespace
}  // namespace sluice::kernels
