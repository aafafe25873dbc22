// Dequantisation against values made by the format's own implementation: bit for bit, 13 block types.
#include "kernels/dequant/dequant.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/half.h"

namespace sluice::kernels {
namespace {

struct QuantBlocks {
  std::vector<uint8_t> blocks;
  std::vector<float> values;
};

// The two tensors of a safetensors file whose header is known: "NAME" ... "data_offsets":[begin,end].
std::string tensor_bytes(const std::string& file, const std::string& tensor) {
  uint64_t header = 0;
  std::memcpy(&header, file.data(), 8);
  const size_t at = file.find("data_offsets\":[", file.find("\"" + tensor + "\"")) + 15;
  size_t comma = 0;
  const size_t begin = std::stoul(file.substr(at, 20), &comma);
  const size_t end = std::stoul(file.substr(at + comma + 1, 20));
  return file.substr(8 + header + begin, end - begin);
}

bool load_quant_blocks(const std::string& name, QuantBlocks* out) {
  std::ifstream in(std::string(SLUICE_SHARED_DIR) + "/golden/quant-blocks/" + name + ".safetensors", std::ios::binary);
  if (!in) return false;
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  const std::string blocks = tensor_bytes(file, "blocks"), values = tensor_bytes(file, "values");
  out->blocks.assign(blocks.begin(), blocks.end());
  out->values.resize(values.size() / 4);
  std::memcpy(out->values.data(), values.data(), values.size());
  return true;
}

class GoldenBlocks : public testing::TestWithParam<const char*> {};

TEST_P(GoldenBlocks, SameBits) {
  QuantBlocks golden;
  if (!load_quant_blocks(GetParam(), &golden)) GTEST_SKIP() << "no golden/quant-blocks in " << SLUICE_SHARED_DIR;
  std::string lower = GetParam();
  for (char& c : lower) c = static_cast<char>(std::tolower(c));
  const auto type = dtype_from_name(lower);
  ASSERT_TRUE(type.has_value());
  ASSERT_EQ(golden.blocks.size(), row_bytes(*type, golden.values.size()));
  std::vector<float> out(golden.values.size());
  dequantize_row(*type, golden.blocks.data(), out.size(), out.data());
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(golden.values[i])) << "element " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GoldenBlocks,
                         testing::Values("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Dequantize, FloatTypesAreWidenedExactly) {
  const uint16_t halves[] = {0x0000, 0x8000, 0x0001, 0x3C00, 0xFBFF, 0x7C00};
  float out[6];
  dequantize_row(DType::kF16, reinterpret_cast<const uint8_t*>(halves), 6, out);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(f16_to_f32(halves[i])));
  dequantize_row(DType::kBF16, reinterpret_cast<const uint8_t*>(halves), 6, out);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), static_cast<uint32_t>(halves[i]) << 16);
  const float floats[] = {1.5f, -0.0f};
  dequantize_row(DType::kF32, reinterpret_cast<const uint8_t*>(floats), 2, out);
  EXPECT_EQ(std::memcmp(out, floats, 8), 0);
}

TEST(Dequantize, IntegersAreNoWeights) {
  EXPECT_TRUE(is_weight_type(DType::kQ3_K));
  EXPECT_TRUE(is_weight_type(DType::kBF16));
  EXPECT_FALSE(is_weight_type(DType::kI32));
  EXPECT_FALSE(is_weight_type(DType::kF64));
}

}  // namespace
}  // namespace sluice::kernels
