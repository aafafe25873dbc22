// quantize: the rule on small examples, and every instruction set against the reference by memcmp.
#include "kernels/quantize/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/vec/fma.h"

namespace sluice::kernels {
namespace {

bool has(Isa isa) {
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::kAvx512) return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw");
  return true;
}

std::vector<QuantizedGroup> quantized(Isa isa, const std::vector<float>& x, size_t k) {
  std::vector<QuantizedGroup> out(x.size() / k * quantized_row_bytes(k) / sizeof(QuantizedGroup));
  quantize_for(isa)({x.data(), k, reinterpret_cast<uint8_t*>(out.data()), quantized_row_bytes(k), k, 0, x.size() / k});
  return out;
}

TEST(Quantize, LargestMagnitudeBecomes127) {
  std::vector<float> x(32, 0.0f);
  x[0] = 12.7f, x[1] = -6.35f, x[2] = 0.05f, x[3] = 0.15f;
  x[16] = -1.0f;
  const QuantizedGroup group = quantized(Isa::kBaseline, x, 32)[0];
  EXPECT_EQ(group.q[0], 127);
  EXPECT_EQ(group.q[1], -64);  // -63.5: ties to even
  EXPECT_EQ(group.q[2], 0);    // 0.5
  EXPECT_EQ(group.q[3], 2);    // 1.5
  EXPECT_EQ(group.q[16], -127);
  EXPECT_EQ(group.d[0], 12.7f / 127.0f);
  EXPECT_EQ(group.d[1], 1.0f / 127.0f);
  EXPECT_EQ(group.n[0], -128 * 65);
  EXPECT_EQ(group.n[1], 128 * 127);
  EXPECT_EQ(group.t[0], group.d[0] * (-128.0f * 65));
  EXPECT_EQ(group.s, std::fma(group.d[1], -127.0f, group.d[0] * 65.0f));
}

TEST(Quantize, EdgesAreDefined) {
  std::vector<float> x(96, 0.0f);
  x[0] = 0x1p-101f;                                 // too small: the block is zero
  x[32] = std::numeric_limits<float>::quiet_NaN();  // ignored
  x[33] = 1.0f;
  x[64] = std::numeric_limits<float>::infinity();  // d = inf, q = 0
  x[65] = 5.0f;
  const auto groups = quantized(Isa::kBaseline, x, 96);
  EXPECT_EQ(groups[0].q[0], 0);
  EXPECT_EQ(groups[0].d[0], 0.0f);
  EXPECT_EQ(groups[1].q[0], 0);
  EXPECT_EQ(groups[1].q[1], 127);
  EXPECT_EQ(groups[2].q[0], 0);
  EXPECT_EQ(groups[2].q[1], 0);
  EXPECT_EQ(groups[2].d[0], std::numeric_limits<float>::infinity());
}

// Which NaN an operation returns is not defined: every NaN becomes one.
void canonical_nans(std::vector<QuantizedGroup>& groups) {
  for (auto& group : groups) {
    for (float* f : {&group.t[0], &group.t[1], &group.s}) *f = std::isnan(*f) ? std::numeric_limits<float>::quiet_NaN() : *f;
  }
}

TEST(Quantize, InstructionSetsGiveTheSameBits) {
  std::mt19937 random(1);
  const float special[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-120f, 0x1p-100f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN, 0.5f, 1.5f};
  for (const size_t k : {32u, 64u, 96u, 160u, 256u, 288u, 576u, 2560u}) {
    std::vector<float> x(3 * k);
    for (auto& v : x) {
      v = std::normal_distribution<float>()(random) * std::exp2(static_cast<float>(static_cast<int>(random() % 60) - 30));
      if (random() % 64 == 0) v = special[random() % std::size(special)];
    }
    auto want = quantized(Isa::kBaseline, x, k);
    canonical_nans(want);
    for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
      if (!has(isa)) continue;
      auto got = quantized(isa, x, k);
      canonical_nans(got);
      EXPECT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof(QuantizedGroup)), 0) << name(isa) << " k " << k;
    }
  }
}

// As std::ilogb, but 0 for what has none: zero, infinities, NaN.
int exponent(float x) { return x != 0 && std::isfinite(x) ? std::ilogb(x) : 0; }

TEST(FmaExact, EqualsTheInstruction) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 2'000'000; ++i) {
    float v[3];
    for (auto& f : v) f = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (i % 2) v[2] = -v[0] * v[1] * (1.0f + static_cast<float>(static_cast<int>(random() % 9) - 4) * 0x1p-23f);  // cancellation
    if (i % 4 == 2) v[2] = std::ldexp(v[2], static_cast<int>(random() % 60) - 30 + exponent(v[0]) + exponent(v[1]) - exponent(v[2]));
    const float want = std::fma(v[0], v[1], v[2]), got = fma_exact(v[0], v[1], v[2]);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got));
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(want), std::bit_cast<uint32_t>(got)) << v[0] << " " << v[1] << " " << v[2];
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
