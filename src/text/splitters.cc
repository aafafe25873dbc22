// Each matcher is one alternation, its branches tried in order as an expression engine would.
// Contract: text/splitters.h. White space and classes are Unicode's.
// Next: text/splitters_test.cc.
#include "text/splitters.h"

#include <array>

namespace sluice::text {
namespace {

using Text = std::span<const CharCode>;

template <class Predicate>
size_t run_end(Text text, size_t at, Predicate predicate) {
  while (at < text.size() && predicate(text[at])) ++at;
  return at;
}

bool is_newline(CharCode c) {
  return code_of(c) == '\n' || code_of(c) == '\r';
}
bool is_letter(CharCode c) {
  return has(c, kLetter);
}
bool is_word(CharCode c) {
  return has(c, kLetter | kMark);
}
bool is_number(CharCode c) {
  return has(c, kNumber);
}
bool is_space(CharCode c) {
  return has(c, kSpace);
}
bool is_punctuation(CharCode c) {
  return has(c, kPunctuation);
}
bool is_other(CharCode c) {
  return !has(c, kSpace | kLetter | kNumber);
}
bool is_other_unmarked(CharCode c) {
  return !has(c, kSpace | kLetter | kNumber | kMark);
}

// Lower case of an ASCII letter; U+017F (long s) folds to s, as (?i) has it.
uint32_t folded(CharCode c) {
  const uint32_t code = code_of(c);
  if (code >= 'A' && code <= 'Z') return code + 32;
  return code == 0x17F ? 's' : code;
}

// 's 't 're 've 'm 'll 'd at `at`: its length or 0.
size_t contraction(Text text, size_t at, bool any_case) {
  if (code_of(text[at]) != '\'' || at + 1 >= text.size()) return 0;
  const auto letter = [&](size_t i) { return any_case ? folded(text[i]) : code_of(text[i]); };
  const uint32_t first = letter(at + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (at + 2 >= text.size()) return 0;
  const uint32_t second = letter(at + 2);
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  return first == 'l' && second == 'l' ? 3 : 0;
}

size_t spaces_but_last(Text text, size_t at) {
  const size_t end = run_end(text, at, is_space);
  if (end == text.size() || end - at == 1) return end - at;
  return end - at - 1;
}

// \s*[\r\n]+|\s+(?!\S)|\s+
size_t space_tail(Text text, size_t at) {
  if (!is_space(text[at])) return 0;
  const size_t end = run_end(text, at, is_space);
  for (size_t i = end; i > at; --i) {
    if (is_newline(text[i - 1])) return i - at;
  }
  if (end == text.size() || end - at == 1) return end - at;
  return end - at - 1;
}

size_t gpt2(Text text, size_t at) {
  if (const size_t length = contraction(text, at, false)) return length;
  const size_t from = at + (code_of(text[at]) == ' ' ? 1 : 0);
  if (from < text.size() && !is_space(text[from])) {
    const CharCode c = text[from];
    if (is_letter(c)) return run_end(text, from, is_letter) - at;
    if (is_number(c)) return run_end(text, from, is_number) - at;
    return run_end(text, from, is_other) - at;
  }
  return spaces_but_last(text, at);
}

// [^\r\n\p{L}\p{N}]?WORD+
template <class Word>
size_t prefixed_word(Text text, size_t at, Word word) {
  if (word(text[at])) return run_end(text, at, word) - at;
  const bool prefix = !is_newline(text[at]) && !has(text[at], kLetter | kNumber);
  if (!prefix || at + 1 >= text.size() || !word(text[at + 1])) return 0;
  return run_end(text, at + 1, word) - at;
}

size_t numbers(Text text, size_t at, size_t most) {
  size_t length = 0;
  while (length < most && at + length < text.size() && is_number(text[at + length])) ++length;
  return length;
}

// ` ?OTHER+[\r\n]*`, with '/' among the newlines if slash
template <class Other>
size_t spaced_other(Text text, size_t at, Other other, bool slash) {
  const size_t from = at + (code_of(text[at]) == ' ' ? 1 : 0);
  const size_t end = run_end(text, from, other);
  if (end == from) return 0;
  return run_end(text, end, [&](CharCode c) { return is_newline(c) || (slash && code_of(c) == '/'); }) - at;
}

template <class Word, class Other>
size_t cl100k(Text text, size_t at, Word word, Other other, size_t digits) {
  if (const size_t length = contraction(text, at, true)) return length;
  if (const size_t length = prefixed_word(text, at, word)) return length;
  if (const size_t length = numbers(text, at, digits)) return length;
  if (const size_t length = spaced_other(text, at, other, false)) return length;
  return space_tail(text, at);
}

size_t llama3(Text text, size_t at) {
  return cl100k(text, at, is_letter, is_other, 3);
}
size_t qwen2(Text text, size_t at) {
  return cl100k(text, at, is_letter, is_other, 1);
}
size_t qwen35(Text text, size_t at) {
  return cl100k(text, at, is_word, is_other_unmarked, 1);
}

// The two word branches of tekken and gpt-4o: capitals then small letters. Marks and letters without case are both.
template <bool kWithoutHan>
struct CasedWord {
  static bool upper(CharCode c) { return has(c, kUpper | kOtherLetter | kMark) && !(kWithoutHan && has(c, kHan)); }
  static bool lower(CharCode c) { return has(c, kLower | kOtherLetter | kMark) && !(kWithoutHan && has(c, kHan)); }

  // UPPER*LOWER+ from `from`: the end, or 0
  static size_t small(Text text, size_t from) {
    const size_t capitals = run_end(text, from, upper);
    const size_t end = run_end(text, capitals, lower);
    if (end > capitals) return end;
    for (size_t i = capitals; i > from; --i) {
      if (lower(text[i - 1])) return i;
    }
    return 0;
  }

  // UPPER+LOWER* from `from`: the end, or 0
  static size_t capital(Text text, size_t from) {
    const size_t capitals = run_end(text, from, upper);
    return capitals == from ? 0 : run_end(text, capitals, lower);
  }

  static size_t match(Text text, size_t at) {
    const bool prefix = !is_newline(text[at]) && !has(text[at], kLetter | kNumber);
    size_t end = prefix ? small(text, at + 1) : 0;
    if (end == 0) end = small(text, at);
    if (end == 0 && prefix) end = capital(text, at + 1);
    if (end == 0) end = capital(text, at);
    return end == 0 ? 0 : end - at;
  }

  static size_t match_with_contraction(Text text, size_t at) {
    const size_t length = match(text, at);
    if (length == 0 || at + length >= text.size()) return length;
    return length + contraction(text, at + length, true);
  }
};

size_t tekken(Text text, size_t at) {
  if (const size_t length = CasedWord<false>::match(text, at)) return length;
  if (const size_t length = numbers(text, at, 1)) return length;
  if (const size_t length = spaced_other(text, at, is_other, true)) return length;
  return space_tail(text, at);
}

size_t gpt4o(Text text, size_t at) {
  if (const size_t length = CasedWord<false>::match_with_contraction(text, at)) return length;
  if (const size_t length = numbers(text, at, 3)) return length;
  if (const size_t length = spaced_other(text, at, is_other, true)) return length;
  return space_tail(text, at);
}

size_t kimi(Text text, size_t at) {
  if (has(text[at], kHan)) {
    return run_end(text, at, [](CharCode c) { return has(c, kHan); }) - at;
  }
  if (const size_t length = CasedWord<true>::match_with_contraction(text, at)) return length;
  if (const size_t length = numbers(text, at, 3)) return length;
  if (const size_t length = spaced_other(text, at, is_other, false)) return length;
  return space_tail(text, at);
}

bool is_ascii_letter(CharCode c) {
  const uint32_t code = code_of(c);
  return (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
}

bool is_ascii_punctuation(CharCode c) {
  const uint32_t code = code_of(c);
  return code > 32 && code < 127 && !is_ascii_letter(c) && !(code >= '0' && code <= '9');
}

size_t deepseek3(Text text, size_t at) {
  const CharCode c = text[at];
  if (is_ascii_punctuation(c) && at + 1 < text.size() && is_ascii_letter(text[at + 1]))
    return run_end(text, at + 1, is_ascii_letter) - at;
  if (is_word(c)) return run_end(text, at, is_word) - at;
  const bool prefix = !is_newline(c) && !has(c, kLetter | kPunctuation | kSymbol);
  if (prefix && at + 1 < text.size() && is_word(text[at + 1])) return run_end(text, at + 1, is_word) - at;
  const auto sign = [](CharCode x) { return has(x, kPunctuation | kSymbol); };
  if (const size_t length = spaced_other(text, at, sign, false)) return length;
  return space_tail(text, at);
}

bool is_between(CharCode c, uint32_t first, uint32_t last) {
  return code_of(c) >= first && code_of(c) <= last;
}

size_t han_kana(Text text, size_t at) {
  return run_end(text, at, [](CharCode c) { return is_between(c, 0x4E00, 0x9FA5) || is_between(c, 0x3040, 0x30FF); }) -
         at;
}

size_t newline(Text text, size_t at) {
  return is_newline(text[at]) ? 1 : 0;
}

// \s?C+
template <class Predicate>
size_t spaced_run(Text text, size_t at, Predicate predicate) {
  if (is_space(text[at])) {
    const size_t end = run_end(text, at + 1, predicate);
    if (end > at + 1) return end - at;
  }
  return run_end(text, at, predicate) - at;
}

size_t spaced_cased(Text text, size_t at) {
  return spaced_run(text, at, [](CharCode c) { return has(c, kUpper | kLower); });
}

size_t spaced_letters(Text text, size_t at) {
  return spaced_run(text, at, is_letter);
}
size_t spaced_punctuation(Text text, size_t at) {
  return spaced_run(text, at, is_punctuation);
}

size_t spaced_deepseek_punctuation(Text text, size_t at) {
  return spaced_run(text, at, [](CharCode c) {
    return is_between(c, '!', '/') || is_between(c, ':', '~') || is_between(c, 0xFF01, 0xFF0F) ||
           is_between(c, 0xFF1A, 0xFF5E) || is_between(c, 0x2018, 0x201F) || is_between(c, 0x3000, 0x3002);
  });
}

size_t spaces_at_end(Text text, size_t at) {
  // The blank before this one was tried first, and failed: so this run does not reach the end. Keeps long runs linear.
  if (!is_space(text[at]) || (at > 0 && is_space(text[at - 1]))) return 0;
  const size_t end = run_end(text, at, is_space);
  return end == text.size() ? end - at : 0;
}

size_t deepseek_east(Text text, size_t at) {
  const auto east = [](CharCode c) {
    return is_between(c, 0x4E00, 0x9FA5) || is_between(c, 0x0800, 0x4E00) || is_between(c, 0xAC00, 0xD7FF);
  };
  return run_end(text, at, east) - at;
}

size_t one_number(Text text, size_t at) {
  return numbers(text, at, 1);
}
size_t three_numbers(Text text, size_t at) {
  return numbers(text, at, 3);
}
size_t all_numbers(Text text, size_t at) {
  return run_end(text, at, is_number) - at;
}

bool is_default_punctuation(CharCode c) {
  const uint32_t code = code_of(c);
  return is_punctuation(c) || code == '$' || code == '+' || code == '<' || code == '=' || code == '>' || code == '^' ||
         code == '~' || code == '|';
}

size_t default_punctuation(Text text, size_t at) {
  return run_end(text, at, is_default_punctuation) - at;
}

size_t falcon_punctuation(Text text, size_t at) {
  return run_end(text, at, [](CharCode c) { return is_default_punctuation(c) || code_of(c) == '`'; }) - at;
}

size_t three_digits(Text text, size_t at) {
  if (text.size() - at < 3) return 0;
  for (size_t i = at; i < at + 3; ++i) {
    if (!is_between(text[i], '0', '9')) return 0;
  }
  return 3;
}

}  // namespace

namespace expressions {
#define SLUICE_TAIL R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
#define SLUICE_CONTRACTION R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define SLUICE_UPPER R"(\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M})"
#define SLUICE_LOWER R"(\p{Ll}\p{Lm}\p{Lo}\p{M})"
const std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
const std::string_view kGpt2Spaces = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const std::string_view kLlama3 =
    SLUICE_CONTRACTION R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)" SLUICE_TAIL;
const std::string_view kQwen2 =
    SLUICE_CONTRACTION R"(|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)" SLUICE_TAIL;
const std::string_view kQwen35 =
    SLUICE_CONTRACTION R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" SLUICE_TAIL;
const std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[)" SLUICE_UPPER "]*[" SLUICE_LOWER R"(]+|[^\r\n\p{L}\p{N}]?[)" SLUICE_UPPER "]+[" SLUICE_LOWER
    R"(]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SLUICE_TAIL;
const std::string_view kGpt4o = R"([^\r\n\p{L}\p{N}]?[)" SLUICE_UPPER "]*[" SLUICE_LOWER "]+" SLUICE_CONTRACTION
                                R"(?|[^\r\n\p{L}\p{N}]?[)" SLUICE_UPPER "]+[" SLUICE_LOWER "]*" SLUICE_CONTRACTION
                                R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SLUICE_TAIL;
// The class intersections && of Kimi's file are written here as lookaheads, which PCRE2 knows.
const std::string_view kKimi =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?(?:(?!\p{Han})[)" SLUICE_UPPER R"(])*(?:(?!\p{Han})[)" SLUICE_LOWER
    "])+" SLUICE_CONTRACTION R"(?|[^\r\n\p{L}\p{N}]?(?:(?!\p{Han})[)" SLUICE_UPPER R"(])+(?:(?!\p{Han})[)" SLUICE_LOWER
    "])*" SLUICE_CONTRACTION R"(?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)" SLUICE_TAIL;
const std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" SLUICE_TAIL;
const std::string_view kHanKana = "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+";
const std::string_view kNewline = R"([\r\n])";
const std::string_view kSpacedCased = R"(\s?[\p{Lu}\p{Ll}\p{Lt}]+)";
const std::string_view kSpacedLetters = R"(\s?\p{L}+)";
const std::string_view kSpacedDeepSeekPunctuation =
    "\\s?[!-/:-~\xEF\xBC\x81-\xEF\xBC\x8F\xEF\xBC\x9A-\xEF\xBD\x9E\xE2\x80\x98-\xE2\x80\x9F\xE3\x80\x80-\xE3\x80\x82]+";
const std::string_view kSpacedPunctuation = R"(\s?\p{P}+)";
const std::string_view kSpacesAtEnd = R"(\s+$)";
const std::string_view kDeepSeekEast = "[\xE4\xB8\x80-\xE9\xBE\xA5\xE0\xA0\x80-\xE4\xB8\x80\xEA\xB0\x80-\xED\x9F\xBF]+";
const std::string_view kOneNumber = R"(\p{N})";
const std::string_view kNumbers = R"(\p{N}+)";
const std::string_view kNumbers3 = R"(\p{N}{1,3})";
const std::string_view kFalconPunctuation = R"([\p{P}\$\+<=>\^~\|`]+)";
const std::string_view kDefaultPunctuation = R"([\p{P}\$\+<=>\^~\|]+)";
const std::string_view kThreeDigits = "[0-9][0-9][0-9]";
}  // namespace expressions

namespace {

struct Known {
  std::string_view expression;
  Splitter splitter;
};

const auto& known_table() {
  using namespace expressions;
  static const std::array<Known, 23> table = {{{kGpt2, gpt2},
                                               {kGpt2Spaces, gpt2},
                                               {kLlama3, llama3},
                                               {kQwen2, qwen2},
                                               {kQwen35, qwen35},
                                               {kTekken, tekken},
                                               {kGpt4o, gpt4o},
                                               {kKimi, kimi},
                                               {kDeepSeek3, deepseek3},
                                               {kHanKana, han_kana},
                                               {kNewline, newline},
                                               {kSpacedCased, spaced_cased},
                                               {kSpacedLetters, spaced_letters},
                                               {kSpacedDeepSeekPunctuation, spaced_deepseek_punctuation},
                                               {kSpacedPunctuation, spaced_punctuation},
                                               {kSpacesAtEnd, spaces_at_end},
                                               {kDeepSeekEast, deepseek_east},
                                               {kOneNumber, one_number},
                                               {kNumbers, all_numbers},
                                               {kNumbers3, three_numbers},
                                               {kFalconPunctuation, falcon_punctuation},
                                               {kDefaultPunctuation, default_punctuation},
                                               {kThreeDigits, three_digits}}};
  return table;
}

}  // namespace

Splitter find_splitter(std::string_view expression) {
  for (const Known& known : known_table()) {
    if (known.expression == expression) return known.splitter;
  }
  return nullptr;
}

std::span<const std::string_view> known_expressions() {
  static const auto all = [] {
    std::array<std::string_view, std::tuple_size_v<std::remove_cvref_t<decltype(known_table())>>> names;
    for (size_t i = 0; i < names.size(); ++i) names[i] = known_table()[i].expression;
    return names;
  }();
  return all;
}

}  // namespace sluice::text
