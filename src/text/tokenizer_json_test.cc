// tokenizer.json and tokenizer_config.json: what they can say, and hostile files.
#include "text/tokenizer_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/tokenizer_test_support.h"

namespace sluice::text {
namespace {

std::string golden(const std::string& name) {
  return read_file(std::string(SLUICE_SOURCE_DIR) + "/tests/goldens/tokenizers/" + name);
}

std::string message_of(const std::string& json) {
  auto spec = spec_from_tokenizer_json({.tokenizer_json = json});
  return spec.ok() ? "no error" : spec.error().message;
}

TEST(TokenizerJson, SaysWhatItCannotDo) {
  EXPECT_EQ(message_of(""), "tokenizer.json is not JSON");
  EXPECT_EQ(message_of("[]"), "tokenizer.json is not a JSON object");
  EXPECT_EQ(message_of("{}"), "tokenizer.json: model type '' is not supported; known are BPE and Unigram");
  EXPECT_EQ(message_of(R"({"model":{"type":"WordPiece"}})"),
            "tokenizer.json: model type 'WordPiece' is not supported; known are BPE and Unigram");
  const auto with = [](const std::string& extra) {
    return R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]})" + extra + "}";
  };
  EXPECT_EQ(message_of(with("")), "no error");
  EXPECT_EQ(message_of(with(R"(,"normalizer":{"type":"Odd"})")), "tokenizer.json: normalizer 'Odd' is not supported");
  EXPECT_EQ(message_of(with(R"(,"normalizer":{"type":"Sequence"})")),
            "tokenizer.json: a Sequence without 'normalizers'");
  EXPECT_EQ(message_of(with(R"(,"pre_tokenizer":{"type":"Split","behavior":"Isolated"})")),
            "tokenizer.json: a Split step without a pattern");
  EXPECT_EQ(message_of(with(R"(,"pre_tokenizer":{"type":"Split","pattern":{"String":" "},"behavior":"Odd"})")),
            "tokenizer.json: split behavior 'Odd' is unknown");
  EXPECT_EQ(message_of(with(R"(,"decoder":{"type":"WordPiece"})")),
            "tokenizer.json: decoder 'WordPiece' is not supported");
  EXPECT_EQ(
      message_of(with(R"(,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]})")),
      "tokenizer.json: post_processor names '<s>' without ids");
  EXPECT_EQ(message_of(with(R"(,"post_processor":{"type":"BertProcessing","cls":["x",7],"sep":["y",1]})")),
            "bos id 7 with 3 tokens");
  EXPECT_EQ(message_of(with(R"(,"added_tokens":[{"id":-1,"content":"x"}])")),
            "tokenizer.json: an added token's id is no number below 16777216");
  EXPECT_EQ(message_of(with(R"(,"added_tokens":[{"id":9000000,"content":"x"}])")),
            "tokenizer.json: highest id 9000000 with 4 tokens");
  EXPECT_EQ(message_of(R"({"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}})"),
            "tokenizer.json: two tokens have id 0");
  EXPECT_EQ(message_of(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}})"),
            "tokenizer.json: merge 0 is not two texts");
  EXPECT_EQ(message_of(R"({"model":{"type":"BPE","vocab":{"a":0},"merges":[],"end_of_word_suffix":"</w>"}})"),
            "tokenizer.json: model.end_of_word_suffix is not supported");
}

TEST(TokenizerJson, EveryMemberOfAWrongTypeIsAnErrorOrIgnored) {
  const auto json = nlohmann::json::parse(golden("byte-level.json"));
  const nlohmann::json odd[] = {nullptr,
                                7,
                                -1,
                                1e300,
                                "x",
                                true,
                                nlohmann::json::array(),
                                nlohmann::json::object(),
                                nlohmann::json::array({nullptr, 1})};
  const auto flat = json.flatten();
  size_t n = 0;
  for (const auto& [path, value] : flat.items()) {
    // All of the structure, a sample of the vocabulary and the merges.
    if ((path.starts_with("/model/vocab") || path.starts_with("/model/merges")) && ++n % 60 != 0) continue;
    for (nlohmann::json::json_pointer place(path); !place.empty(); place.pop_back()) {
      const bool big =
          place.to_string() == "/model" || place.to_string() == "/model/vocab" || place.to_string() == "/model/merges";
      if (big && n > 120) continue;
      auto bad = json;
      bad[place] = odd[(path.size() + n++) % std::size(odd)];
      const std::string text = bad.dump();
      auto spec = spec_from_tokenizer_json({.tokenizer_json = text});
      if (!spec.ok()) continue;
      auto tokenizer = Tokenizer::create(std::move(*spec));
      if (tokenizer.ok()) static_cast<void>(tokenizer->encode("the river's wheel", {.parse_special = true}).ok());
    }
  }
}

TEST(TokenizerJson, NestingDoesNotTakeTheStack) {
  std::string deep;
  for (int i = 0; i < 200'000; ++i) deep += "[";
  EXPECT_EQ(message_of(deep), "tokenizer.json is not JSON");
  std::string steps = R"({"type":"NFC"})";
  for (int i = 0; i < 30; ++i) steps = R"({"type":"Sequence","normalizers":[)" + steps + "]}";
  EXPECT_NE(message_of(R"({"model":{"type":"BPE","vocab":{},"merges":[]},"normalizer":)" + steps + "}").find("deeper"),
            std::string::npos);
}

TEST(TokenizerJson, ReadsTheConfigBeside) {
  const std::string json = golden("llama.json");
  const std::string config =
      R"({"bos_token":{"content":"<s>"},"eos_token":"</s>","add_bos_token":true,"add_eos_token":false,
    "chat_template":[{"name":"default","template":"A"},{"name":"tool_use","template":"B"}]})";
  auto spec = spec_from_tokenizer_json({.tokenizer_json = json, .tokenizer_config = config});
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->tokens[static_cast<size_t>(spec->bos_id)], "<s>");
  EXPECT_EQ(spec->tokens[static_cast<size_t>(spec->eos_id)], "</s>");
  EXPECT_EQ(spec->prefix_ids, std::vector<int32_t>{spec->bos_id});
  EXPECT_TRUE(spec->suffix_ids.empty());
  ASSERT_EQ(spec->chat_templates.size(), 2u);
  auto with_file = spec_from_tokenizer_json({.tokenizer_json = json, .tokenizer_config = config, .chat_template = "C"});
  ASSERT_TRUE(with_file.ok());
  EXPECT_EQ(with_file->chat_templates, (std::vector<NamedTemplate>{{"default", "C"}, {"tool_use", "B"}}));
  EXPECT_FALSE(spec_from_tokenizer_json({.tokenizer_json = json, .tokenizer_config = "{"}).ok());
}

TEST(SentencePieceModel, TruncatedAtEveryByteNeverCrashes) {
  for (const char* name : {"sp-bpe.model", "sp-bpe-unk.model", "sp-unigram.model"}) {
    const std::string bytes = golden(name);
    for (size_t size = 0; size < bytes.size(); size += 1 + size / 400) {
      auto spec = spec_from_sentencepiece(std::string_view(bytes).substr(0, size));
      if (!spec.ok()) continue;
      auto tokenizer = Tokenizer::create(std::move(*spec));
      if (tokenizer.ok()) static_cast<void>(tokenizer->encode("the wheel", {}).ok());
    }
  }
}

TEST(SentencePieceModel, DamagedBytesNeverCrash) {
  const std::string bytes = golden("sp-bpe.model");
  std::mt19937 random(9);
  for (int round = 0; round < 400; ++round) {
    std::string bad = bytes;
    for (size_t n = 1 + random() % 4; n > 0; --n) bad[random() % bad.size()] = static_cast<char>(random());
    auto spec = spec_from_sentencepiece(bad);
    if (!spec.ok()) continue;
    auto tokenizer = Tokenizer::create(std::move(*spec));
    if (tokenizer.ok()) static_cast<void>(tokenizer->encode("the wheel \xFF", {.parse_special = true}).ok());
  }
}

}  // namespace
}  // namespace sluice::text
