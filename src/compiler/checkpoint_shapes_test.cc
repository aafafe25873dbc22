// Every golden checkpoint of a family we have: each weight of the program exists in the file with the shape it is read as, the slices of a fused tensor
// cover it exactly, and no tensor is left over. Under both spellings of config.json, and in GGUF. Folders are found, not listed.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "compiler/compile.h"
#include "models/family.h"
#include "program/text.h"
#include "weights/checkpoint.h"

namespace sluice {
namespace {

using program::Value;
using program::ValueKind;

std::filesystem::path golden_root() { return std::filesystem::path(SLUICE_SHARED_DIR) / "golden"; }

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file, nullptr, false);
}

bool is_supported(std::string_view model_type) {
  for (const models::Family* family : models::families()) {
    if (std::find(family->model_types.begin(), family->model_types.end(), model_type) != family->model_types.end()) return true;
  }
  return false;
}

std::vector<std::string> golden_folders() {
  std::vector<std::string> names;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(golden_root(), missing)) {
    const nlohmann::json config = read_json(entry.path() / "config.json");
    if (config.is_object() && is_supported(config.value("model_type", "")) && std::filesystem::exists(entry.path() / "expected.safetensors")) {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class GoldenShapes : public testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder() const { return golden_root() / GetParam(); }
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
  std::string text;
  for (const char* spelling : {"config.json", "config.transformers5.json"}) {
    SCOPED_TRACE(spelling);
    const models::Config config(models::Format::kHuggingFace, read_json(folder() / spelling), has);
    const Result<program::Program> program = models::build(config);
    ASSERT_TRUE(program.ok()) << program.error().message;
    expect_match(*program, *checkpoint);
    if (text.empty()) text = program::print(*program);
    EXPECT_EQ(program::print(*program), text) << "the two spellings give two programs";
  }
}

TEST_P(GoldenShapes, OfTheGguf) {
  if (!std::filesystem::exists(folder() / "model.gguf")) return;  // GGUF cannot express every model
  const Result<weights::Checkpoint> checkpoint = weights::Checkpoint::open(folder() / "model.gguf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const Result<program::Program> program = models::build(compiler::config_of(*checkpoint));
  ASSERT_TRUE(program.ok()) << program.error().message;
  const nlohmann::json config = read_json(folder() / "config.json");
  const auto family = models::families();
  const auto meant = std::find_if(family.begin(), family.end(), [&](const auto* f) { return f->name == program->facts.family; });
  ASSERT_NE(meant, family.end());
  EXPECT_NE(std::find((*meant)->model_types.begin(), (*meant)->model_types.end(), config.value("model_type", "")), (*meant)->model_types.end())
      << "the GGUF twin was taken for " << program->facts.family;
  expect_match(*program, *checkpoint);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GoldenShapes);  // where the reference data is not beside the project
INSTANTIATE_TEST_SUITE_P(Families, GoldenShapes, testing::ValuesIn(golden_folders()), [](const auto& folder) {
  std::string name = folder.param;
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
