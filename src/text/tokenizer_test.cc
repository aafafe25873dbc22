// What a tokenizer promises whatever its vocabulary: special tokens stay out of user text, every byte survives, time is
// linear, hostile sizes are Errors. Rows K1, K2, K5, K10 and H6 of the reliability list.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "base/limits.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_test_support.h"

namespace sluice::text {
namespace {

Tokenizer golden_tokenizer(const std::string& name) {
  const std::string bytes = read_file(std::string(SLUICE_SOURCE_DIR) + "/tests/goldens/tokenizers/" + name);
  auto spec =
      name.ends_with(".json") ? spec_from_tokenizer_json({.tokenizer_json = bytes}) : spec_from_sentencepiece(bytes);
  EXPECT_TRUE(spec.ok()) << spec.error().message;
  auto tokenizer = Tokenizer::create(std::move(*spec));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return *tokenizer;
}

const std::vector<std::string> kGoldenNames = {
    "byte-level.json", "gpt2-prefix.json", "custom-regex.json", "llama.json",       "metaspace.json",
    "gemma.json",      "unigram.json",     "sp-bpe.model",      "sp-bpe-unk.model", "sp-unigram.model"};

std::string random_bytes(std::mt19937& random, size_t most) {
  static const std::vector<std::string> parts = {"the",  " ",    "  ",   "\n",       "é",     "中",
                                                 "🙂", "<s>",  "</s>", "<unk>",    "<|x|>", "foo",
                                                 "12",   "\xFF", "\xC3", "\xE4\xB8", "'s",    "\xED\xA0\x80"};
  std::string text;
  while (text.size() < most)
    text += random() % 3 == 0 ? std::string(1, static_cast<char>(random())) : parts[random() % parts.size()];
  text.resize(random() % (most + 1));
  return text;
}

// Reliability K10.
TEST(Tokenizer, K10UserTextThatSpellsEverySpecialTokenYieldsNoSpecialId) {
  for (const std::string& name : kGoldenNames) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    std::string all;
    for (size_t i = 0; i < tokenizer.vocabulary_size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (tokenizer.type(id) == TokenType::kControl || tokenizer.type(id) == TokenType::kUnknown)
        all += std::string(tokenizer.token_bytes(id)) + " x ";
    }
    all += "<0x0A>";
    auto ids = tokenizer.encode(all, {.parse_special = false});
    ASSERT_TRUE(ids.ok());
    for (const int32_t id : *ids) {
      EXPECT_NE(tokenizer.type(id), TokenType::kControl) << name << ": " << tokenizer.token_bytes(id);
      // <0x0A> spells six characters, not a newline.
      if (tokenizer.type(id) != TokenType::kByte) continue;
      EXPECT_NE(tokenizer.token_bytes(id), "\n") << name;
    }
  }
}

TEST(Tokenizer, SpecialTokensAreFoundOnRequest) {
  const Tokenizer tokenizer = golden_tokenizer("byte-level.json");
  const int32_t x = tokenizer.find("<|x|>").value();
  EXPECT_EQ(tokenizer.encode("<|x|>", {.parse_special = true}).value(), std::vector<int32_t>{x});
  EXPECT_GT(tokenizer.encode("<|x|>", {.parse_special = false}).value().size(), 1u);
  EXPECT_TRUE(tokenizer.is_control(x));
}

// Reliability K10: a template's special tokens and a user's text in one prompt.
TEST(Tokenizer, K10InPartsOnlyTrustedTextSpellsSpecialTokens) {
  const Tokenizer tokenizer = golden_tokenizer("byte-level.json");
  const int32_t x = tokenizer.find("<|x|>").value();
  const auto count = [&](std::vector<TextPart> parts) {
    auto ids = tokenizer.encode_parts(parts, false);
    EXPECT_TRUE(ids.ok());
    return std::count(ids->begin(), ids->end(), x);
  };
  EXPECT_EQ(count({{"<|x|>", true}, {"<|x|>", false}, {"<|x|>", true}}), 2);
  EXPECT_EQ(count({{"<|", true}, {"x|>", false}}), 0);
  EXPECT_EQ(count({{"<|", false}, {"x|>", true}}), 0);
  EXPECT_EQ(count({{"<|", true}, {"x|>", true}}), 1);
  // Where no special token is, parts are one text.
  EXPECT_EQ(
      tokenizer.encode_parts(std::vector<TextPart>{{"the riv", true}, {"er tur", false}, {"ns", true}}, false).value(),
      tokenizer.encode("the river turns", {}).value());
}

TEST(Tokenizer, AddsThePrefixOnce) {
  const std::string path = shared_path("data/tokenizers/vocab-llama-spm.gguf");
  SLUICE_SKIP_WITHOUT(path);
  auto tokenizer = Tokenizer::create(spec_from_gguf(GgufKeys(path).tokenizer()).value());
  ASSERT_TRUE(tokenizer.ok());
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(tokenizer->encode("Hello", {.parse_special = true, .add_special = true}).value(), (Ids{1, 15043}));
  EXPECT_EQ(tokenizer->encode("<s>Hello", {.parse_special = true, .add_special = true}).value(), (Ids{1, 15043}));
  EXPECT_EQ(tokenizer->encode("<s>Hello", {.parse_special = true}).value(), (Ids{1, 15043}));
  EXPECT_EQ(tokenizer->encode("", {.add_special = true}).value(), (Ids{1}));
  EXPECT_EQ(tokenizer->decode(Ids{1, 15043}, false).value(), "Hello");
  EXPECT_EQ(tokenizer->decode(Ids{1, 15043}, true).value(), "<s>Hello");
}

// Every byte survives: byte-level vocabularies, and character ones with byte fallback (which print U+2581 as a blank).
TEST(Tokenizer, DecodingGivesBackWhatWasEncoded) {
  std::mt19937 random(17);
  for (const std::string name : {"byte-level.json", "llama.json", "gemma.json", "sp-bpe.model"}) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    const bool composes = !tokenizer.spec().normalizer.empty();
    for (int round = 0; round < 400; ++round) {
      const std::string text = random_bytes(random, 60);
      if (text.find("\xE2\x96\x81") != std::string::npos || composes) continue;
      for (const bool parse_special : {false, true}) {
        auto ids = tokenizer.encode(text, {.parse_special = parse_special});
        ASSERT_TRUE(ids.ok());
        ASSERT_EQ(tokenizer.decode(*ids, true).value(), text) << name << ", special " << parse_special;
      }
    }
  }
}

// Reliability H6: any bytes in, no crash, for every kind of tokenizer.
TEST(Tokenizer, TakesAnyBytes) {
  std::mt19937 random(23);
  for (const std::string& name : kGoldenNames) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (int round = 0; round < 300; ++round) {
      auto ids = tokenizer.encode(random_bytes(random, 40), {.parse_special = random() % 2 == 0, .add_special = true});
      ASSERT_TRUE(ids.ok()) << ids.error().message;
      ASSERT_TRUE(tokenizer.decode(*ids, true).ok());
    }
  }
}

// Reliability K2: refused before a byte is read; the pointer is good for one byte only.
TEST(Tokenizer, K2ATextOf2To31BytesIsRefused) {
  const Tokenizer tokenizer = golden_tokenizer("llama.json");
  const char byte = 'a';
  auto ids = tokenizer.encode(std::string_view(&byte, 1ull << 31), {});
  ASSERT_FALSE(ids.ok());
  EXPECT_EQ(ids.error().message, "text of 2147483648 bytes, limit 2147483647");
  const TextPart half{std::string_view(&byte, 1ull << 30), false};
  EXPECT_FALSE(tokenizer.encode_parts(std::vector<TextPart>{half, half}, false).ok());
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlower = 10;  // what watches every access
#else
constexpr double kSlower = 1;
#endif

// Reliability K5: ten megabytes of one character, in CPU time.
void expect_linear(const Tokenizer& tokenizer, const std::string& name, const std::string& unit, size_t bytes) {
  std::string text;
  text.reserve(bytes + unit.size());
  while (text.size() < bytes) text += unit;
  const std::clock_t start = std::clock();
  auto ids = tokenizer.encode(text, {.parse_special = true});
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  ASSERT_TRUE(ids.ok()) << ids.error().message;
  EXPECT_LT(seconds, kSlower * (4.0 * static_cast<double>(bytes) / 10e6 + 0.2)) << name << ": " << unit;
}

TEST(Tokenizer, K5TenMegabytesOfOneCharacterTakeLinearTime) {
  expect_linear(golden_tokenizer("byte-level.json"), "byte-level", "a", 10'000'000);
  expect_linear(golden_tokenizer("sp-bpe.model"), "sp-bpe", "a", 10'000'000);
}

TEST(Tokenizer, AMegabyteOfOneCharacterTakesLinearTimeEverywhere) {
  for (const std::string& name : kGoldenNames) {
    const Tokenizer tokenizer = golden_tokenizer(name);
    for (const std::string unit : {"a", " ", "\n", "é", "<", "1", "\xFF", "\xCC\x81", " a"})
      expect_linear(tokenizer, name, unit, 300'000);
  }
}

TEST(Tokenizer, APieceBeyondItsLimitIsAnError) {
  const Tokenizer tokenizer = golden_tokenizer("sp-unigram.model");
  auto ids = tokenizer.encode(std::string(limits::kPieceBytesMax + 1, 'a'), {});
  ASSERT_FALSE(ids.ok());
  EXPECT_NE(ids.error().message.find("without a place to cut"), std::string::npos);
}

TEST(Tokenizer, ALongTextIsItsWordsOneByOne) {
  // The cache of a long text must not change ids: compare with each line alone.
  const Tokenizer tokenizer = golden_tokenizer("byte-level.json");
  std::mt19937 random(2);
  const std::vector<std::string> words = {"the", " river", " turns", " 1234", " stone", "'s", " grinds", " wheel", "."};
  std::string text;
  std::vector<int32_t> expected;
  for (int line = 0; line < 600; ++line) {
    std::string one;
    for (int i = 0; i < 9; ++i) one += words[random() % words.size()];
    one += "\n";
    // A newline is a piece of its own only before a letter.
    auto ids = tokenizer.encode(one, {});
    ASSERT_TRUE(ids.ok());
    text += one;
    expected.insert(expected.end(), ids->begin(), ids->end());
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, {}).value(), false).value(), text);
  EXPECT_EQ(tokenizer.encode(text, {}).value().size(), expected.size());
}

}  // namespace
}  // namespace sluice::text
