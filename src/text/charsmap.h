// SentencePiece's precompiled_charsmap: a double-array trie from byte strings to replacement strings.
// Contract: parse accepts any bytes and only checks sizes; every lookup is bounds-checked, so a damaged map gives wrong
// text, never a crash. Next: text/normalizer.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::text {

class Charsmap {
 public:
  static Result<Charsmap> parse(std::string_view blob);

  // Replaces the longest known prefix at each place; appends to out. Invalid UTF-8 passes through. An Error if the text
  // grows beyond reason.
  Status apply(std::string_view text, std::string& out) const;

 private:
  struct Match {
    size_t bytes = 0;  // 0: none
    size_t value = 0;
  };
  Match longest(std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string strings_;  // NUL after each
};

}  // namespace sluice::text
