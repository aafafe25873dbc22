// An expression of a tokenizer.json, run by PCRE2 with UTF and UCP, compiled to machine code, with match, depth and
// heap limits. Contract: find_all gives the non-overlapping matches from left to right, or an Error if a limit is hit;
// const use is thread-safe. Next: text/splitters.h is preferred where it knows the expression.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::text {

struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
  bool operator==(const ByteRange&) const = default;
};

class SplitRegex {
 public:
  // Written for Oniguruma, as tokenizer.json has it; what differs from PCRE2 (\s, \h) is translated.
  static Result<SplitRegex> compile(std::string_view expression);

  // Appends the matches in text. Bytes that are not UTF-8 match nothing and end the text on both their sides. Empty
  // matches are left out.
  Status find_all(std::string_view text, std::vector<ByteRange>& matches) const;

 private:
  struct Code;
  explicit SplitRegex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace sluice::text
