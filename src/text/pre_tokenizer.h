// Cuts a text into the pieces that the model then tokenizes one by one.
// Contract: the pieces, in order, cover the text (less what a Removed split drops, plus the blanks a step adds); const
// use is thread-safe; invalid UTF-8 passes through as pieces of its own. Next: text/splitters.h, text/split_regex.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/char_class.h"
#include "text/split_regex.h"
#include "text/splitters.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

// The text after the steps, and where each piece ends.
struct Pieces {
  std::string text;
  std::vector<size_t> ends;
  std::vector<CharCode> chars;  // working memory
};

class PreTokenizer {
 public:
  static Result<PreTokenizer> create(const std::vector<PreTokenizerStep>& steps);

  bool empty() const { return steps_.empty(); }

  // Replaces `pieces`. is_first: nothing, not even a special token, stands before the text.
  Status split(std::string_view text, bool is_first, Pieces& pieces) const;

 private:
  struct Step {
    PreTokenizerStep spec;
    Splitter splitter = nullptr;
    std::optional<SplitRegex> regex;
    bool is_fast() const { return splitter != nullptr && spec.behavior == SplitBehavior::kIsolated && !spec.invert; }
  };

  void split_fast(size_t first, size_t last, Pieces& pieces) const;
  Status split_matches(const Step& step, Pieces& pieces) const;
  Status find_matches(const Step& step, std::string_view piece, std::vector<CharCode>& chars,
                      std::vector<ByteRange>& matches) const;

  std::vector<Step> steps_;
};

}  // namespace sluice::text
