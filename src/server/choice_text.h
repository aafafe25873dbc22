// One choice's text taken apart while it comes: thinking, content, tool calls.
// Contract: the same pieces, joined, however the text is cut. Next: answer.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tool_calls.h"

namespace sluice::server {

struct TextPlan {
  bool split_thinking = false;         // between think_open and think_close
  bool starts_thinking = false;        // the prompt ended with think_open
  std::string think_open, think_close;
  std::vector<std::string> dropped;    // marks that are no part of the content
  const text::ToolFormat* format = nullptr;  // null: calls are not looked for
  std::vector<text::Tool> tools;
  std::string begun;                   // of the answer, by the client: not told again, but a call that begins in it is told whole
};

struct TextPiece {
  enum class Kind : uint8_t { kThinking, kContent, kCallBegin, kArguments, kCallEnd };
  Kind kind;
  uint32_t call = 0;
  std::string text;
};

class ChoiceText {
 public:
  explicit ChoiceText(const TextPlan& plan);
  void feed(std::string_view text, std::vector<TextPiece>& out);
  void finish(std::vector<TextPiece>& out);
  bool thinking() const { return at_ == At::kThinking; }
  uint32_t calls() const { return calls_; }

 private:
  enum class At : uint8_t { kBefore, kThinking, kAfterThinking, kContent };
  static At begin(const TextPlan& plan);
  void read_begun();
  void advance(std::vector<TextPiece>& out, bool last);
  std::string take_content(bool last);
  void content(std::string_view text, std::vector<TextPiece>& out);
  void take(std::vector<text::ToolEvent> events, std::vector<TextPiece>& out);

  const TextPlan& plan_;
  At at_;
  std::string held_;
  std::string blanks_;  // white space that is dropped if a call follows
  std::optional<text::ToolCallParser> parser_;
  uint32_t calls_ = 0;
  std::vector<TextPiece> begun_;       // calls in what the client began, until they are told
  size_t known_ = 0;                   // bytes of text to come that the client wrote itself
};

}  // namespace sluice::server
