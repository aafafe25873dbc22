// Hand-written matchers for the split expressions that real tokenizers use: linear time, no stack, no regex engine.
// Contract: find_splitter(expression) gives a matcher that equals the expression (splitters_test.cc compares each with
// PCRE2) or null. Next: text/pre_tokenizer.h applies them; text/split_regex.h does every other expression.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "text/char_class.h"

namespace sluice::text {

// The length in characters of the match that begins at text[at] (at < text.size()), 0 if none does. Call it from left
// to right: at each character that no match has taken.
using Splitter = size_t (*)(std::span<const CharCode> text, size_t at);

// Null if there is none for this expression.
Splitter find_splitter(std::string_view expression);

// Every expression that has one; for tests.
std::span<const std::string_view> known_expressions();

// The expressions by name.
namespace expressions {
extern const std::string_view kGpt2;
extern const std::string_view
    kGpt2Spaces;  // with \s+ at the end, as tokenizer.json's ByteLevel has it: cuts the same pieces
extern const std::string_view kLlama3;
extern const std::string_view kQwen2;
extern const std::string_view kQwen35;
extern const std::string_view kTekken;
extern const std::string_view kGpt4o;
extern const std::string_view kKimi;
extern const std::string_view kDeepSeek3;
extern const std::string_view kHanKana;
extern const std::string_view kNewline;
extern const std::string_view kSpacedCased;
extern const std::string_view kSpacedLetters;
extern const std::string_view kSpacedDeepSeekPunctuation;
extern const std::string_view kSpacedPunctuation;
extern const std::string_view kSpacesAtEnd;
extern const std::string_view kDeepSeekEast;
extern const std::string_view kOneNumber;
extern const std::string_view kNumbers;
extern const std::string_view kNumbers3;
extern const std::string_view kFalconPunctuation;
extern const std::string_view kDefaultPunctuation;
extern const std::string_view kThreeDigits;
}  // namespace expressions

}  // namespace sluice::text
