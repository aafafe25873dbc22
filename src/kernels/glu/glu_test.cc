// Gated units: against doubles, and every instruction set against the reference, bit for bit.
#include "kernels/glu/glu.h"

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

constexpr Activation kAll[] = {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu2};

TEST(Glu, MatchesDoubles) {
  Random random(1);
  Floats gate(64), up(64), out(64);
  gate.fill([&] { return random.normal(3.0f); });
  up.fill([&] { return random.normal(); });
  for (const Activation activation : kAll) {
    glu_for(activation, Isa::kBaseline)({gate.data(), 64, up.data(), 64, out.data(), 64, 64, 0, 1});
    for (size_t i = 0; i < 64; ++i) {
      const double x = static_cast<double>(gate[i]);
      double y = x > 0 ? x * x : 0;
      if (activation == Activation::kSilu) y = x / (1 + std::exp(-x));
      if (activation == Activation::kGeluTanh) y = 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
      EXPECT_NEAR(static_cast<double>(out[i]), y * static_cast<double>(up[i]), 2e-6 * (1 + std::fabs(x)));
    }
  }
}

TEST(Glu, EveryIsaGivesTheReferencesBits) {
  Random random(2);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 300; ++round) {
      const Activation activation = kAll[round % 3];
      const size_t rows = random.in(1, 3);
      const size_t width = 16 * random.in(1, 20);
      Floats gate(rows * width), up(rows * width), expected(rows * width);
      if (round % 5 == 0) {
        gate.fill([&] { return random.any(); });
      } else {
        gate.fill([&] { return random.awkward(10.0f); });
      }
      up.fill([&] { return random.awkward(); });
      Floats actual(round % 2 != 0 ? gate : up);
      GluArgs args{gate.data(), width, round % 4 == 3 ? nullptr : up.data(), width, expected.data(), width, width, 0, rows};
      glu_for(activation, Isa::kBaseline)(args);
      if (round % 2 != 0) args.gate = actual.data();
      if (round % 2 == 0) args.up = actual.data();
      args.out = actual.data();
      glu_for(activation, isa)(args);
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa);
    }
  }
}

TEST(Glu, EveryIsaAgreesAllOverTheFloats) {
  // Every 8191st bit pattern: all exponents, both signs, subnormals, NaN payloads. Through silu this is exp; relu2 and gelu follow.
  constexpr size_t kCount = (1ull << 32) / 8191 / 16 * 16;
  Floats gate(kCount), expected(kCount), actual(kCount);
  for (size_t i = 0; i < kCount; ++i) gate[i] = std::bit_cast<float>(static_cast<uint32_t>(i * 8191));
  for (const Activation activation : kAll) {
    glu_for(activation, Isa::kBaseline)({gate.data(), kCount, nullptr, 0, expected.data(), kCount, kCount, 0, 1});
    for (const Isa isa : wide_isas()) {
      glu_for(activation, isa)({gate.data(), kCount, nullptr, 0, actual.data(), kCount, kCount, 0, 1});
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa);
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
