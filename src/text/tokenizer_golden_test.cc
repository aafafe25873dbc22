// Small tokenizers of every kind (tests/goldens/tokenizers, see the README there) against the ids of Hugging Face's and
// Google's own libraries.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_test_support.h"

namespace sluice::text {
namespace {

std::string golden(const std::string& name) {
  return read_file(std::string(SLUICE_SOURCE_DIR) + "/tests/goldens/tokenizers/" + name);
}

const nlohmann::json& expected() {
  static const nlohmann::json json = nlohmann::json::parse(golden("expected.json"));
  return json;
}

Result<TokenizerSpec> spec_of(const std::string& name, const std::string& bytes) {
  if (name.ends_with(".json")) return spec_from_tokenizer_json({.tokenizer_json = bytes});
  return spec_from_sentencepiece(bytes);
}

void expect_ids(const std::string& name, const std::string& bytes) {
  auto spec = spec_of(name, bytes);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  auto stored = parse_spec(serialize(*spec));
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  ASSERT_EQ(*stored, *spec);
  auto tokenizer = Tokenizer::create(std::move(*stored));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto texts = expected()["texts"].get<std::vector<std::string>>();
  const auto ids = expected()["ids"][name].get<std::vector<std::vector<int32_t>>>();
  ASSERT_EQ(ids.size(), texts.size());
  // Hugging Face always finds special tokens; SentencePiece never does.
  const bool parse_special = name.ends_with(".json");
  for (size_t i = 0; i < texts.size(); ++i) {
    auto got = tokenizer->encode(texts[i], {.parse_special = parse_special});
    ASSERT_TRUE(got.ok()) << got.error().message;
    EXPECT_EQ(*got, ids[i]) << name << ", text " << i << ": '" << texts[i] << "'";
  }
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, GivesTheIdsOfItsAuthorsLibrary) {
  expect_ids(GetParam(), golden(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, Golden,
                         testing::Values("byte-level.json", "gpt2-prefix.json", "custom-regex.json", "llama.json",
                                         "metaspace.json", "gemma.json", "unigram.json", "sp-bpe.model",
                                         "sp-bpe-unk.model", "sp-unigram.model"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           for (char& c : name) c = c == '-' || c == '.' ? '_' : c;
                           return name;
                         });

TEST(Jamba, GivesSentencePiecesIds) {
  const std::string path = shared_path("data/tokenizers/jamba.model");
  SLUICE_SKIP_WITHOUT(path);
  const std::string bytes = read_file(path);
  expect_ids("jamba.model", bytes);
  auto spec = spec_from_sentencepiece(bytes);
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->bos_id, 1);
  EXPECT_EQ(spec->eos_id, 2);
  EXPECT_EQ(spec->unknown_id, 3);
  EXPECT_EQ(spec->pad_id, 0);
  auto tokenizer = Tokenizer::create(std::move(*spec));
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_EQ(tokenizer->vocabulary_size(), 65536u);
  const auto blocks = inp_blocks(shared_path("data/tokenizers/qwen3.inp"));
  const auto ids = expected()["jamba_blocks"].get<std::vector<std::vector<int32_t>>>();
  ASSERT_EQ(blocks.size(), ids.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    auto got = tokenizer->encode(blocks[i], {});
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(*got, ids[i]) << "block " << i << ": " << blocks[i];
    EXPECT_EQ(*tokenizer->decode(*got, false), blocks[i]);
  }
}

TEST(Qwen3, GivesLlamaCppsIdsAndReadsItsConfig) {
  const std::string path = shared_path("data/tokenizers/qwen3-tokenizer.json");
  SLUICE_SKIP_WITHOUT(path);
  const std::string json = read_file(path);
  const std::string config = read_file(shared_path("data/tokenizers/qwen3-tokenizer_config.json"));
  auto spec = spec_from_tokenizer_json({.tokenizer_json = json, .tokenizer_config = config});
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  ASSERT_EQ(spec->chat_templates.size(), 1u);
  EXPECT_EQ(spec->chat_templates[0].name, "default");
  EXPECT_EQ(spec->eos_id, 151645);
  EXPECT_TRUE(spec->prefix_ids.empty());
  auto tokenizer = Tokenizer::create(std::move(*spec));
  ASSERT_TRUE(tokenizer.ok());
  EXPECT_TRUE(tokenizer->ends_generation(151645));
  EXPECT_TRUE(tokenizer->ends_generation(151643));
  const auto blocks = inp_blocks(shared_path("data/tokenizers/qwen3.inp"));
  const auto ids = out_lines(shared_path("data/tokenizers/qwen3.out"));
  ASSERT_EQ(blocks.size(), ids.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    auto got = tokenizer->encode(blocks[i], {});
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(*got, ids[i]) << "block " << i << ": " << blocks[i];
    EXPECT_EQ(*tokenizer->decode(*got, false), blocks[i]);
  }
}

}  // namespace
}  // namespace sluice::text
