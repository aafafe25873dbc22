#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/dtype.h"
#include "base/half.h"
#include "base/isa.h"
#include "base/result.h"

namespace sluice {
namespace {

TEST(Half, EveryF16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = f16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    EXPECT_EQ(f32_to_f16(value), bits);
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(f32_to_f16(1.0f + 0x1p-11f), 0x3C00);  // tie, down to even
  EXPECT_EQ(f32_to_f16(1.0f + 0x3p-11f), 0x3C02);  // tie, up to even
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7BFF);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(f32_to_f16(0x1p-25f), 0x0000);
  EXPECT_EQ(f32_to_f16(std::nextafter(0x1p-25f, 1.0f)), 0x0001);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7C00);
}

TEST(BFloat16, RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0f + 0x1p-8f), 0x3F80);
  EXPECT_EQ(f32_to_bf16(1.0f + 0x3p-8f), 0x3F82);
  EXPECT_EQ(bf16_to_f32(0x3F80), 1.0f);
}

TEST(DType, NamesAndIdsFindTheirType) {
  EXPECT_EQ(dtype_from_name("q4_k"), DType::kQ4_K);
  EXPECT_EQ(dtype_from_ggml(39), DType::kMXFP4);
  EXPECT_FALSE(dtype_from_ggml(4).has_value());  // removed from the format
  EXPECT_EQ(row_bytes(DType::kQ6_K, 512), 420u);
}

TEST(Isa, NamesFindTheirInstructionSet) {
  EXPECT_EQ(isa_from_name("avx512"), Isa::kAvx512);
  EXPECT_FALSE(isa_from_name("sse9").has_value());
}

Result<int> half_of(int value) {
  if (value % 2 != 0) return Error{"odd"};
  return value / 2;
}
Result<int> quarter_of(int value) {
  SLUICE_TRY(const int half, half_of(value));
  return half_of(half);
}

TEST(Result, TryPassesTheErrorOn) {
  EXPECT_EQ(*quarter_of(8), 2);
  EXPECT_EQ(quarter_of(6).error().message, "odd");
}

}  // namespace
}  // namespace sluice
