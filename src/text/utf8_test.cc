// UTF-8: every class of malformed sequence (reliability H6).
#include "text/utf8.h"

#include <gtest/gtest.h>

namespace sluice::text {
namespace {

std::string repaired(std::string_view text) {
  std::string out;
  append_valid_utf8(out, text);
  return out;
}

TEST(Utf8, EveryCodeSurvivesEncodingAndDecoding) {
  for (uint32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 97) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append_utf8(text, code);
    const Utf8Char c = decode_utf8(text, 0);
    ASSERT_TRUE(c.valid) << code;
    ASSERT_EQ(c.code, code);
    ASSERT_EQ(c.bytes, text.size());
    ASSERT_EQ(utf8_bytes(code), text.size());
  }
}

TEST(Utf8, MalformedSequencesBecomeOneReplacementEach) {
  const std::string r(kReplacementBytes);
  EXPECT_EQ(repaired("\x80"), r);                          // continuation alone
  EXPECT_EQ(repaired("\xC0\xAF"), r + r);                  // overlong '/'
  EXPECT_EQ(repaired("\xE0\x80\xAF"), r + r + r);          // overlong in three bytes
  EXPECT_EQ(repaired("\xED\xA0\x80"), r + r + r);          // surrogate
  EXPECT_EQ(repaired("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(repaired("\xF8\x88\x80\x80\x80"), r + r + r + r + r);
  EXPECT_EQ(repaired("\xFF"
                     "a"),
            r + "a");
  EXPECT_EQ(repaired("\xE4\xB8"
                     "a"),
            r + "a");                      // cut in the middle
  EXPECT_EQ(repaired("\xF0\x9F\x99"), r);  // cut at the end
  EXPECT_TRUE(is_valid_utf8("a\xC3\xA4\xE4\xB8\xAD\xF0\x9F\x99\x82"));
  EXPECT_FALSE(is_valid_utf8("a\xC3"));
}

TEST(Utf8, OnlyABeginningThatCanStillBeCompletedIsUnfinished) {
  EXPECT_EQ(unfinished_utf8_bytes(""), 0u);
  EXPECT_EQ(unfinished_utf8_bytes("abc"), 0u);
  EXPECT_EQ(unfinished_utf8_bytes("a\xC3"), 1u);
  EXPECT_EQ(unfinished_utf8_bytes("a\xE4\xB8"), 2u);
  EXPECT_EQ(unfinished_utf8_bytes("a\xF0\x9F\x99"), 3u);
  EXPECT_EQ(unfinished_utf8_bytes("a\xF0\x9F\x99\x82"), 0u);
  EXPECT_EQ(unfinished_utf8_bytes("\x82\x82\x82\x82"), 0u);
  EXPECT_EQ(unfinished_utf8_bytes("\xED\xA0"), 0u);  // a surrogate's beginning
  EXPECT_EQ(unfinished_utf8_bytes("\xFF"), 0u);
}

}  // namespace
}  // namespace sluice::text
