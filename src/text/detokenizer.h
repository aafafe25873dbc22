// Token ids to text, one at a time, for streams: only whole UTF-8 characters come out.
// Contract: everything appended over a life, finish() included, is valid UTF-8; a sequence that is cut or invalid
// prints as U+FFFD. Allocates nothing once `out` has room. Next: text/tokenizer.h.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "text/tokenizer.h"

namespace sluice::text {

struct DetokenizeOptions {
  bool show_special = false;
  // False when the ids go on from a text that was printed before: then the blank before the first word is a real one.
  bool at_text_start = true;
};

// Puts tokens' bytes together, dropping the blank that encoding added before a text. No care for UTF-8.
class TokenJoiner {
 public:
  TokenJoiner(const Tokenizer& tokenizer, DetokenizeOptions options)
      : tokenizer_(tokenizer),
        options_(options),
        drop_blank_(options.at_text_start && tokenizer.spec().strip_leading_space) {}

  // An id out of range is an Error.
  Status append(int32_t id, std::string& out);

 private:
  Tokenizer tokenizer_;  // shares the tables
  DetokenizeOptions options_;
  bool drop_blank_;
};

class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, DetokenizeOptions options) : joiner_(tokenizer, options) {}

  // Appends what can be printed now. An id out of range is an Error, and changes nothing.
  Status feed(int32_t id, std::string& out);

  // Appends what was held back. The Detokenizer may then be used for a text that goes on.
  void finish(std::string& out);

 private:
  TokenJoiner joiner_;
  std::string held_;
};

}  // namespace sluice::text
