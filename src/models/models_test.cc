#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "models/family.h"

namespace sluice::models {
namespace {

// Counts of published checkpoints, from the table of the reference data's README.
struct Published {
  const char* file;
  uint64_t total, active, kv_bytes_per_token, state_bytes;
};
constexpr Published kPublished[] = {
    {"jamba-v0.1", 51570323328, 12110311296, 16384, 17432576},
    {"jamba-1.5-large", 398555145696, 94149338592, 36864, 78446592},
    {"jamba-reasoning-3b", 3029337472, 3029337472, 1024, 10117120},
    {"llama-3.1-8b", 8030261248, 8030261248, 131072, 0},
    {"llama-3.1-70b", 70553706496, 70553706496, 327680, 0},
    {"llama-3.2-1b", 1235814400, 1235814400, 32768, 0},
    {"llama-3.2-3b", 3212749824, 3212749824, 114688, 0},
    {"llama-2-70b", 68976648192, 68976648192, 327680, 0},
    {"smollm2-135m", 134515008, 134515008, 23040, 0},
    {"mixtral-8x7b", 46702792704, 12879925248, 131072, 0},
    {"mamba-130m", 129135360, 129135360, 0, 2801664},
    {"mamba-2.8b", 2768345600, 2768345600, 0, 24903680},
    {"qwen3-0.6b", 596049920, 596049920, 114688, 0},
    {"gemma-3-1b", 999885952, 999885952, 26624, 0},
};

class PublishedShape : public testing::TestWithParam<Published> {};

TEST_P(PublishedShape, CountsParametersKvAndState) {
  const Published& expected = GetParam();
  const std::filesystem::path path = std::filesystem::path(SLUICE_SHARED_DIR) / "data/configs" / (std::string(expected.file) + ".json");
  std::ifstream file(path);
  if (!file) GTEST_SKIP() << "no " << path << ": the reference data is not beside the project";
  const Config config(Format::kHuggingFace, nlohmann::json::parse(file, nullptr, false), nullptr);
  const Result<program::Program> program = build(config);
  ASSERT_TRUE(program.ok()) << program.error().message;
  EXPECT_EQ(program->facts.params_total, expected.total);
  EXPECT_EQ(program->facts.params_active, expected.active);
  EXPECT_EQ(2 * program::kv_elements_per_token(*program), expected.kv_bytes_per_token);
  EXPECT_EQ(4 * program::state_floats(*program), expected.state_bytes);
}

INSTANTIATE_TEST_SUITE_P(Configs, PublishedShape, testing::ValuesIn(kPublished), [](const auto& param_info) {
  std::string name = param_info.param.file;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

TEST(Registry, AnUnknownFamilyIsNamedWithTheSupportedOnes) {
  const Config config(Format::kHuggingFace, {{"model_type", "perceptron"}}, nullptr);
  const std::string message = build(config).error().message;
  EXPECT_NE(message.find("'perceptron'"), std::string::npos);
  EXPECT_NE(message.find("jamba"), std::string::npos);
}

TEST(Config, AMissingOrSillyFieldIsNamedWithItsValue) {
  const Config config(Format::kHuggingFace, {{"model_type", "llama"}, {"hidden_size", -3}}, nullptr);
  EXPECT_NE(build(config).error().message.find("hidden_size is -3"), std::string::npos);
}

// Gemma 3 4B as published: a part of a larger model, with most fields left to the class's defaults. The sum is the release's 4,300,079,472 parameters
// without its vision tower (416,866,032) and projector (2,950,272).
TEST(Config, ANestedTextConfigTakesItsFamilysDefaults) {
  const nlohmann::json fields = {
      {"model_type", "gemma3"},
      {"text_config", {{"hidden_size", 2560}, {"intermediate_size", 10240}, {"model_type", "gemma3_text"}, {"num_hidden_layers", 34},
                       {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}}, {"sliding_window", 1024}}}};
  const auto has = [](std::string_view name) { return name == "language_model.model.embed_tokens.weight"; };
  const Result<program::Program> program = build(Config(Format::kHuggingFace, fields, has));
  ASSERT_TRUE(program.ok()) << program.error().message;
  EXPECT_EQ(program->facts.params_total, 3880263168u);
  const bool stem = std::any_of(program->values.begin(), program->values.end(), [](const program::Value& value) {
    return !value.sources.empty() && value.sources[0] == "language_model.model.layers.33.self_attn.q_norm.weight";
  });
  EXPECT_TRUE(stem) << "names do not begin with the language model's stem";
}

// Mixtral files of 2023 hold one GGUF tensor an expert.
TEST(Mixtral, OldGgufFilesHaveOneTensorAnExpert) {
  const nlohmann::json fields = {{"general.architecture", "llama"}, {"llama.block_count", 1}, {"llama.embedding_length", 16},
                                 {"llama.feed_forward_length", 8}, {"llama.attention.head_count", 2}, {"llama.vocab_size", 32},
                                 {"llama.expert_count", 3}, {"llama.expert_used_count", 2}};
  const auto has = [](std::string_view name) { return name.ends_with(".0.weight"); };
  const Result<program::Program> program = build(Config(Format::kGguf, fields, has));
  ASSERT_TRUE(program.ok()) << program.error().message;
  EXPECT_EQ(program->facts.family, "mixtral");
  const std::vector<std::string> experts = {"blk.0.ffn_up.0.weight", "blk.0.ffn_up.1.weight", "blk.0.ffn_up.2.weight"};
  const bool found = std::any_of(program->values.begin(), program->values.end(), [&](const program::Value& value) { return value.sources == experts; });
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace sluice::models
