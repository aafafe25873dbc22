// The emulated fma against libm's, and the math functions against long double: the error bounds that math.h states.
#include <gtest/gtest.h>

#include "kernels/vec/kernel_testing.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {
namespace {

uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }

void expect_fma(float a, float b, float c) {
  const float expected = std::fma(a, b, c);
  const float actual = fma_exact(a, b, c);
  if (std::isnan(expected) && std::isnan(actual)) return;
  ASSERT_EQ(bits_of(expected), bits_of(actual)) << std::hexfloat << a << " * " << b << " + " << c;
}

TEST(FmaExact, EqualsFmaOnRandomBits) {
  Random random(1);
  for (int i = 0; i < 2'500'000; ++i) expect_fma(random.any(), random.any(), random.any());
}

TEST(FmaExact, EqualsFmaNearMidpoints) {
  // Products whose sum with c falls on or beside a midpoint of two floats: c is large against a * b, a and b have few bits.
  Random random(2);
  for (int i = 0; i < 2'500'000; ++i) {
    const float a = std::ldexp(static_cast<float>(random.in(1, 4096)) + (random.in(0, 1) != 0 ? 0x1p-11f : 0.0f), -static_cast<int>(random.in(0, 40)));
    const float b = std::ldexp(static_cast<float>(random.in(1, 4096)), -static_cast<int>(random.in(0, 40)));
    const float c = std::ldexp(static_cast<float>(0x800000u + random.in(0, 0x7FFFFF)), -static_cast<int>(random.in(0, 60)));
    expect_fma(a, random.in(0, 1) != 0 ? b : -b, random.in(0, 1) != 0 ? c : -c);
  }
}

TEST(FmaExact, EqualsFmaWithSubnormalResults) {
  Random random(3);
  for (int i = 0; i < 2'500'000; ++i) {
    const float a = std::ldexp(random.normal(), -static_cast<int>(random.in(50, 80)));
    const float b = std::ldexp(random.normal(), -static_cast<int>(random.in(50, 80)));
    const float c = std::bit_cast<float>((random.bits() & 0x80000000u) | static_cast<uint32_t>(random.in(0, 0x01800000)));
    expect_fma(a, b, c);
  }
}

TEST(FmaExact, EqualsFmaOnOddValues) {
  Random random(4);
  for (int i = 0; i < 2'500'000; ++i) expect_fma(random.awkward(), random.awkward(), random.awkward());
  expect_fma(0.0f, 1.0f, -0.0f);
  expect_fma(-0.0f, 1.0f, -0.0f);
  expect_fma(1.0f, 1.0f, -1.0f);
}

// Units in the last place of the true value, that a float result is off by.
double ulps(float actual, long double expected) {
  const float nearest = static_cast<float>(expected);
  const float magnitude = std::fabs(nearest) < 0x1p-126f ? 0x1p-126f : std::fabs(nearest);
  const long double ulp = static_cast<long double>(std::nextafter(magnitude, std::numeric_limits<float>::infinity()) - magnitude);
  return static_cast<double>(std::fabs(static_cast<long double>(actual) - expected) / ulp);
}

// The largest error over [low, high], `step` bit patterns apart (both of one sign).
template <class F, class G>
double worst_ulps(float low, float high, uint32_t step, const F& f, const G& truth) {
  uint32_t from = bits_of(low);
  uint32_t to = bits_of(high);
  if (from > to) std::swap(from, to);
  double worst = 0;
  float worst_x = 0;
  for (uint32_t b = from; b <= to; b += step) {
    const float x = std::bit_cast<float>(b);
    const double error = ulps(f(x), truth(static_cast<long double>(x)));
    if (!(error <= worst)) worst = error, worst_x = x;
  }
  EXPECT_FALSE(std::isnan(worst)) << worst_x;
  return worst;
}

TEST(Math, ExpIsWithinOneUlp) {
  const auto truth = [](long double x) { return std::exp(x); };
  EXPECT_LE(worst_ulps(1e-30f, kExpHigh, 1999, exp32, truth), 1.0);
  EXPECT_LE(worst_ulps(-1e-30f, kExpLow, 1999, exp32, truth), 1.0);
  EXPECT_LE(worst_ulps(kExpHigh, 88.0f, 3, exp32, truth), 1.0);
  EXPECT_LE(worst_ulps(kExpLow, -87.0f, 3, exp32, truth), 1.0);
  EXPECT_EQ(exp32(0.0f), 1.0f);
  EXPECT_EQ(exp32(-0.0f), 1.0f);
}

TEST(Math, ExpAtTheEnds) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bits_of(exp32(-infinity)), 0u);
  EXPECT_EQ(bits_of(exp32(std::nextafter(kExpLow, -infinity))), 0u);
  EXPECT_GE(exp32(kExpLow), 0x1p-126f);
  EXPECT_TRUE(std::isfinite(exp32(kExpHigh)));
  EXPECT_EQ(exp32(std::nextafter(kExpHigh, infinity)), infinity);
  EXPECT_EQ(exp32(1e30f), infinity);
  EXPECT_EQ(bits_of(exp32(-1e30f)), 0u);
  EXPECT_TRUE(std::isnan(exp32(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exp32(std::bit_cast<float>(0x7F800001u))));
}

TEST(Math, Exp2DecayIsWithinItsBound) {
  const auto truth = [](long double x) { return std::exp2(x); };
  EXPECT_LE(worst_ulps(-1e-30f, -126.0f, 1999, exp2_decay32, truth), 2.0);
  EXPECT_LE(worst_ulps(1e-30f, 127.0f, 1999, exp2_decay32, truth), 2.0);
  EXPECT_EQ(exp2_decay32(-126.0f), 0x1p-126f);
  EXPECT_EQ(exp2_decay32(-126.01f), 0.0f);
  EXPECT_EQ(exp2_decay32(-std::numeric_limits<float>::infinity()), 0.0f);
  EXPECT_EQ(exp2_decay32(0.0f), 1.0f);
}

TEST(Math, SoftplusIsWithinItsBound) {
  const auto truth = [](long double x) { return x > 60 ? x : std::log1p(std::exp(x)); };
  EXPECT_LE(worst_ulps(-1e-30f, -87.0f, 1999, softplus32, truth), 3.0);
  EXPECT_LE(worst_ulps(1e-30f, 1e30f, 1999, softplus32, truth), 3.0);
  for (float x = 20.0f; x < 40.0f; x += 0.37f) EXPECT_EQ(softplus32(x), x);  // PyTorch's threshold
  EXPECT_EQ(softplus32(-200.0f), 0.0f);
  EXPECT_TRUE(std::isnan(softplus32(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Math, SigmoidAndSiluAreWithinTheirBounds) {
  const auto sigmoid = [](long double x) { return 1 / (1 + std::exp(-x)); };
  const auto silu = [](long double x) { return x / (1 + std::exp(-x)); };
  EXPECT_LE(worst_ulps(-1e-30f, -80.0f, 1999, sigmoid32, sigmoid), 2.5);
  EXPECT_LE(worst_ulps(1e-30f, 200.0f, 1999, sigmoid32, sigmoid), 2.5);
  EXPECT_LE(worst_ulps(-1e-30f, -80.0f, 1999, silu32, silu), 3.0);
  EXPECT_LE(worst_ulps(1e-30f, 200.0f, 1999, silu32, silu), 3.0);
  EXPECT_EQ(silu32(-200.0f), 0.0f);
  EXPECT_EQ(silu32(0.0f), 0.0f);
}

TEST(Math, TanhIsWithinItsBound) {
  const auto truth = [](long double x) { return std::tanh(x); };
  EXPECT_LE(worst_ulps(1e-30f, 50.0f, 1999, tanh32, truth), 2.0);
  EXPECT_LE(worst_ulps(-1e-30f, -50.0f, 1999, tanh32, truth), 2.0);
  EXPECT_EQ(tanh32(std::numeric_limits<float>::infinity()), 1.0f);
  EXPECT_EQ(tanh32(-1e30f), -1.0f);
}

TEST(Math, GeluIsWithinItsBound) {
  const long double k = std::sqrt(2 / std::acos(-1.0L));
  for (float x = -30.0f; x < 30.0f; x += 0.00137f) {
    const long double y = static_cast<long double>(x);
    const long double truth = 0.5L * y * (1 + std::tanh(k * (y + 0.044715L * y * y * y)));
    ASSERT_NEAR(static_cast<double>(gelu_tanh32(x)), static_cast<double>(truth), 1e-6 * std::max(1.0, std::fabs(static_cast<double>(x)))) << x;
  }
  EXPECT_EQ(gelu_tanh32(1e30f), 1e30f);
  EXPECT_EQ(gelu_tanh32(-1e30f), 0.0f);
}

}  // namespace
}  // namespace sluice::kernels
