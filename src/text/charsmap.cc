// Layout: u32 bytes of the trie, the trie's u32 units, then the replacement strings. A unit of darts-clone: bits 0-7
// label (bit 31 set on leaves), bit 8 has a leaf, bit 9 and 10-30 the offset to its children; a leaf's bits 0-30 are
// its value. Contract: text/charsmap.h. Next: text/normalizer_test.cc.
#include "text/charsmap.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace sluice::text {
namespace {

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t v = 0;
  for (size_t i = 0; i < 4; ++i) v |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return v;
}

uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}
uint32_t label_of(uint32_t unit) {
  return unit & ((1u << 31) | 0xFFu);
}
bool has_leaf(uint32_t unit) {
  return ((unit >> 8) & 1) != 0;
}

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view blob) {
  if (blob.size() < 4) return Error{fmt::format("charsmap of {} bytes has no header", blob.size())};
  const uint32_t trie_bytes = read_u32(blob, 0);
  if (trie_bytes > blob.size() - 4)
    return Error{fmt::format("charsmap's trie of {} bytes in a blob of {}", trie_bytes, blob.size())};
  if (trie_bytes == 0 || trie_bytes % 4 != 0)
    return Error{fmt::format("charsmap's trie of {} bytes is not whole units", trie_bytes)};
  Charsmap map;
  map.units_.resize(trie_bytes / 4);
  for (size_t i = 0; i < map.units_.size(); ++i) map.units_[i] = read_u32(blob, 4 + 4 * i);
  map.strings_ = blob.substr(4 + trie_bytes);
  return map;
}

Charsmap::Match Charsmap::longest(std::string_view text) const {
  Match best;
  size_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size()) break;
    const uint32_t unit = units_[node];
    if (label_of(unit) != byte) break;
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    best = {i + 1, units_[node] & 0x7FFFFFFFu};
  }
  return best;
}

Status Charsmap::apply(std::string_view text, std::string& out) const {
  for (size_t at = 0; at < text.size();) {
    const Match match = longest(text.substr(at));
    if (match.bytes > 0 && match.value < strings_.size()) {
      const size_t end = strings_.find('\0', match.value);
      out.append(strings_, match.value, (end == std::string::npos ? strings_.size() : end) - match.value);
      at += match.bytes;
      // NFKC's longest replacement is 18 characters for one of three bytes.
      if (out.size() > 32 * text.size() + (1u << 20))
        return Error{fmt::format("a charsmap makes more than {} bytes of {}", out.size(), text.size())};
      continue;
    }
    const size_t bytes = decode_utf8(text, at).bytes;
    out.append(text, at, bytes);
    at += bytes;
  }
  return {};
}

}  // namespace sluice::text
