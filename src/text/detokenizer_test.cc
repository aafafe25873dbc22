// Streams of ids to text: whole characters only, whatever is cut (reliability H6).
#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "text/tokenizer_gguf.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// Llama's kind, with all byte tokens: ids 0 to 2 special, 3 to 258 bytes, then words.
Tokenizer byte_tokenizer() {
  GgufTokenizerFields f;
  f.model = "llama";
  f.tokens = {"<unk>", "<s>", "</s>"};
  f.token_type = {2, 3, 3};
  for (int b = 0; b < 256; ++b) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", b);
    f.tokens.push_back(text);
    f.token_type.push_back(6);
  }
  for (const char* word : {"\xE2\x96\x81",
                           "\xE2\x96\x81"
                           "Hi",
                           "\xE2\x96\x81"
                           "you",
                           "!"}) {
    f.tokens.push_back(word);
    f.token_type.push_back(1);
  }
  f.scores.assign(f.tokens.size(), 0.0f);
  f.scores[259] = -1;
  return Tokenizer::create(spec_from_gguf(std::move(f)).value()).value();
}

constexpr int32_t kByte = 3;
constexpr int32_t kBlank = 259;
constexpr int32_t kHi = 260;
constexpr int32_t kYou = 261;

std::vector<std::string> streamed(const std::vector<int32_t>& ids, DetokenizeOptions options) {
  Detokenizer detokenizer(byte_tokenizer(), options);
  std::vector<std::string> out;
  for (const int32_t id : ids) {
    std::string piece;
    EXPECT_TRUE(detokenizer.feed(id, piece).ok());
    out.push_back(piece);
  }
  std::string rest;
  detokenizer.finish(rest);
  out.push_back(rest);
  return out;
}

using Texts = std::vector<std::string>;

TEST(Detokenizer, HoldsACharacterBackUntilItIsWhole) {
  EXPECT_EQ(streamed({kByte + 0xF0, kByte + 0x9F, kByte + 0x99, kByte + 0x82, kYou}, {}),
            (Texts{"", "", "", "🙂", " you", ""}));
}

TEST(Detokenizer, ACutOrWrongSequenceIsAReplacementCharacter) {
  const std::string r(kReplacementBytes);
  EXPECT_EQ(streamed({kByte + 0xE4, kByte + 0xB8}, {}), (Texts{"", "", r}));
  EXPECT_EQ(streamed({kByte + 0xE4, kHi}, {}), (Texts{"", r + " Hi", ""}));
  EXPECT_EQ(streamed({kByte + 0xFF}, {}), (Texts{r, ""}));
}

TEST(Detokenizer, DropsTheBlankThatEncodingAdded) {
  EXPECT_EQ(streamed({kHi, kYou}, {}), (Texts{"Hi", " you", ""}));
  EXPECT_EQ(streamed({1, kHi, kYou}, {}), (Texts{"", "Hi", " you", ""}));
  EXPECT_EQ(streamed({kBlank, kHi}, {}), (Texts{"", " Hi", ""}));
  EXPECT_EQ(streamed({kHi}, {.at_text_start = false}), (Texts{" Hi", ""}));
}

TEST(Detokenizer, ControlTokensPrintOnlyOnRequest) {
  EXPECT_EQ(streamed({1, kHi, 2}, {}), (Texts{"", "Hi", "", ""}));
  EXPECT_EQ(streamed({1, kHi, 2}, {.show_special = true}), (Texts{"<s>", "Hi", "</s>", ""}));
}

TEST(Detokenizer, AnIdOutOfRangeIsAnError) {
  Detokenizer detokenizer(byte_tokenizer(), {});
  std::string out;
  for (const int32_t id : {-1, INT32_MIN, 263, INT32_MAX}) {
    const Status status = detokenizer.feed(id, out);
    ASSERT_FALSE(status.ok()) << id;
    EXPECT_NE(status.error().message.find(std::to_string(id)), std::string::npos);
  }
  EXPECT_TRUE(out.empty());
}

// Any ids, cut anywhere: each piece and the whole are valid UTF-8, and the whole is what all ids at once give.
TEST(Detokenizer, EveryStreamIsValidUtf8) {
  const Tokenizer tokenizer = byte_tokenizer();
  std::mt19937 random(4);
  for (int round = 0; round < 500; ++round) {
    Detokenizer detokenizer(tokenizer, {.show_special = true});
    std::vector<int32_t> ids(random() % 20);
    std::string whole;
    for (int32_t& id : ids) {
      id = static_cast<int32_t>(random() % 3 == 0 ? random() % tokenizer.vocabulary_size()
                                                  : kByte + 0x80 + random() % 0x80);
      std::string piece;
      ASSERT_TRUE(detokenizer.feed(id, piece).ok());
      ASSERT_TRUE(is_valid_utf8(piece));
      whole += piece;
    }
    detokenizer.finish(whole);
    std::string expected;
    append_valid_utf8(expected, tokenizer.decode(ids, true).value());
    ASSERT_EQ(whole, expected);
  }
}

}  // namespace
}  // namespace sluice::text
