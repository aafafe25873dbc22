// UTF-8 decoding and repair.
// Contract: text/utf8.h.
// Next: text/utf8_test.cc.
#include "text/utf8.h"

#include <algorithm>

namespace sluice::text {
namespace {

struct Lead {
  uint32_t bytes;  // 0: not a lead byte
  uint8_t low;     // range of the second byte
  uint8_t high;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// How many bytes at `at` fit the beginning of one character (1 for a bad lead byte), and whether they are all of it.
struct Prefix {
  uint32_t bytes;
  bool whole;
  bool lead;
};

Prefix prefix_at(std::string_view text, size_t at) {
  const Lead lead = lead_of(static_cast<uint8_t>(text[at]));
  if (lead.bytes == 0) return {1, false, false};
  uint32_t have = 1;
  while (have < lead.bytes && at + have < text.size()) {
    const auto byte = static_cast<uint8_t>(text[at + have]);
    const uint8_t low = have == 1 ? lead.low : 0x80;
    const uint8_t high = have == 1 ? lead.high : 0xBF;
    if (byte < low || byte > high) break;
    ++have;
  }
  return {have, have == lead.bytes, true};
}

}  // namespace

Utf8Char decode_utf8_beyond_ascii(std::string_view text, size_t at) {
  const auto first = static_cast<uint8_t>(text[at]);
  const Prefix prefix = prefix_at(text, at);
  if (!prefix.whole) return {kReplacementCharacter, prefix.bytes, false};
  uint32_t code = first & (0x7Fu >> prefix.bytes);
  for (uint32_t i = 1; i < prefix.bytes; ++i) code = (code << 6) | (static_cast<uint8_t>(text[at + i]) & 0x3Fu);
  return {code, prefix.bytes, true};
}

void append_utf8(std::string& out, uint32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = kReplacementCharacter;
  const uint32_t bytes = utf8_bytes(code);
  if (bytes == 1) {
    out.push_back(static_cast<char>(code));
    return;
  }
  constexpr uint8_t kLeads[5] = {0, 0, 0xC0, 0xE0, 0xF0};
  out.push_back(static_cast<char>(kLeads[bytes] | (code >> (6 * (bytes - 1)))));
  for (uint32_t i = bytes - 1; i-- > 0;) out.push_back(static_cast<char>(0x80u | ((code >> (6 * i)) & 0x3Fu)));
}

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid) return false;
    at += c.bytes;
  }
  return true;
}

size_t unfinished_utf8_bytes(std::string_view text) {
  const size_t most = std::min<size_t>(3, text.size());
  for (size_t back = 1; back <= most; ++back) {
    const size_t at = text.size() - back;
    if ((static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) continue;  // a continuation byte: its lead is further left
    const Prefix prefix = prefix_at(text, at);
    return prefix.lead && !prefix.whole && prefix.bytes == back ? back : 0;
  }
  return 0;
}

void append_valid_utf8(std::string& out, std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    out.append(c.valid ? text.substr(at, c.bytes) : kReplacementBytes);
    at += c.bytes;
  }
}

std::string shown(std::string_view text) {
  constexpr size_t kMost = 64;
  std::string out;
  if (text.size() <= kMost) {
    append_valid_utf8(out, text);
    return out;
  }
  text = text.substr(0, kMost);
  append_valid_utf8(out, text.substr(0, kMost - unfinished_utf8_bytes(text)));
  return out + "...";
}

}  // namespace sluice::text
