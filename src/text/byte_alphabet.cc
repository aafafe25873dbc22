// The alphabet both ways.
// Contract: text/byte_alphabet.h.
// Next: text/tokenizer_gguf_test.cc.
#include "text/byte_alphabet.h"

#include <array>

#include "text/utf8.h"

namespace sluice::text {
namespace {

constexpr uint32_t kAlphabetEnd = 0x100 + 68;

constexpr bool is_itself(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct Alphabet {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};
};

constexpr Alphabet make_alphabet() {
  Alphabet a;
  for (auto& b : a.byte) b = -1;
  uint16_t next = 0x100;
  for (uint32_t b = 0; b < 256; ++b) {
    a.character[b] = is_itself(b) ? static_cast<uint16_t>(b) : next++;
    a.byte[a.character[b]] = static_cast<int16_t>(b);
  }
  return a;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, kAlphabet.character[static_cast<uint8_t>(b)]);
  return out;
}

std::optional<std::string> from_byte_alphabet(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid || c.code >= kAlphabetEnd || kAlphabet.byte[c.code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kAlphabet.byte[c.code]));
    at += c.bytes;
  }
  return out;
}

}  // namespace sluice::text
