// M6 of the reliability list: hyperparameters that contradict each other or lie. Every field of every family, alone and in pairs, at the values that have
// broken loaders: each file is refused with a sentence or gives a verified program, quickly and in little memory.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <ctime>
#include <limits>

#include "base/limits.h"
#include "models/family.h"

namespace sluice::models {
namespace {

using nlohmann::json;

// One small valid model a family, with every field that the family reads.
const std::pair<const char*, const char*> kFolders[] = {
    {"llama", R"({"model_type":"llama","hidden_size":16,"num_hidden_layers":2,"intermediate_size":24,"num_attention_heads":4,"num_key_value_heads":2,
      "head_dim":4,"vocab_size":32,"rms_norm_eps":1e-5,"max_position_embeddings":64,"rope_theta":10000.0,"attention_bias":false,"mlp_bias":false,
      "hidden_act":"silu","tie_word_embeddings":false,"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
      "original_max_position_embeddings":32}})"},
    {"mistral", R"({"model_type":"mistral","hidden_size":16,"num_hidden_layers":2,"intermediate_size":24,"num_attention_heads":4,
      "num_key_value_heads":2,"vocab_size":32,"sliding_window":8,"rope_parameters":{"rope_theta":10000.0,"rope_type":"linear","factor":2.0}})"},
    {"mixtral", R"({"model_type":"mixtral","hidden_size":16,"num_hidden_layers":2,"intermediate_size":24,"num_attention_heads":4,
      "num_key_value_heads":2,"vocab_size":32,"num_local_experts":4,"num_experts_per_tok":2,"sliding_window":8,"rope_theta":1e6})"},
    {"qwen2", R"({"model_type":"qwen2","hidden_size":16,"num_hidden_layers":2,"intermediate_size":24,"num_attention_heads":4,"num_key_value_heads":2,
      "vocab_size":32,"sliding_window":8,"use_sliding_window":true,"max_window_layers":1,"layer_types":["full_attention","sliding_attention"]})"},
    {"qwen3", R"({"model_type":"qwen3","hidden_size":16,"num_hidden_layers":2,"intermediate_size":24,"num_attention_heads":4,"num_key_value_heads":2,
      "head_dim":8,"vocab_size":32,"sliding_window":8,"use_sliding_window":true,"max_window_layers":1})"},
    {"qwen3_moe", R"({"model_type":"qwen3_moe","hidden_size":16,"num_hidden_layers":2,"intermediate_size":24,"moe_intermediate_size":8,
      "num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,"vocab_size":32,"num_experts":4,"num_experts_per_tok":2,"norm_topk_prob":true,
      "decoder_sparse_step":1,"mlp_only_layers":[0]})"},
    {"gemma3", R"({"model_type":"gemma3_text","hidden_size":16,"num_hidden_layers":3,"intermediate_size":24,"num_attention_heads":4,
      "num_key_value_heads":2,"head_dim":8,"vocab_size":32,"sliding_window":8,"sliding_window_pattern":2,"query_pre_attn_scalar":8,
      "rope_theta":1e6,"rope_local_base_freq":1e4,"attn_logit_softcapping":5.0,"final_logit_softcapping":5.0})"},
    {"jamba", R"({"model_type":"jamba","hidden_size":16,"num_hidden_layers":4,"intermediate_size":24,"num_attention_heads":4,"num_key_value_heads":2,
      "vocab_size":32,"attn_layer_period":2,"attn_layer_offset":1,"expert_layer_period":2,"expert_layer_offset":0,"num_experts":4,
      "num_experts_per_tok":2,"mamba_d_state":4,"mamba_d_conv":4,"mamba_expand":2,"mamba_dt_rank":2,"mamba_conv_bias":true,"mamba_proj_bias":true})"},
    {"mamba", R"({"model_type":"mamba","hidden_size":16,"num_hidden_layers":2,"vocab_size":32,"state_size":4,"conv_kernel":4,"expand":2,
      "intermediate_size":32,"time_step_rank":2,"use_bias":true,"use_conv_bias":true,"layer_norm_epsilon":1e-5,"tie_word_embeddings":true})"},
    {"falcon_mamba", R"({"model_type":"falcon_mamba","hidden_size":16,"num_hidden_layers":2,"vocab_size":32,"state_size":4,"conv_kernel":4,
      "intermediate_size":32,"time_step_rank":2,"mixer_rms_eps":1e-6})"},
};

const std::pair<const char*, const char*> kGgufs[] = {
    {"llama", R"({"block_count":2,"context_length":64,"embedding_length":16,"feed_forward_length":24,"attention.head_count":4,
      "attention.head_count_kv":2,"rope.freq_base":10000.0,"rope.dimension_count":4,"rope.scaling.type":"linear","rope.scaling.factor":2.0,
      "attention.layer_norm_rms_epsilon":1e-5,"vocab_size":32,"expert_count":4,"expert_used_count":2})"},
    {"qwen3moe", R"({"block_count":2,"context_length":64,"embedding_length":16,"feed_forward_length":24,"expert_feed_forward_length":8,
      "attention.head_count":4,"attention.head_count_kv":2,"attention.key_length":8,"attention.value_length":8,"vocab_size":32,"expert_count":4,
      "expert_used_count":2})"},
    {"gemma3", R"({"block_count":3,"context_length":64,"embedding_length":16,"feed_forward_length":24,"attention.head_count":4,
      "attention.head_count_kv":2,"attention.key_length":8,"attention.value_length":8,"attention.sliding_window":8,"rope.freq_base":1e6,
      "rope.freq_base_swa":1e4,"attention.sliding_window_pattern":[true,true,false],"vocab_size":32})"},
    {"jamba", R"({"block_count":4,"context_length":64,"embedding_length":16,"feed_forward_length":24,"attention.head_count":4,
      "attention.head_count_kv":[0,2,0,2],"ssm.conv_kernel":4,"ssm.inner_size":32,"ssm.state_size":4,"ssm.time_step_rank":2,"expert_count":4,
      "expert_used_count":2,"attention.layer_norm_rms_epsilon":1e-6,"vocab_size":32})"},
    {"mamba", R"({"block_count":2,"embedding_length":16,"feed_forward_length":0,"attention.head_count":0,"ssm.conv_kernel":4,"ssm.inner_size":32,
      "ssm.state_size":4,"ssm.time_step_rank":2,"ssm.dt_b_c_rms":true,"attention.layer_norm_rms_epsilon":1e-5,"vocab_size":32})"},
};

struct Model {
  std::string name;
  Format format;
  json fields;

  Result<program::Program> build(const json& changed) const {
    // Any tensor that GGUF families ask for by name is there.
    return models::build(Config(format, changed, format == Format::kGguf ? [](std::string_view) { return true; } : std::function<bool(std::string_view)>()));
  }
};

std::vector<Model> models_of_every_family() {
  std::vector<Model> out;
  for (const auto& [name, text] : kFolders) out.push_back({name, Format::kHuggingFace, json::parse(text, nullptr, false)});
  for (const auto& [name, text] : kGgufs) {
    json fields = {{"general.architecture", name}};
    const json parsed = json::parse(text, nullptr, false);
    for (const auto& [key, value] : parsed.items()) fields[std::string(name) + "." + key] = value;
    out.push_back({std::string(name) + ".gguf", Format::kGguf, fields});
  }
  return out;
}

// A model is built or refused with a sentence; returns whether it was built.
bool builds_or_refuses(const Model& model, const json& fields, const std::string& what) {
  const Result<program::Program> program = model.build(fields);
  EXPECT_TRUE(program.ok() || program.error().message.size() > 20) << model.name << ": " << what;
  return program.ok();
}

uint64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) << 10;
}

#if defined(__SANITIZE_ADDRESS__)
constexpr uint64_t kPeakBytes = 512ull << 20;  // 256 MiB of freed memory stay in quarantine
#else
constexpr uint64_t kPeakBytes = 256ull << 20;
#endif

TEST(Hyperparameters, M6TheUnchangedModelsBuild) {
  for (const Model& model : models_of_every_family()) {
    const Result<program::Program> program = model.build(model.fields);
    EXPECT_TRUE(program.ok()) << model.name << ": " << program.error().message;
  }
}

// Zero, one, the limits and beyond, wrong types, not finite, and nothing at all.
TEST(Hyperparameters, M6EachFieldAtEveryHostileValue) {
  const uint64_t before = peak_bytes();
  const json hostile[] = {0, 1, -1, 3, limits::kLayersMax, limits::kLayersMax + 1, limits::kDimensionMax, limits::kDimensionMax + 1, 1ull << 31,
                          1ull << 32, 1ull << 63, UINT64_MAX, INT64_MIN, 0.5, -0.0, 1e-320, 1e308, std::numeric_limits<double>::infinity(),
                          std::numeric_limits<double>::quiet_NaN(), nullptr, true, "", "\xff", "silu", json::array(), json::array({0}), json::array({1, 2}),
                          json::array({"full_attention"}), json::object()};
  for (const Model& model : models_of_every_family()) {
    for (const auto& [field, value] : model.fields.items()) {
      if (field == "model_type" || field == "general.architecture") continue;
      for (const json& each : hostile) {
        json fields = model.fields;
        fields[field] = each;
        builds_or_refuses(model, fields, field);
        if (!value.is_object()) continue;
        for (const auto& [inner, unused] : value.items()) {
          fields = model.fields;
          fields[field][inner] = each;
          builds_or_refuses(model, fields, field + "." + inner);
        }
      }
      json fields = model.fields;
      fields.erase(field);
      builds_or_refuses(model, fields, field + " missing");
    }
  }
  EXPECT_LE(peak_bytes(), before + kPeakBytes);
}

// Two fields that are fine alone and not together.
TEST(Hyperparameters, M6EachPairOfFieldsAtZeroOneAndMax) {
  const uint64_t before = peak_bytes();
  const uint64_t values[] = {0, 1, 7, limits::kDimensionMax};
  for (const Model& model : models_of_every_family()) {
    std::vector<std::string> numbers;
    for (const auto& [field, value] : model.fields.items()) {
      if (value.is_number()) numbers.push_back(field);
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
      for (size_t j = i + 1; j < numbers.size(); ++j) {
        for (const uint64_t first : values) {
          for (const uint64_t second : values) {
            json fields = model.fields;
            fields[numbers[i]] = first;
            fields[numbers[j]] = second;
            builds_or_refuses(model, fields, numbers[i] + ", " + numbers[j]);
          }
        }
      }
    }
  }
  EXPECT_LE(peak_bytes(), before + kPeakBytes);
}

TEST(Hyperparameters, M6TheLargestOfEverythingIsRefused) {
  for (const Model& model : models_of_every_family()) {
    json fields = model.fields;
    for (auto& [field, value] : fields.items()) {
      if (value.is_number()) value = field.find("layer") != std::string::npos || field.ends_with("block_count") ? limits::kLayersMax : limits::kDimensionMax;
    }
    EXPECT_FALSE(builds_or_refuses(model, fields, "everything")) << model.name;
  }
}

// As many layers as the limit allows: linear time, and some tens of megabytes.
TEST(Hyperparameters, M6TheMostLayersBuildInLinearTime) {
  json fields = json::parse(kFolders[0].second, nullptr, false);
  fields["num_hidden_layers"] = limits::kLayersMax;
  const std::clock_t start = std::clock();
  const Result<program::Program> program = models::build(Config(Format::kHuggingFace, fields, nullptr));
  ASSERT_TRUE(program.ok()) << program.error().message;
  EXPECT_LT(std::clock() - start, 10 * CLOCKS_PER_SEC);  // 0.1 s of processor time; minutes if a weight were looked for among all others
  EXPECT_EQ(program->facts.layers, limits::kLayersMax);
}

struct Contradiction {
  const char* name;
  const char* family;
  json changes;
  const char* sentence;
};
class HyperparametersTogether : public testing::TestWithParam<Contradiction> {};

TEST_P(HyperparametersTogether, M6AreRefusedWithTheirNumbers) {
  const Contradiction& wrong = GetParam();
  for (const Model& model : models_of_every_family()) {
    if (model.name != wrong.family) continue;
    json fields = model.fields;
    fields.update(wrong.changes);
    const Result<program::Program> program = model.build(fields);
    ASSERT_FALSE(program.ok());
    EXPECT_NE(program.error().message.find(wrong.sentence), std::string::npos) << program.error().message;
    return;
  }
  FAIL() << "no family " << wrong.family;
}

INSTANTIATE_TEST_SUITE_P(
    Each, HyperparametersTogether,
    testing::Values(
        Contradiction{"HeadsThatDoNotDivide", "llama", {{"num_attention_heads", 6}, {"num_key_value_heads", 4}}, "6 attention heads do not divide into 4"},
        Contradiction{"MoreKvHeadsThanHeads", "llama", {{"num_key_value_heads", 8}}, "4 attention heads do not divide into 8"},
        Contradiction{"HiddenNotMadeOfHeads", "mistral", {{"num_attention_heads", 6}}, "hidden size 16 does not divide into 6"},
        Contradiction{"LayersTwoToTheTwenty", "llama", {{"num_hidden_layers", 1 << 20}}, "num_hidden_layers is 1048576, expected an integer from 1 to 4096"},
        Contradiction{"OddHead", "llama", {{"head_dim", 5}}, "5 rotated dimensions a head, must be even"},
        Contradiction{"MoreChosenThanThereAre", "mixtral", {{"num_experts_per_tok", 5}}, "5 of 4 experts"},
        Contradiction{"NoExperts", "qwen3_moe", {{"num_experts", 0}}, "num_experts is 0, expected an integer from 1 to 4096"},
        Contradiction{"TooManyExpertTensors", "mixtral", {{"num_local_experts", 4096}, {"num_hidden_layers", 4096}}, "have more than"},
        Contradiction{"LayerTypesOfAnotherModel", "qwen2", {{"num_hidden_layers", 3}}, "layer_types must be an array of 3"},
        Contradiction{"HeadCountsOfAnotherModel", "jamba.gguf", {{"jamba.block_count", 5}}, "array of 5"},
        Contradiction{"UnlikeAttentionLayers", "jamba.gguf", {{"jamba.attention.head_count_kv", {0, 2, 0, 4}}}, "both 2 and 4"},
        Contradiction{"NoPeriod", "jamba", {{"attn_layer_period", 0}}, "attn_layer_period is 0"},
        Contradiction{"NoConvolution", "mamba", {{"conv_kernel", 1}}, "convolution width is 1, must be 2 to 8"},
        Contradiction{"RankAboveTheInnerSize", "mamba", {{"time_step_rank", 33}}, "rank is 33, must be 1 to 32"},
        Contradiction{"MoreRotatedThanThereAre", "llama.gguf", {{"llama.rope.dimension_count", 8}}, "expected an integer from 1 to 4"},
        Contradiction{"BaseBelowOne", "gemma3", {{"rope_local_base_freq", 0.5}}, "rope_local_base_freq is 0.5"},
        Contradiction{"ParametersBeyondCounting", "llama",
                      {{"hidden_size", 1 << 24}, {"intermediate_size", 1 << 24}, {"num_hidden_layers", 4096}}, "more than 1125899906842624 parameters"}),
    [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace sluice::models
