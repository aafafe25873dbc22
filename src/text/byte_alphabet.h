// GPT-2's byte alphabet: each of the 256 bytes as one printable character, so that a vocabulary file is text.
// Contract: bytes 33-126, 161-172 and 174-255 are themselves; the other 68 are U+0100, U+0101 ... in order.
// Next: text/tokenizer_gguf.cc, text/tokenizer_json.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sluice::text {

std::string to_byte_alphabet(std::string_view bytes);

// Nothing if a character is outside the alphabet, or the text is not UTF-8.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace sluice::text
