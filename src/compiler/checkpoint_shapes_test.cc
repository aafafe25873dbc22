// Every family against the golden checkpoints: each weight of the program exists in the file with the shape it is read as, the slices of a fused tensor
// cover it exactly, and no tensor is left over. Under both spellings of config.json, and in GGUF.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "compiler/compile.h"
#include "models/family.h"
#include "weights/checkpoint.h"

namespace sluice {
namespace {

using program::Value;
using program::ValueKind;

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

void expect_match(program::Program program, const weights::Checkpoint& checkpoint) {
  const Status lowered = compiler::lower(program, checkpoint);  // checks names, shapes and that nothing is left over
  ASSERT_TRUE(lowered.ok()) << lowered.error().message;
  std::map<std::string, std::vector<std::pair<uint64_t, uint64_t>>> slices;
  std::map<std::string, uint64_t> rows;
  for (const Value& value : program.values) {
    if (value.kind != ValueKind::kWeight) continue;
    for (const std::string& source : value.sources) {
      slices[source].emplace_back(value.source_row, value.n);
      rows[source] = value.source_rows ? value.source_rows : value.n;
    }
  }
  for (auto& [source, parts] : slices) {
    std::sort(parts.begin(), parts.end());
    uint64_t next = 0;
    for (const auto& [first, count] : parts) {
      EXPECT_EQ(first, next) << source << " is cut with a hole or an overlap";
      next = first + count;
    }
    EXPECT_EQ(next, rows[source]) << source;
  }
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
  const Result<program::Program> program = models::build(compiler::config_of(*checkpoint));
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
  const std::vector<std::string_view> idle = {"model.embed_tokens.weight", "lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"};
  EXPECT_TRUE(models::check_all_used(*program, idle).ok());
  const std::vector<std::string_view> scaled = {"model.layers.0.mlp.up_proj.weight_scale"};
  EXPECT_NE(models::check_all_used(*program, scaled).error().message.find("model.layers.0.mlp.up_proj.weight_scale"), std::string::npos);
}

}  // namespace
}  // namespace sluice
