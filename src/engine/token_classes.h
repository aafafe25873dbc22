// What kind of text each token is, for penalties that leave some kinds alone. Next: sampler.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace sluice::engine {

enum TokenClass : uint8_t { kWhitespace = 1, kPunctuation = 2, kNumber = 4, kStopword = 8, kEmoji = 16 };

// The classes of a token's text (blanks around words are looked through): a sum of TokenClass.
uint8_t token_class(std::string_view text);

class TokenClasses {
 public:
  explicit TokenClasses(const text::Tokenizer& tokenizer);
  uint8_t of(int32_t id) const { return static_cast<size_t>(id) < classes_.size() ? classes_[static_cast<size_t>(id)] : 0; }

 private:
  std::vector<uint8_t> classes_;
};

}  // namespace sluice::engine
