// One choice's text as a stream: token ids become whole characters, stop strings are found across tokens, and what may still become one is held back.
// Contract: allocates nothing once its buffers have grown. Next: scheduler.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "text/detokenizer.h"

namespace sluice::engine {

class AnswerText {
 public:
  // `stops` outlives this.
  AnswerText(const text::Tokenizer& tokenizer, std::span<const std::string> stops, bool show_special);

  // One more token. True when a stop string is complete (its text and what follows are dropped); not looked for while !stops_apply.
  bool add(int32_t id, bool stops_apply);
  // No more tokens: what was held back may be shown.
  void finish();

  // What may be shown since the last add() or finish().
  std::string_view shown() const { return shown_; }
  // The stop string that ended the text, or empty.
  std::string_view stopped_by() const { return stopped_by_; }

 private:
  text::Detokenizer detokenizer_;
  std::span<const std::string> stops_;
  std::string held_;   // may be the beginning of a stop string
  std::string shown_;
  std::string_view stopped_by_;
};

}  // namespace sluice::engine
