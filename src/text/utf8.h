// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
// Contract: any bytes may come in; an invalid sequence is reported with the length of its longest plausible prefix
// (Unicode 15, table 3-7). Next: text/char_class.h (what a character is), text/detokenizer.h (holds back an unfinished
// character).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::text {

inline constexpr uint32_t kReplacementCharacter = 0xFFFD;
inline constexpr std::string_view kReplacementBytes = "\xEF\xBF\xBD";

struct Utf8Char {
  uint32_t code;   // kReplacementCharacter if not valid
  uint32_t bytes;  // 1..4, never beyond the end of the text
  bool valid;
};

Utf8Char decode_utf8_beyond_ascii(std::string_view text, size_t at);

// The character at text[at]; at < text.size().
inline Utf8Char decode_utf8(std::string_view text, size_t at) {
  const auto first = static_cast<uint8_t>(text[at]);
  if (first < 0x80) return {first, 1, true};
  return decode_utf8_beyond_ascii(text, at);
}

// How many bytes a character takes; code <= 0x10FFFF.
constexpr uint32_t utf8_bytes(uint32_t code) {
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

void append_utf8(std::string& out, uint32_t code);

bool is_valid_utf8(std::string_view text);

// The number of bytes at the end of `text` that begin a character and could still be completed: 0..3.
size_t unfinished_utf8_bytes(std::string_view text);

// Appends `text` with every invalid sequence replaced by U+FFFD.
void append_valid_utf8(std::string& out, std::string_view text);

// The beginning of a text from a file, fit for an error message: at most 64 bytes, valid UTF-8.
std::string shown(std::string_view text);

}  // namespace sluice::text
