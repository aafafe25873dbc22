// Every family against the golden checkpoints: each weight of the program exists in the file with the shape it is read as, the slices of a fused tensor
// cover it exactly, and no tensor is left over. Under both spellings of config.json, and in GGUF.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "models/family.h"
#include "weights/checkpoint.h"

namespace sluice {
namespace {

using program::Value;
using program::ValueKind;
using program::WeightForm;

struct Golden {
  const char* folder;
  const char* family;
  bool gguf;
};
constexpr Golden kGoldens[] = {
    {"jamba-dense", "jamba", true},
    {"jamba-moe", "jamba", true},
    {"jamba-3b-shape", "jamba", true},
    {"llama", "llama", true},
    {"llama3-tied", "llama", true},
    {"llama-bias", "llama", true},
    {"mistral-window", "llama", false},
    {"mamba", "mamba", true},
    {"falcon-mamba", "falcon-mamba", true},
    {"qwen2", "qwen2", true},
    {"qwen3", "qwen3", true},
    {"mixtral", "mixtral", true},
};

class GoldenShapes : public testing::TestWithParam<Golden> {
 protected:
  std::filesystem::path folder() const { return std::filesystem::path(SLUICE_SHARED_DIR) / "golden" / GetParam().folder; }
  void SetUp() override {
    if (!std::filesystem::exists(folder())) GTEST_SKIP() << "no " << folder() << ": the reference data is not beside the project";
  }
};

// The rows of `n` x `k` matrices that a tensor of this shape holds, leading ones and conv1d's middle one aside; nullopt: it cannot be read so.
std::optional<std::pair<uint64_t, uint64_t>> as_matrix(const Value& value, std::vector<uint64_t> shape) {
  if (value.form == WeightForm::kConv && shape.size() == 3 && shape[1] == 1) shape.erase(shape.begin() + 1);
  if (value.count > 1 && value.sources.size() == 1) {
    if (shape.size() != 3 || shape[0] != value.count) return std::nullopt;
    shape.erase(shape.begin());
  }
  if (shape.size() == 1 && (value.form == WeightForm::kVector || value.form == WeightForm::kFrequencies)) return std::pair(shape[0], uint64_t{1});
  if (shape.size() != 2) return std::nullopt;
  return std::pair(shape[0], shape[1]);
}

void expect_match(const program::Program& program, const weights::Checkpoint& checkpoint) {
  std::map<std::string, std::vector<std::pair<uint64_t, uint64_t>>> slices;
  for (const Value& value : program.values) {
    if (value.kind != ValueKind::kWeight) continue;
    for (const std::string& source : value.sources) {
      const weights::TensorView* tensor = checkpoint.find(source);
      ASSERT_NE(tensor, nullptr) << source;
      const auto matrix = as_matrix(value, tensor->shape);
      ASSERT_TRUE(matrix.has_value()) << source;
      EXPECT_EQ(matrix->second, value.k) << source;
      const uint64_t rows = value.source_rows ? value.source_rows : value.n;
      EXPECT_EQ(matrix->first, rows) << source;
      slices[source].emplace_back(value.source_row, value.n);
    }
  }
  for (auto& [source, parts] : slices) {
    std::sort(parts.begin(), parts.end());
    uint64_t next = 0;
    for (const auto& [first, count] : parts) {
      EXPECT_EQ(first, next) << source << " is cut with a hole or an overlap";
      next = first + count;
    }
    const weights::TensorView& tensor = *checkpoint.find(source);
    const uint64_t rows = tensor.shape.size() == 3 && tensor.shape[1] != 1 ? tensor.shape[1] : tensor.shape[0];
    EXPECT_EQ(next, rows) << source;
  }
  std::vector<std::string> names;
  for (const auto& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  const Status all_used = models::check_all_used(program, names);
  EXPECT_TRUE(all_used.ok()) << all_used.error().message;
}

TEST_P(GoldenShapes, OfTheFolderUnderBothSpellings) {
  const Result<weights::Checkpoint> checkpoint = weights::Checkpoint::open(folder());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const auto has = [&](std::string_view name) { return checkpoint->find(name) != nullptr; };
  for (const char* spelling : {"config.json", "config.transformers5.json"}) {
    SCOPED_TRACE(spelling);
    std::ifstream file(folder() / spelling);
    const models::Config config(models::Format::kHuggingFace, nlohmann::json::parse(file, nullptr, false), has);
    const Result<program::Program> program = models::build(config);
    ASSERT_TRUE(program.ok()) << program.error().message;
    EXPECT_EQ(program->facts.family, GetParam().family);
    expect_match(*program, *checkpoint);
  }
}

TEST_P(GoldenShapes, OfTheGguf) {
  if (!GetParam().gguf) return;  // GGUF cannot express this model
  const Result<weights::Checkpoint> checkpoint = weights::Checkpoint::open(folder() / "model.gguf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  nlohmann::json fields = checkpoint->config();
  fields[fields["general.architecture"].get<std::string>() + ".vocab_size"] = checkpoint->find("token_embd.weight")->shape[0];
  const models::Config config(models::Format::kGguf, fields, [&](std::string_view name) { return checkpoint->find(name) != nullptr; });
  const Result<program::Program> program = models::build(config);
  ASSERT_TRUE(program.ok()) << program.error().message;
  EXPECT_EQ(program->facts.family, GetParam().family);
  expect_match(*program, *checkpoint);
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenShapes, testing::ValuesIn(kGoldens), [](const auto& golden) {
  std::string name = golden.param.folder;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// A weight that the engine would not read makes a wrong model: it is refused by name; known idle tensors are not.
TEST(CheckAllUsed, NamesTheTensorThatTheProgramDoesNotRead) {
  const models::Config config(models::Format::kHuggingFace,
                              {{"model_type", "llama"}, {"hidden_size", 8}, {"num_hidden_layers", 1}, {"num_attention_heads", 2}, {"vocab_size", 16},
                               {"intermediate_size", 8}, {"tie_word_embeddings", true}},
                              nullptr);
  const Result<program::Program> program = models::build(config);
  ASSERT_TRUE(program.ok()) << program.error().message;
  const std::vector<std::string> idle = {"model.embed_tokens.weight", "lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"};
  EXPECT_TRUE(models::check_all_used(*program, idle).ok());
  const std::vector<std::string> scaled = {"model.layers.0.mlp.up_proj.weight_scale"};
  EXPECT_NE(models::check_all_used(*program, scaled).error().message.find("model.layers.0.mlp.up_proj.weight_scale"), std::string::npos);
}

}  // namespace
}  // namespace sluice
