// Every hand-written splitter against PCRE2 on random text, and the behaviours of a split.
#include "text/splitters.h"

#include <gtest/gtest.h>

#include <random>

#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

// Letters of every class, marks, digits, blanks of every kind, signs, Han and kana, contractions.
std::string random_text(std::mt19937& random) {
  static const std::vector<std::string> parts = {"a",
                                                 "bc",
                                                 "Z",
                                                 "QR",
                                                 "s",
                                                 "S",
                                                 "t",
                                                 "'s",
                                                 "'LL",
                                                 "'Ve",
                                                 "'",
                                                 "d",
                                                 "ä",
                                                 "Ø",
                                                 "ß",
                                                 "ſ",
                                                 "ı",
                                                 "ǅ",
                                                 "ʰ",
                                                 "ª",
                                                 "中",
                                                 "文字",
                                                 "か",
                                                 "カナ",
                                                 "한",
                                                 "Ж",
                                                 "я",
                                                 "א",
                                                 "ก",
                                                 "ำ",
                                                 "ि",
                                                 "\xCC\x81",
                                                 "\xCC\xA3",
                                                 "1",
                                                 "22",
                                                 "4567",
                                                 "½",
                                                 "Ⅷ",
                                                 "٣",
                                                 "²",
                                                 " ",
                                                 "  ",
                                                 "   ",
                                                 "\n",
                                                 "\n\n",
                                                 "\r\n",
                                                 "\t",
                                                 "\xC2\xA0",
                                                 "\xE3\x80\x80",
                                                 "\xE2\x80\xA8",
                                                 ".",
                                                 ",",
                                                 "!?",
                                                 "(",
                                                 ")",
                                                 "$",
                                                 "+",
                                                 "<",
                                                 "=",
                                                 ">",
                                                 "^",
                                                 "~",
                                                 "|",
                                                 "`",
                                                 "/",
                                                 "//",
                                                 "_",
                                                 "-",
                                                 "…",
                                                 "“",
                                                 "€",
                                                 "∑",
                                                 "🙂",
                                                 "\xE2\x80\x8D",
                                                 "\xEF\xBB\xBF",
                                                 "々",
                                                 "〇"};
  std::string text;
  for (size_t n = random() % 14; n > 0; --n) text += parts[random() % parts.size()];
  return text;
}

std::vector<std::string> pieces_of(const PreTokenizer& pre, std::string_view text) {
  Pieces pieces;
  const Status status = pre.split(text, true, pieces);
  EXPECT_TRUE(status.ok());
  std::vector<std::string> out;
  size_t begin = 0;
  for (const size_t end : pieces.ends) {
    out.push_back(pieces.text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, pieces.text.size());
  return out;
}

PreTokenizer made(std::vector<PreTokenizerStep> steps) {
  auto pre = PreTokenizer::create(steps);
  EXPECT_TRUE(pre.ok()) << pre.error().message;
  return std::move(*pre);
}

TEST(Splitters, EachOneCutsLikePcre2) {
  for (const std::string_view expression : known_expressions()) {
    // In a group the expression is unknown to the table, so PCRE2 runs it.
    const PreTokenizer by_hand = made({{.text = std::string(expression)}});
    const PreTokenizer by_pcre2 = made({{.text = "(?:" + std::string(expression) + ")"}});
    ASSERT_NE(find_splitter(expression), nullptr);
    std::mt19937 random(3);
    for (int i = 0; i < 1500; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(pieces_of(by_hand, text), pieces_of(by_pcre2, text)) << expression << "\non: " << text;
    }
  }
}

TEST(Splitters, ALimitThatAnExpressionHitsIsAnError) {
  const PreTokenizer pre = made({{.text = "(a|aa|aaa|b)+$"}});
  Pieces pieces;
  const Status status = pre.split(std::string(5000, 'a') + "c", true, pieces);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("gave up"), std::string::npos);
}

TEST(Splitters, ABadExpressionIsAnError) {
  for (const char* bad : {"(", "[a", "a{2,1}", "(?<=a+)b", "[\\p{L}&&\\p{M}]", "\\C", ""}) {
    EXPECT_FALSE(PreTokenizer::create({{.text = bad}}).ok()) << bad;
  }
  EXPECT_FALSE(PreTokenizer::create({{.text = std::string(5000, '(')}}).ok());
}

TEST(PreTokenizer, BehavioursCutAsTheirNamesSay) {
  const auto cut = [](SplitBehavior behavior, bool invert) {
    return pieces_of(made({{.text = ",", .is_regex = false, .behavior = behavior, .invert = invert}}), "a,b,,c");
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(cut(SplitBehavior::kIsolated, false), (Texts{"a", ",", "b", ",", ",", "c"}));
  EXPECT_EQ(cut(SplitBehavior::kRemoved, false), (Texts{"a", "b", "c"}));
  EXPECT_EQ(cut(SplitBehavior::kRemoved, true), (Texts{",", ",", ","}));
  EXPECT_EQ(cut(SplitBehavior::kMergedWithPrevious, false), (Texts{"a,", "b,", ",", "c"}));
  EXPECT_EQ(cut(SplitBehavior::kMergedWithNext, false), (Texts{"a", ",b", ",", ",c"}));
  EXPECT_EQ(cut(SplitBehavior::kContiguous, false), (Texts{"a", ",", "b", ",,", "c"}));
}

// Reliability H6: bytes that are no UTF-8 stay where they are, whatever cuts the text.
TEST(PreTokenizer, KeepsEveryByteOfInvalidText) {
  std::mt19937 random(5);
  for (const std::string_view expression : known_expressions()) {
    const PreTokenizer by_hand = made({{.text = std::string(expression)}});
    const PreTokenizer by_pcre2 = made({{.text = "(?:" + std::string(expression) + ")"}});
    for (int i = 0; i < 200; ++i) {
      std::string text = random_text(random);
      for (char& c : text) {
        if (random() % 4 == 0) c = static_cast<char>(random());
      }
      for (const PreTokenizer* pre : {&by_hand, &by_pcre2}) {
        std::string joined;
        for (const std::string& piece : pieces_of(*pre, text)) joined += piece;
        ASSERT_EQ(joined, text);
      }
    }
  }
}

}  // namespace
}  // namespace sluice::text
