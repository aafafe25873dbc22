// Synthetic files are real files: of every family that has a GGUF form, they load, count the parameters of their configuration and give finite logits.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "cli/golden_support.h"
#include "compiler/synth.h"
#include "kernels/dequant/dequant.h"
#include "models/family.h"

namespace sluice::cli {
namespace {

namespace fs = std::filesystem;

class Synth : public testing::TestWithParam<const char*> {};

TEST_P(Synth, WritesAModelOfTheConfiguredShape) {
  const fs::path config = fs::path(SLUICE_SHARED_DIR) / "golden" / GetParam() / "config.json";
  if (!fs::exists(config)) GTEST_SKIP() << "no " << config << ": the reference data is not beside the project";
  const fs::path out = fs::temp_directory_path() / ("sluice-synth-" + std::to_string(getpid()) + ".gguf");
  Result<weights::Checkpoint> shape = weights::Checkpoint::open(config);
  ASSERT_TRUE(shape.ok()) << shape.error().message;
  const Status written = compiler::synthesize(*shape, out, {.recipe = "q8_0", .seed = 1, .progress = {}});
  ASSERT_TRUE(written.ok()) << written.error().message;
  Result<program::Program> expected = models::build(compiler::config_of(*shape));
  Result<TestModel> model = TestModel::open(out, {});
  fs::remove(out);
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ(model->runtime().program().facts.params_total, expected->facts.params_total);
  EXPECT_EQ(program::state_floats(model->runtime().program()), program::state_floats(*expected));
  auto session = model->session(64);
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5};
  ASSERT_TRUE(session->feed(ids, {}).ok());
  for (const float logit : session->logits()) ASSERT_TRUE(std::isfinite(logit));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Synth, testing::Values("jamba-dense", "jamba-moe", "llama", "mamba", "qwen3", "qwen3-moe", "gemma3"), [](const auto& shape) {
  std::string text = shape.param;
  for (char& c : text) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return text;
});

TEST(RandomRows, BlocksOfEveryTypeHaveTheDeviationAsked) {
  for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K,
                           DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4, DType::kF16, DType::kBF16}) {
    constexpr uint64_t kColumns = 1024;
    std::vector<std::byte> bytes(8 * row_bytes(type, kColumns));
    compiler::random_rows(type, 8, kColumns, 5, bytes.data());
    std::vector<float> values(8 * kColumns);
    kernels::dequantize_row(type, reinterpret_cast<const uint8_t*>(bytes.data()), values.size(), values.data());
    double sum = 0;
    for (const float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
    const double deviation = std::sqrt(sum / static_cast<double>(values.size())), asked = 0.5 / std::sqrt(1024.0);
    EXPECT_GT(deviation, asked / 4) << info(type).name;
    EXPECT_LT(deviation, asked * 4) << info(type).name;
  }
}

}  // namespace
}  // namespace sluice::cli
