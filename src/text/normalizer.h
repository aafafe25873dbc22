// The steps that rewrite a text before it is cut: Unicode forms, replacements, SentencePiece's charsmap.
// Contract: const use is thread-safe; time is linear in the text; bytes that are not UTF-8 pass through untouched.
// Next: text/charsmap.h, text/pre_tokenizer.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/charsmap.h"
#include "text/split_regex.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

class Normalizer {
 public:
  static Result<Normalizer> create(const std::vector<NormalizerStep>& steps);

  bool empty() const { return steps_.empty(); }
  Result<std::string> apply(std::string_view text) const;

 private:
  struct Step {
    NormalizerStep spec;
    std::optional<Charsmap> charsmap;
    std::optional<SplitRegex> regex;
  };
  static Status apply_step(const Step& step, std::string& text);

  std::vector<Step> steps_;
};

}  // namespace sluice::text
