// A set of strings, asked: which of them begin here? Used for added tokens and for unigram pieces.
// Contract: takes 8 bytes a string beside the strings themselves, which the caller keeps alive; immutable, so safe to
// share. Next: text/tokenizer.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::text {

class PrefixSet {
 public:
  struct Entry {
    std::string_view text;
    uint32_t value;
  };

  PrefixSet() = default;

  // Empty strings are dropped. Of equal strings the first is reported first.
  explicit PrefixSet(std::vector<Entry> entries) : entries_(std::move(entries)) {
    std::erase_if(entries_, [](const Entry& entry) { return entry.text.empty(); });
    std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.text < b.text; });
    size_t at = 0;
    for (size_t byte = 0; byte < 256; ++byte) {
      first_[byte] = static_cast<uint32_t>(at);
      while (at < entries_.size() && static_cast<uint8_t>(entries_[at].text[0]) == byte) ++at;
    }
    first_[256] = static_cast<uint32_t>(entries_.size());
  }

  bool empty() const { return entries_.empty(); }

  // Calls visit(value, bytes) for each string that text[at..] begins with, shortest first.
  template <class Visit>
  void visit_prefixes(std::string_view text, size_t at, Visit visit) const {
    const auto byte = static_cast<uint8_t>(text[at]);
    const Entry* low = entries_.data() + first_[byte];
    const Entry* high = entries_.data() + first_[byte + 1];
    for (size_t depth = 1; low != high; ++depth) {
      // Strings of exactly `depth` bytes come first in the range.
      while (low != high && low->text.size() == depth) {
        visit(low->value, depth);
        ++low;
      }
      if (low == high || at + depth >= text.size()) return;
      const auto next = static_cast<uint8_t>(text[at + depth]);
      const auto below = [depth](const Entry& entry, uint8_t b) { return static_cast<uint8_t>(entry.text[depth]) < b; };
      const auto above = [depth](uint8_t b, const Entry& entry) { return b < static_cast<uint8_t>(entry.text[depth]); };
      low = std::lower_bound(low, high, next, below);
      high = std::upper_bound(low, high, next, above);
    }
  }

 private:
  std::vector<Entry> entries_;
  std::array<uint32_t, 257> first_{};
};

}  // namespace sluice::text
