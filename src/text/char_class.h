// What a character is, as far as pre-tokenizers ask: letter, mark, number, punctuation, symbol, space.
// Contract: Unicode general categories as utf8proc has them; \s is the White_Space property. A CharCode packs the
// character and its class. Next: text/splitters.h.
#pragma once

#include <cstdint>

namespace sluice::text {

enum CharClass : uint32_t {
  kUpper = 1u << 21,        // Lu Lt
  kLower = 1u << 22,        // Ll
  kOtherLetter = 1u << 23,  // Lm Lo
  kMark = 1u << 24,         // M*
  kNumber = 1u << 25,       // N*
  kPunctuation = 1u << 26,  // P*
  kSymbol = 1u << 27,       // S*
  kSpace = 1u << 28,        // White_Space
  kHan = 1u << 29,          // script Han
};
inline constexpr uint32_t kLetter = kUpper | kLower | kOtherLetter;
inline constexpr uint32_t kCodeMask = (1u << 21) - 1;

// The character in the low 21 bits, its classes above.
using CharCode = uint32_t;

// code <= 0x10FFFF
CharCode classify(uint32_t code);

// \w: Alphabetic, marks, decimal digits, connectors, and the two joiners; code <= 0x10FFFF.
bool is_word_character(uint32_t code);

inline bool has(CharCode c, uint32_t classes) {
  return (c & classes) != 0;
}
inline uint32_t code_of(CharCode c) {
  return c & kCodeMask;
}

}  // namespace sluice::text
