#include "text/regex.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice::text {
namespace {

bool whole(std::string_view pattern, std::string_view text) {
  Allowance allowance({});
  const auto dfa = compile_regex(pattern, RegexMatch::kWhole, allowance);
  EXPECT_TRUE(dfa.ok()) << pattern << ": " << (dfa.ok() ? "" : dfa.error().message);
  return dfa.ok() && dfa->matches(text);
}

bool search(std::string_view pattern, std::string_view text) {
  Allowance allowance({});
  const auto dfa = compile_regex(pattern, RegexMatch::kSearch, allowance);
  EXPECT_TRUE(dfa.ok()) << pattern;
  return dfa.ok() && dfa->matches(text);
}

std::string refused(std::string_view pattern) {
  Allowance allowance({});
  const auto dfa = compile_regex(pattern, RegexMatch::kWhole, allowance);
  return dfa.ok() ? "" : dfa.error().message;
}

TEST(Regex, MatchesTheWholeText) {
  EXPECT_TRUE(whole("a(b|c)*d", "abcbd"));
  EXPECT_FALSE(whole("a(b|c)*d", "abcb"));
  EXPECT_TRUE(whole("[0-9]{3}-[0-9]{2,4}", "123-4567"));
  EXPECT_FALSE(whole("[0-9]{3}-[0-9]{2,4}", "123-45678"));
  EXPECT_TRUE(whole("x{0}y", "y"));
  EXPECT_TRUE(whole("", ""));
  EXPECT_FALSE(whole("", "a"));
  EXPECT_TRUE(whole("a|", ""));
  EXPECT_TRUE(whole("(?:ab)+?", "abab"));
  EXPECT_TRUE(whole("(?<year>\\d{4})", "2024"));
}

TEST(Regex, CharactersAreCodePoints) {
  EXPECT_TRUE(whole(".", "é"));
  EXPECT_TRUE(whole("^[^a]$", "日"));
  EXPECT_TRUE(whole("\\u65e5\\u{672C}", "日本"));
  EXPECT_TRUE(whole("\\ud83d\\ude00", "😀"));
  EXPECT_FALSE(whole(".", "\n"));
  EXPECT_TRUE(whole("\\p{Lu}\\p{Ll}+", "Élan"));
  EXPECT_FALSE(whole("\\p{Lu}", "é"));
  EXPECT_TRUE(whole("\\S+", "abc"));
  EXPECT_FALSE(whole("\\S+",
                     "a\xC2\xA0"
                     "c"));
}

TEST(Regex, AnchorsMeanTheEdgesOfTheText) {
  EXPECT_TRUE(search("b", "abc"));
  EXPECT_FALSE(search("^b", "abc"));
  EXPECT_TRUE(search("^foo|bar$", "foo and more"));
  EXPECT_TRUE(search("^foo|bar$", "a bar"));
  EXPECT_FALSE(search("^foo|bar$", "a foo, a bar."));
  EXPECT_TRUE(search("^$", ""));
  EXPECT_TRUE(search("$^", ""));
  EXPECT_FALSE(search("^$", "a"));
  EXPECT_FALSE(search("a^b", "ab"));
  EXPECT_TRUE(whole("(^a|b)c$", "ac"));
}

TEST(Regex, WhatIsNotRegularIsRefusedByName) {
  EXPECT_NE(refused("(a)\\1").find("backreference"), std::string::npos);
  EXPECT_NE(refused("(?=a)b").find("lookahead"), std::string::npos);
  EXPECT_NE(refused("(?<!a)b").find("lookbehind"), std::string::npos);
  EXPECT_NE(refused("\\bword").find("word boundary"), std::string::npos);
  EXPECT_NE(refused("a**").find("quantifier"), std::string::npos);
  EXPECT_NE(refused("*a").find("quantifier"), std::string::npos);
  EXPECT_NE(refused("(a").find("')'"), std::string::npos);
  EXPECT_NE(refused("a)").find("')'"), std::string::npos);
  EXPECT_NE(refused("[a").find("']'"), std::string::npos);
  EXPECT_NE(refused("[z-a]").find("out of order"), std::string::npos);
  EXPECT_NE(refused("a{4,2}").find("below"), std::string::npos);
  EXPECT_NE(refused("a\\").find("backslash"), std::string::npos);
  EXPECT_NE(refused("\\p{Klingon}").find("Klingon"), std::string::npos);
  EXPECT_NE(refused("\xC3(").find("UTF-8"), std::string::npos);
}

TEST(Regex, CountsAreLimited) {
  EXPECT_EQ(refused("a{2000}"), "");
  EXPECT_NE(refused("a{2001}").find("2001"), std::string::npos);
  EXPECT_NE(refused("a{99999999999999999999}").find("more than 2000"), std::string::npos);
  EXPECT_NE(refused("a{1,2147483647}").find("2147483647"), std::string::npos);
}

TEST(Regex, ExponentialPatternsAreRefusedByTheBudget) {
  EXPECT_NE(refused("(a{2000}){2000}").find("too"), std::string::npos);
  EXPECT_NE(refused("(.*a){30}(a|b)*a(a|b){25}").find("too"), std::string::npos);
  EXPECT_TRUE(whole("(a*)*b", std::string(5000, 'a') + "b"));  // a backtracking engine would never come back
}

TEST(CharDfa, IsClosedUnderSetOperations) {
  Allowance allowance({});
  const CharDfa words = *one_of({"cat", "car", "dog", ""}, allowance);
  const CharDfa starts_with_c = *compile_regex("^c", RegexMatch::kSearch, allowance);
  const CharDfa both = *combine(words, starts_with_c, SetOp::kAnd, allowance);
  EXPECT_TRUE(both.matches("cat"));
  EXPECT_FALSE(both.matches("dog"));
  const CharDfa others = *complement(words, allowance);
  EXPECT_FALSE(others.matches(""));
  EXPECT_FALSE(others.matches("dog"));
  EXPECT_TRUE(others.matches("do"));
  EXPECT_TRUE(others.matches("dogs"));
  EXPECT_TRUE(combine(words, others, SetOp::kAnd, allowance)->empty());
  EXPECT_FALSE(combine(words, others, SetOp::kOr, allowance)->empty());
  const CharDfa short_text = *length_between(2, 3, allowance);
  EXPECT_TRUE(short_text.matches("日本"));
  EXPECT_FALSE(short_text.matches("日"));
}

}  // namespace
}  // namespace sluice::text
