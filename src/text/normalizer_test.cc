// Normalizers: Unicode forms, SentencePiece's charsmap (also damaged: reliability K4), time on hostile text.
#include "text/normalizer.h"

#include <gtest/gtest.h>

#include <ctime>

#include "text/sentencepiece_model.h"
#include "text/tokenizer_test_support.h"

namespace sluice::text {
namespace {

std::string applied(NormalizerStep step, std::string_view text) {
  auto normalizer = Normalizer::create({std::move(step)});
  EXPECT_TRUE(normalizer.ok());
  auto out = normalizer->apply(text);
  EXPECT_TRUE(out.ok());
  return *out;
}

TEST(Normalizer, UnicodeForms) {
  EXPECT_EQ(applied({.kind = NormalizerKind::kNfc}, "e\xCC\x81 x A\xCC\x8A"), "é x Å");
  EXPECT_EQ(applied({.kind = NormalizerKind::kNfd}, "é"), "e\xCC\x81");
  EXPECT_EQ(applied({.kind = NormalizerKind::kNfkc}, "ﬁne Ⅷ ２ ½ \xC2\xA0"),
            "fine VIII 2 1\xE2\x81\x84"
            "2  ");
  EXPECT_EQ(applied({.kind = NormalizerKind::kNfc}, "ﬁne"), "ﬁne");
  EXPECT_EQ(applied({.kind = NormalizerKind::kNfc}, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8"), "각");
  EXPECT_EQ(applied({.kind = NormalizerKind::kLowercase}, "ÀİΣ"), "ài\xCC\x87σ");
  EXPECT_EQ(applied({.kind = NormalizerKind::kStripAccents},
                    "e\xCC\x81"
                    "a"),
            "ea");
}

TEST(Normalizer, Rewriting) {
  EXPECT_EQ(applied({.kind = NormalizerKind::kPrepend, .text = "_"}, "a"), "_a");
  EXPECT_EQ(applied({.kind = NormalizerKind::kPrepend, .text = "_"}, ""), "");
  EXPECT_EQ(applied({.kind = NormalizerKind::kReplace, .text = " ", .replacement = "__"}, " a b"), "__a__b");
  EXPECT_EQ(
      applied({.kind = NormalizerKind::kReplace, .text = " {2,}", .replacement = " ", .is_regex = true}, "a   b c"),
      "a b c");
  EXPECT_EQ(applied({.kind = NormalizerKind::kStrip, .left = true, .right = true}, " \t a b \xE3\x80\x80"), "a b");
  EXPECT_EQ(applied({.kind = NormalizerKind::kCollapseSpaces}, "  a   b "), "a b");
  EXPECT_EQ(applied({.kind = NormalizerKind::kCollapseSpaces}, "   "), "");
}

TEST(Normalizer, BytesThatAreNoUtf8PassThrough) {
  const std::string bad =
      "a\xFF"
      "e\xCC\x81\xC3 \xE4\xB8";
  EXPECT_EQ(applied({.kind = NormalizerKind::kNfc}, bad), "a\xFFé\xC3 \xE4\xB8");
  EXPECT_EQ(applied({.kind = NormalizerKind::kLowercase}, bad), bad);
  EXPECT_EQ(applied({.kind = NormalizerKind::kReplace, .text = "a", .replacement = "b", .is_regex = true}, bad),
            "b" + bad.substr(1));
}

// utf8proc sorts marks by exchanging neighbours; a megabyte of marks in the wrong order must not take hours.
TEST(Normalizer, AMillionMarksInTheWrongOrderTakeLinearTime) {
  std::string text = "a";
  for (int i = 0; i < 250'000; ++i) text += "\xCC\x81\xCC\x96";
  const std::clock_t start = std::clock();
  const std::string out = applied({.kind = NormalizerKind::kNfc}, text);
  EXPECT_LT(std::clock() - start, 3 * CLOCKS_PER_SEC);
  EXPECT_LE(out.size(), text.size());
}

std::string golden_charsmap() {
  const std::string path = std::string(SLUICE_SOURCE_DIR) + "/tests/goldens/tokenizers/sp-unigram.model";
  auto spec = spec_from_sentencepiece(read_file(path));
  EXPECT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_FALSE(spec->normalizer.empty());
  return spec->normalizer[0].text;
}

TEST(Charsmap, ReplacesTheLongestPrefix) {
  const std::string blob = golden_charsmap();
  EXPECT_EQ(applied({.kind = NormalizerKind::kCharsmap, .text = blob}, "Å ﬁne Ⅷ ½ ça ç\r\n"), "A fine VIII 1/2 CA c\n");
  EXPECT_EQ(applied({.kind = NormalizerKind::kCharsmap, .text = blob}, "\xFFÅ\xC3"),
            "\xFF"
            "A\xC3");
}

// Reliability K4: the blob truncated at every byte, and every byte of it damaged.
TEST(Charsmap, K4ADamagedBlobIsAnErrorOrWrongTextButNeverACrash) {
  const std::string blob = golden_charsmap();
  const std::string text = "Å ﬁne Ⅷ ½ ça ç A\xCC\x8A\r\n plain \xFF";
  for (size_t size = 0; size <= blob.size(); ++size) {
    auto map = Charsmap::parse(std::string_view(blob).substr(0, size));
    if (!map.ok()) continue;
    std::string out;
    static_cast<void>(map->apply(text, out).ok());
  }
  for (size_t at = 0; at < blob.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string bad = blob;
      bad[at] = static_cast<char>(bad[at] ^ flip);
      auto map = Charsmap::parse(bad);
      if (!map.ok()) continue;
      std::string out;
      static_cast<void>(map->apply(text, out).ok());
    }
  }
  EXPECT_FALSE(Charsmap::parse("").ok());
  EXPECT_FALSE(Charsmap::parse(std::string("\xFF\xFF\xFF\xFF", 4)).ok());
  EXPECT_FALSE(Charsmap::parse(std::string(4, '\0')).ok());
}

}  // namespace
}  // namespace sluice::text
