// Anthropic's message, whole or as its sequence of events: message_start, for each block content_block_start, deltas and content_block_stop, then
// message_delta with the reason and the usage, and message_stop. Next: answer.h, chat_writer.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/answer.h"

namespace sluice::server {

struct AnthropicFacts {
  std::string id;                      // "msg_..."
  std::string request_id;
  std::string model;
  bool stream = false;
  bool show_thinking = false;
  const text::ToolFormat* format = nullptr;
  uint64_t prompt_tokens = 0;
  std::vector<engine::Pin> pins;       // what cache_control asked for; rising
};

std::unique_ptr<AnswerWriter> make_anthropic_writer(AnthropicFacts facts);

}  // namespace sluice::server
