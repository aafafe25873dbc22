// Follows one choice's thoughts by their text and says when they must end: after so many tokens the end tag is put in, whatever the model would have said.
// Contract: saw() is told every token of the answer in order; nothing is allocated after the constructor. Next: scheduler_draw.cc.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/engine.h"

namespace sluice::engine {

class ThinkingCut {
 public:
  // `limit` outlives this.
  explicit ThinkingCut(const ThinkingLimit& limit) : limit_(limit) {
    text_.reserve(kTextBytes);
    if (limit.begun) begin();
  }

  // The token that must come next; -1: the model may say what it likes.
  int32_t forced() const { return at_ == At::kCutting ? limit_.end[put_in_] : -1; }
  // What was to be put in cannot be.
  void give_up() { at_ = At::kOver; }

  void saw(std::string_view token_bytes) {
    switch (at_) {
      case At::kBefore:
        add(token_bytes);
        look_for_begin();
        break;
      case At::kThinking:
        add(token_bytes);
        if (text_.find(limit_.close) != std::string::npos) {
          at_ = At::kOver;
        } else if (++tokens_ >= limit_.tokens_max) {
          cut();
        }
        break;
      case At::kCutting:
        if (++put_in_ == limit_.end.size()) at_ = At::kOver;
        break;
      case At::kOver: break;
    }
  }

 private:
  enum class At : uint8_t { kBefore, kThinking, kCutting, kOver };
  static constexpr size_t kTextBytes = 512;

  // The last bytes, as many as a tag can lie in.
  void add(std::string_view bytes) {
    if (bytes.size() > kTextBytes / 2) bytes.remove_prefix(bytes.size() - kTextBytes / 2);
    if (text_.size() + bytes.size() > kTextBytes) text_.erase(0, text_.size() - std::min(text_.size(), kTextBytes / 2));
    text_ += bytes;
  }
  void look_for_begin() {
    const size_t first = text_.find_first_not_of(" \t\r\n");
    if (first == std::string::npos) {
      text_.clear();
      return;
    }
    const std::string_view rest = std::string_view(text_).substr(first);
    if (rest.starts_with(limit_.open)) {
      begin();
    } else if (!limit_.open.starts_with(rest)) {
      at_ = At::kOver;
    }
  }
  void begin() {
    at_ = At::kThinking;
    text_.clear();
    if (limit_.tokens_max == 0) cut();
  }
  void cut() { at_ = limit_.end.empty() ? At::kOver : At::kCutting; }

  const ThinkingLimit& limit_;
  At at_ = At::kBefore;
  std::string text_;
  uint64_t tokens_ = 0;
  size_t put_in_ = 0;
};

}  // namespace sluice::engine
