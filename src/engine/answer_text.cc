#include "engine/answer_text.h"

#include <algorithm>

namespace sluice::engine {

AnswerText::AnswerText(const text::Tokenizer& tokenizer, std::span<const std::string> stops, bool show_special)
    : detokenizer_(tokenizer, {.show_special = show_special, .at_text_start = false}), stops_(stops) {
  held_.reserve(1024);
  shown_.reserve(1024);
}

bool AnswerText::add(int32_t id, bool stops_apply) {
  shown_.clear();
  if (!detokenizer_.feed(id, held_).ok()) return false;  // an id without text shows nothing
  size_t keep = 0;  // bytes at the end that may become a stop string
  if (stops_apply) {
    size_t first = std::string::npos;
    for (const std::string& stop : stops_) {
      if (stop.empty()) continue;
      const size_t at = held_.find(stop);
      if (at < first || (at == first && at != std::string::npos && stop.size() > stopped_by_.size())) {
        first = at;
        stopped_by_ = stop;
      }
      for (size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
        if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) {
          keep = n;
          break;
        }
      }
    }
    if (first != std::string::npos) {
      shown_.assign(held_, 0, first);
      held_.clear();
      return true;
    }
  }
  shown_.assign(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return false;
}

void AnswerText::finish() {
  shown_.clear();
  if (!stopped_by_.empty()) return;
  detokenizer_.finish(held_);
  shown_.swap(held_);
  held_.clear();
}

}  // namespace sluice::engine
