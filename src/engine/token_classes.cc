#include "engine/token_classes.h"

#include <algorithm>
#include <array>

namespace sluice::engine {
namespace {

// English words that carry no meaning of their own, sorted.
constexpr std::array<std::string_view, 126> kStopwords = {
    "a", "about", "above", "after", "again", "against", "all", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been", "before", "being",
    "below", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing", "down", "during", "each", "few", "for", "from", "further", "had",
    "has", "have", "having", "he", "her", "here", "hers", "herself", "him", "himself", "his", "how", "i", "if", "in", "into", "is", "it", "its", "itself",
    "just", "me", "more", "most", "my", "myself", "no", "nor", "not", "now", "of", "off", "on", "once", "only", "or", "other", "our", "ours", "ourselves",
    "out", "over", "own", "s", "same", "she", "should", "so", "some", "such", "t", "than", "that", "the", "their", "theirs", "them", "themselves", "then",
    "there", "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "very", "was", "we", "were", "what", "when", "where", "which",
    "while", "who", "whom", "why", "will", "with", "would", "you", "your", "yours"};
static_assert(std::is_sorted(kStopwords.begin(), kStopwords.end()));

bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// One character of UTF-8; a cut or wrong one is its first byte, and U+FFFD.
struct Character {
  uint32_t code;
  size_t bytes;
};
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || text.size() < bytes) return {0xFFFD, 1};
  uint32_t code = lead & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) code = (code << 6) | (byte(i) & 0x3Fu);
  return {code, bytes};
}

bool is_emoji(uint32_t c) {
  return (c >= 0x1F1E6 && c <= 0x1FAFF) || (c >= 0x2600 && c <= 0x27BF) || c == 0xFE0F || c == 0x200D || (c >= 0x2B05 && c <= 0x2B55);
}

bool is_punctuation(uint32_t c) {
  const bool ascii = (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x40) || (c >= 0x5B && c <= 0x60) || (c >= 0x7B && c <= 0x7E);
  return ascii || (c >= 0xA1 && c <= 0xBF && c != 0xAA && c != 0xB2 && c != 0xB3 && c != 0xB5 && c != 0xB9 && c != 0xBA) || (c >= 0x2010 && c <= 0x205E) ||
         (c >= 0x3001 && c <= 0x301F) || (c >= 0xFF01 && c <= 0xFF0F);
}

}  // namespace

uint8_t token_class(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  if (text.empty()) return kWhitespace;
  if (text.starts_with("\xF0\x9F")) return kEmoji;  // whole, or the beginning of one that several tokens spell
  uint8_t all = kPunctuation | kNumber | kEmoji;
  for (std::string_view rest = text; !rest.empty() && all != 0;) {
    const Character c = first_character(rest);
    rest.remove_prefix(c.bytes);
    uint8_t is = 0;
    if (is_emoji(c.code)) is = kEmoji;
    else if (is_punctuation(c.code)) is = kPunctuation;
    else if (c.code >= '0' && c.code <= '9') is = kNumber;
    all &= is;
  }
  if (all != 0) return all;
  std::string word(text);
  for (char& c : word) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return std::binary_search(kStopwords.begin(), kStopwords.end(), std::string_view(word)) ? kStopword : 0;
}

TokenClasses::TokenClasses(const text::Tokenizer& tokenizer) {
  classes_.resize(tokenizer.vocabulary_size());
  for (size_t i = 0; i < classes_.size(); ++i) {
    if (!tokenizer.is_control(static_cast<int32_t>(i))) classes_[i] = token_class(tokenizer.token_bytes(static_cast<int32_t>(i)));
  }
}

}  // namespace sluice::engine
