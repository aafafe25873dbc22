// A spec's byte string: there and back, and every way of being damaged.
#include "text/tokenizer_spec.h"

#include <gtest/gtest.h>

#include <random>

#include "base/limits.h"
#include "text/tokenizer.h"

namespace sluice::text {
namespace {

TokenizerSpec full_spec() {
  TokenizerSpec s;
  s.kind = ModelKind::kSentencePieceBpe;
  s.tokens = {"<unk>", "<s>", "a", "\xE2\x96\x81", "\x01", std::string(300, 'x'), "ab", ""};
  s.types = {TokenType::kUnknown, TokenType::kControl, TokenType::kNormal,      TokenType::kNormal,
             TokenType::kByte,    TokenType::kNormal,  TokenType::kUserDefined, TokenType::kUnused};
  s.scores = {0, 0, -1.5f, -2, 0, 3e38f, -0.0f, 1e-40f};
  s.extra_symbols = {"q", "zz"};
  s.merges = {{2, 8}, {9, 9}};
  s.normalizer = {{.kind = NormalizerKind::kNfkc},
                  {.kind = NormalizerKind::kReplace,
                   .text = "a",
                   .replacement = "b",
                   .is_regex = true,
                   .left = true,
                   .right = true}};
  s.pre_tokenizer = {
      {.text = "x+", .behavior = SplitBehavior::kMergedWithNext, .invert = true},
      {.kind = PreTokenizerKind::kMetaspace, .text = "_", .prefix = SpacePrefix::kFirst, .split_words = true}};
  s.added_tokens = {{.id = 1, .special = true},
                    {.id = 6, .normalized = true, .lstrip = true, .rstrip = true, .single_word = true}};
  s.space_prefix = SpacePrefix::kAlways;
  s.replace_spaces = s.byte_fallback = s.ignore_merges = true;
  s.bos_id = 1;
  s.unknown_id = 0;
  s.prefix_ids = {1};
  s.end_ids = {1, 2};
  s.chat_templates = {{"default", "{{ x }}"}, {"tool_use", ""}};
  s.notes = {"odd"};
  return s;
}

TEST(TokenizerSpec, SurvivesItsByteString) {
  const TokenizerSpec spec = full_spec();
  ASSERT_TRUE(check_spec(spec).ok());
  auto back = parse_spec(serialize(spec));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, spec);
  auto empty = parse_spec(serialize(TokenizerSpec{}));
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(*empty, TokenizerSpec{});
}

TEST(TokenizerSpec, TruncatedAtEveryByteIsAnError) {
  const std::string bytes = serialize(full_spec());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(parse_spec(std::string_view(bytes).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(parse_spec(bytes + "x").ok());
}

TEST(TokenizerSpec, DamagedBytesAreAnErrorOrASpecThatTokenizes) {
  const std::string bytes = serialize(full_spec());
  std::mt19937 random(1);
  for (int round = 0; round < 4000; ++round) {
    std::string bad = bytes;
    for (size_t n = 1 + random() % 3; n > 0; --n) bad[random() % bad.size()] = static_cast<char>(random());
    auto spec = parse_spec(bad);
    if (!spec.ok()) continue;
    auto tokenizer = Tokenizer::create(std::move(*spec));
    if (!tokenizer.ok()) continue;
    auto ids = tokenizer->encode("ab  a<s>x\xFF", {.parse_special = true, .add_special = true});
    if (!ids.ok()) continue;
    EXPECT_TRUE(tokenizer->decode(*ids, true).ok());
  }
}

// What is said of a spec after this change, in memory and as it is stored.
template <class Change>
std::string broken(Change change) {
  TokenizerSpec spec = full_spec();
  change(spec);
  const Status status = check_spec(spec);
  EXPECT_FALSE(parse_spec(serialize(spec)).ok());
  return status.ok() ? std::string() : status.error().message;
}

TEST(TokenizerSpec, SaysWhatIsOutOfRange) {
  EXPECT_EQ(broken([](auto& s) { s.bos_id = 8; }), "bos id 8 with 8 tokens");
  EXPECT_EQ(broken([](auto& s) { s.merges[1].right = 10; }), "merge 1 joins symbols 9 and 10 of 10");
  EXPECT_EQ(broken([](auto& s) { s.added_tokens[0].id = 99; }), "added token id 99 with 8 tokens");
  EXPECT_EQ(broken([](auto& s) { s.tokens[4] = "ab"; }), "byte token 4 stands for 2 bytes");
}

// Reliability K1: no token is long enough to make a length negative anywhere.
TEST(TokenizerSpec, K1ATokenBeyondItsLimitIsRefused) {
  EXPECT_EQ(broken([](auto& s) { s.tokens[2].assign(limits::kTokenBytesMax + 1, 'x'); }), "token 2 has 65537 bytes, limit 65536");
}

}  // namespace
}  // namespace sluice::text
