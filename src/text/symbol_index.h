// Text to symbol number: a hash table over texts that someone else keeps. Built once per start, so building is as fast
// as looking up. Contract: the caller says what text a number has; immutable after building, so safe to share. Next:
// text/vocabulary.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace sluice::text {

inline constexpr uint32_t kNotFound = UINT32_MAX;

inline uint64_t hash_of(std::string_view text) {
  uint64_t h = text.size() * 0x9E3779B97F4A7C15ull;
  size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    h = (h ^ word) * 0xD6E8FEB86659FD93ull;
    h ^= h >> 32;
  }
  uint64_t rest = 0;
  for (size_t i = 0; at + i < text.size(); ++i)
    rest |= static_cast<uint64_t>(static_cast<uint8_t>(text[at + i])) << (8 * i);
  h = (h ^ rest) * 0xD6E8FEB86659FD93ull;
  return h ^ (h >> 32);
}

class SymbolIndex {
 public:
  explicit SymbolIndex(size_t count) { resize(std::bit_ceil(std::max<size_t>(16, count * 2))); }

  // text_of(number) gives the text of any number that was put in.
  template <class TextOf>
  uint32_t find(std::string_view text, TextOf text_of) const {
    return slots_[place(text, hash_of(text), text_of)].number;
  }

  // Puts the text in, or gives an old one a new number.
  template <class TextOf>
  void put(std::string_view text, uint32_t number, TextOf text_of) {
    if (used_ * 2 >= slots_.size()) grow();
    const uint64_t hash = hash_of(text);
    Slot& slot = slots_[place(text, hash, text_of)];
    if (slot.number == kNotFound) ++used_;
    slot = {static_cast<uint32_t>(hash >> 32), number};
    lows_[static_cast<size_t>(&slot - slots_.data())] = static_cast<uint32_t>(hash);
  }

 private:
  struct Slot {
    uint32_t high = 0;  // of the hash
    uint32_t number = kNotFound;
  };

  void resize(size_t slots) {
    slots_.assign(slots, {});
    lows_.assign(slots, 0);
    mask_ = slots - 1;
  }

  void grow() {
    const std::vector<Slot> old_slots = std::move(slots_);
    const std::vector<uint32_t> old_lows = std::move(lows_);
    resize(old_slots.size() * 2);
    for (size_t i = 0; i < old_slots.size(); ++i) {
      if (old_slots[i].number == kNotFound) continue;
      size_t at = old_lows[i] & mask_;
      while (slots_[at].number != kNotFound) at = (at + 1) & mask_;
      slots_[at] = old_slots[i];
      lows_[at] = old_lows[i];
    }
  }

  // The text's slot, or the empty one where it would go.
  template <class TextOf>
  size_t place(std::string_view text, uint64_t hash, TextOf text_of) const {
    size_t at = static_cast<uint32_t>(hash) & mask_;
    while (true) {
      const Slot& slot = slots_[at];
      if (slot.number == kNotFound) return at;
      if (slot.high == static_cast<uint32_t>(hash >> 32) && text_of(slot.number) == text) return at;
      at = (at + 1) & mask_;
    }
  }

  std::vector<Slot> slots_;
  std::vector<uint32_t> lows_;  // low halves of the hashes, for growing
  size_t mask_ = 0;
  size_t used_ = 0;
};

}  // namespace sluice::text
