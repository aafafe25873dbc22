// GGUF's tokenizer keys: defaults, and hostile values (reliability K3 and K4).
#include "text/tokenizer_gguf.h"

#include <gtest/gtest.h>

#include "text/byte_alphabet.h"
#include "text/tokenizer.h"

namespace sluice::text {
namespace {

GgufTokenizerFields small_llama() {
  GgufTokenizerFields f;
  f.model = "llama";
  f.tokens = {"<unk>",
              "<s>",
              "</s>",
              "<0x41>",
              "\xE2\x96\x81",
              "a",
              "b",
              "ab",
              "\xE2\x96\x81"
              "ab"};
  f.scores = {0, 0, 0, 0, -1, -2, -3, -4, -5};
  f.token_type = {2, 3, 3, 6, 1, 1, 1, 1, 1};
  return f;
}

TEST(TokenizerGguf, TheByteAlphabetIsOneToOne) {
  for (int b = 0; b < 256; ++b) {
    const std::string byte(1, static_cast<char>(b));
    EXPECT_EQ(from_byte_alphabet(to_byte_alphabet(byte)), byte);
  }
  EXPECT_EQ(to_byte_alphabet(" \n"), "ĠĊ");
  EXPECT_FALSE(from_byte_alphabet("中").has_value());
  EXPECT_FALSE(from_byte_alphabet("\xFF").has_value());
}

TEST(TokenizerGguf, LlamaDefaultsStandWhereKeysAreAbsent) {
  auto spec = spec_from_gguf(small_llama());
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->bos_id, 1);
  EXPECT_EQ(spec->eos_id, 2);
  EXPECT_EQ(spec->unknown_id, 0);
  EXPECT_EQ(spec->prefix_ids, std::vector<int32_t>{1});
  EXPECT_EQ(spec->tokens[3], "A");
  auto tokenizer = Tokenizer::create(std::move(*spec));
  ASSERT_TRUE(tokenizer.ok());
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(tokenizer->encode("ab", {}).value(), (Ids{8}));
  EXPECT_EQ(tokenizer->encode("abA?", {}).value(), (Ids{8, 3, 0}));  // '?' is unknown: no byte token for it
  EXPECT_EQ(tokenizer->encode("<s>ab</s>ab", {.parse_special = true}).value(), (Ids{1, 8, 2, 8}));
}

// Reliability K3: every two-character byte token, <0x-1> among them.
TEST(TokenizerGguf, K3AByteTokenIsTwoHexDigitsOrAnError) {
  int good = 0;
  for (int high = 0; high < 256; ++high) {
    for (int low = 0; low < 256; ++low) {
      const std::string text = std::string("<0x") + static_cast<char>(high) + static_cast<char>(low) + ">";
      const auto byte = parse_byte_token(text);
      const bool hex = std::isxdigit(high) != 0 && std::isxdigit(low) != 0;
      ASSERT_EQ(byte.has_value(), hex) << text;
      if (!byte) continue;
      ++good;
      ASSERT_EQ(*byte, std::stoi(text.substr(3, 2), nullptr, 16));
    }
  }
  EXPECT_EQ(good, 22 * 22);
  for (const char* bad : {"<0x-1>", "<0x>", "<0x1>", "<0x123>", "<0xGG>", "0x41", "", "<0x 1>"}) {
    GgufTokenizerFields f = small_llama();
    f.tokens[3] = bad;
    auto spec = spec_from_gguf(f);
    ASSERT_FALSE(spec.ok()) << bad;
    EXPECT_NE(spec.error().message.find("byte token 3"), std::string::npos);
  }
}

// Reliability K4: tiny vocabularies, for every model and with every id key set.
TEST(TokenizerGguf, K4VocabulariesOfNoOneAndTwoTokensTokenizeOrAreErrors) {
  for (const char* model : {"llama", "gpt2", "t5"}) {
    for (size_t size = 0; size <= 2; ++size) {
      for (const int64_t id : {-1, 0, 1, 2, 99}) {
        GgufTokenizerFields f;
        f.model = model;
        f.tokens.assign(size, "a");
        f.scores.assign(size, 0.0f);
        if (id >= 0) f.bos_token_id = f.eos_token_id = f.unknown_token_id = f.eot_token_id = f.padding_token_id = id;
        f.add_bos_token = f.add_eos_token = true;
        auto spec = spec_from_gguf(f);
        EXPECT_EQ(spec.ok(), id < static_cast<int64_t>(size)) << model << " " << size << " " << id;
        if (!spec.ok()) continue;
        auto tokenizer = Tokenizer::create(std::move(*spec));
        ASSERT_TRUE(tokenizer.ok());
        auto ids = tokenizer->encode("a bä\xFF", {.parse_special = true, .add_special = true});
        ASSERT_TRUE(ids.ok());
        EXPECT_TRUE(tokenizer->decode(*ids, true).ok());
      }
    }
  }
}

TEST(TokenizerGguf, SaysWhatIsWrong) {
  const auto message = [](auto change) {
    GgufTokenizerFields f = small_llama();
    change(f);
    auto spec = spec_from_gguf(f);
    return spec.ok() ? std::string("no error") : spec.error().message;
  };
  EXPECT_EQ(message([](auto& f) { f.model = "rwkv"; }),
            "tokenizer.ggml.model 'rwkv' is not supported; known are llama, gpt2, t5");
  EXPECT_EQ(message([](auto& f) { f.scores.pop_back(); }), "tokenizer.ggml.scores has 8 entries for 9 tokens");
  EXPECT_EQ(message([](auto& f) { f.token_type.pop_back(); }), "tokenizer.ggml.token_type has 8 entries for 9 tokens");
  EXPECT_EQ(message([](auto& f) { f.token_type[5] = 7; }), "token 5 has type 7, known are 0 to 6");
  EXPECT_EQ(message([](auto& f) { f.eos_token_id = 9; }), "tokenizer.ggml.eos_token_id is 9 with 9 tokens");
  EXPECT_EQ(message([](auto& f) { f.bos_token_id = INT64_MIN; }),
            "tokenizer.ggml.bos_token_id is -9223372036854775808 with 9 tokens");
  for (const char* bad : {"", "a", " a", "ab ", " "}) {
    EXPECT_NE(message([&](auto& f) {
                f.model = "gpt2";
                f.merges = {bad};
              }).find("merge 0 is"),
              std::string::npos)
        << bad;
  }
}

TEST(TokenizerGguf, UnknownPreTokenizersAndLostScoresAreNoted) {
  GgufTokenizerFields f = small_llama();
  f.scores.assign(f.scores.size(), -1000.0f);
  auto spec = spec_from_gguf(f);
  ASSERT_TRUE(spec.ok());
  ASSERT_EQ(spec->notes.size(), 1u);
  EXPECT_NE(spec->notes[0].find("lost its merge order"), std::string::npos);
  f.model = "gpt2";
  f.pre = "newest-of-all";
  spec = spec_from_gguf(f);
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->notes[0], "pre-tokenizer 'newest-of-all' is unknown; 'default' is used");
}

// Reliability K10: a file that calls its end token normal still does not let user text spell it.
TEST(TokenizerGguf, TurnIdsAreControlTokensWhateverTheFileSays) {
  GgufTokenizerFields f = small_llama();
  f.tokens.insert(f.tokens.end(), {"<", "/", "s", ">", "</", "s>"});
  f.scores.insert(f.scores.end(), 6, -3.0f);
  f.token_type.assign(f.tokens.size(), 1);
  f.token_type[3] = 6;
  auto tokenizer = Tokenizer::create(spec_from_gguf(f).value());
  ASSERT_TRUE(tokenizer.ok());
  const auto ids = tokenizer->encode("</s>", {}).value();
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 0);
  EXPECT_EQ(tokenizer->encode("</s>", {.parse_special = true}).value(), std::vector<int32_t>{2});
}

}  // namespace
}  // namespace sluice::text
