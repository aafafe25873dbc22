// Mixture of experts: choice and sum against doubles, ties, and every instruction set against the reference, bit for bit.
#include "kernels/moe/moe.h"

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

struct Choice {
  Choice(Isa isa, const Floats& logits, size_t stride, size_t rows, uint32_t experts, uint32_t k, bool renormalize)
      : ids(rows * k), weights(rows * k), scratch((experts + 15) / 16 * 16) {
    moe_topk_for(isa)({logits.data(), stride, experts, k, renormalize, ids.data(), weights.data(), scratch.data(), 0, rows});
  }
  std::vector<int32_t> ids;
  Floats weights, scratch;
};

TEST(MoeTopk, TakesTheLargestAndTheLowestIndexOfEquals) {
  Floats logits(16, -100.0f);
  logits[0] = 1.0f;
  logits[1] = 3.0f;
  logits[2] = 2.0f;
  logits[3] = 3.0f;
  const Choice plain(Isa::kBaseline, logits, 16, 1, 4, 3, false);
  EXPECT_EQ(plain.ids, (std::vector<int32_t>{1, 3, 2}));
  const double sum = 2 * std::exp(3.0) + std::exp(2.0) + std::exp(1.0);
  EXPECT_NEAR(static_cast<double>(plain.weights[0]), std::exp(3.0) / sum, 1e-7);
  EXPECT_NEAR(static_cast<double>(plain.weights[2]), std::exp(2.0) / sum, 1e-7);
  const Choice renormalized(Isa::kBaseline, logits, 16, 1, 4, 3, true);
  EXPECT_NEAR(static_cast<double>(renormalized.weights[0] + renormalized.weights[1] + renormalized.weights[2]), 1.0, 1e-6);
}

TEST(MoeTopk, EveryIsaGivesTheReferencesBits) {
  Random random(2);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 200; ++round) {
      const size_t rows = random.in(1, 4);
      const uint32_t experts = static_cast<uint32_t>(random.in(1, 130));
      const uint32_t k = static_cast<uint32_t>(random.in(1, std::min<size_t>(8, experts)));
      const size_t stride = (experts + 15) / 16 * 16;
      Floats logits(rows * stride);
      const bool awkward = round % 5 == 0;
      for (size_t row = 0; row < rows; ++row) {
        for (size_t e = 0; e < experts; ++e) logits[row * stride + e] = awkward ? random.awkward(3.0f) : std::round(random.normal(4.0f));
      }
      const bool renormalize = random.in(0, 1) != 0;
      const Choice expected(Isa::kBaseline, logits, stride, rows, experts, k, renormalize);
      const Choice actual(isa, logits, stride, rows, experts, k, renormalize);
      ASSERT_EQ(expected.ids, actual.ids) << name(isa);
      ASSERT_TRUE(same_bits(expected.weights, actual.weights)) << name(isa);
    }
  }
}

TEST(MoeCombine, EveryIsaGivesTheReferencesBits) {
  Random random(3);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 100; ++round) {
      const size_t rows = random.in(1, 4);
      const uint32_t k = static_cast<uint32_t>(random.in(1, 8));
      const size_t width = 16 * random.in(1, 10);
      Floats y(rows * k * width), weights(rows * k), expected(rows * width);
      y.fill([&] { return random.awkward(); });
      weights.fill([&] { return random.normal(); });
      expected.fill([&] { return random.normal(); });
      Floats actual(expected);
      MoeCombineArgs args{y.data(), width, weights.data(), k, expected.data(), width, width, round % 2 != 0, 0, rows};
      moe_combine_for(Isa::kBaseline)(args);
      args.out = actual.data();
      moe_combine_for(isa)(args);
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa);
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
