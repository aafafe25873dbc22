// Elementwise ops: what they compute, and every instruction set against the reference, bit for bit.
#include "kernels/elementwise/elementwise.h"

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

constexpr Elementwise kAll[] = {Elementwise::kAdd, Elementwise::kScale, Elementwise::kSoftcap};

TEST(ElementwiseOps, ComputeWhatTheirNamesSay) {
  Floats a(16, 3.0f), b(16, 4.0f), out(16);
  ElementwiseArgs args{a.data(), 16, b.data(), 16, out.data(), 16, 2.0f, 16, 0, 1};
  elementwise_for(Elementwise::kAdd, Isa::kBaseline)(args);
  EXPECT_EQ(out[5], 7.0f);
  elementwise_for(Elementwise::kScale, Isa::kBaseline)(args);
  EXPECT_EQ(out[5], 6.0f);
  elementwise_for(Elementwise::kSoftcap, Isa::kBaseline)(args);
  EXPECT_NEAR(out[5], 2.0 * std::tanh(1.5), 1e-6);
}

TEST(ElementwiseOps, EveryIsaGivesTheReferencesBits) {
  Random random(2);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 300; ++round) {
      const Elementwise op = kAll[round % 3];
      const size_t rows = random.in(1, 3);
      const size_t width = 16 * random.in(1, 20);
      Floats a(rows * width), b(rows * width), expected(rows * width);
      a.fill([&] { return round % 2 != 0 ? random.any() : random.awkward(20.0f); });
      b.fill([&] { return random.awkward(); });
      Floats actual(a);
      ElementwiseArgs args{a.data(), width, b.data(), width, expected.data(), width, random.normal(30.0f), width, 0, rows};
      elementwise_for(op, Isa::kBaseline)(args);
      args.a = actual.data();
      args.out = actual.data();
      elementwise_for(op, isa)(args);
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa);
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
