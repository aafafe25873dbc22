// RMSNorm: against doubles, and every instruction set against the reference, bit for bit.
#include "kernels/rmsnorm/rmsnorm.h"

#include "kernels/vec/kernel_testing.h"

namespace sluice::kernels {
namespace {

struct Case {
  size_t rows, groups, width;
  bool weighted;
};

RmsNormArgs args_for(const Case& c, const Floats& x, const Floats& weight, Floats* out, size_t stride) {
  return {x.data(), stride, c.weighted ? weight.data() : nullptr, out->data(), stride, c.width, c.groups, 1e-6f, 0, c.rows};
}

size_t padded(size_t width) { return (width + 15) / 16 * 16; }

TEST(RmsNorm, MatchesDoubles) {
  Random random(1);
  const Case c{3, 2, 40, true};
  const size_t stride = padded(c.groups * c.width);
  Floats x(c.rows * stride), weight(padded(c.width)), out(c.rows * stride);
  x.fill([&] { return random.normal(3.0f); });
  weight.fill([&] { return random.normal(); });
  rmsnorm_for(Isa::kBaseline)(args_for(c, x, weight, &out, stride));
  for (size_t row = 0; row < c.rows; ++row) {
    for (size_t group = 0; group < c.groups; ++group) {
      const size_t base = row * stride + group * c.width;
      double sum = 0;
      for (size_t i = 0; i < c.width; ++i) sum += static_cast<double>(x[base + i]) * static_cast<double>(x[base + i]);
      const double r = 1 / std::sqrt(sum / static_cast<double>(c.width) + 1e-6);
      for (size_t i = 0; i < c.width; ++i) {
        const double expected = static_cast<double>(x[base + i]) * r * static_cast<double>(weight[i]);
        EXPECT_NEAR(static_cast<double>(out[base + i]), expected, 1e-6 * std::fabs(expected) + 1e-12);
      }
    }
  }
}

TEST(RmsNorm, EveryIsaGivesTheReferencesBits) {
  Random random(2);
  for (const Isa isa : wide_isas()) {
    for (int round = 0; round < 200; ++round) {
      const Case c{random.in(1, 4), random.in(1, 5), random.in(1, 150), random.in(0, 3) != 0};
      const size_t stride = padded(c.groups * c.width);
      Floats x(c.rows * stride), weight(padded(c.width));
      const float scale = std::ldexp(1.0f, static_cast<int>(random.in(0, 80)) - 60);
      const bool odd = random.in(0, 9) == 0;
      x.fill([&] { return odd ? random.awkward(scale) : random.normal(scale); });
      weight.fill([&] { return random.normal(); });
      Floats expected(x), actual(x);
      RmsNormArgs args = args_for(c, x, weight, &expected, stride);
      rmsnorm_for(Isa::kBaseline)(args);
      args.out = actual.data();
      if (round % 2 != 0) args.x = actual.data();  // in place
      rmsnorm_for(isa)(args);
      ASSERT_TRUE(same_bits(expected, actual)) << name(isa) << " width " << c.width << " groups " << c.groups;
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
