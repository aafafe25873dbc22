// chat.completion and chat.completion.chunk. Next: answer.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/chat_fields.h"

namespace sluice::server {

// What both shapes need to know of the request.
struct ChatFacts {
  std::string id;                      // "chatcmpl-..."
  std::string request_id;              // "req_...", as in x_groq
  std::string model;
  std::string tier;
  int64_t created = 0;
  uint64_t seed = 0;
  uint32_t choices = 1;
  StreamOptions stream;
  Reasoning reasoning = Reasoning::kParsed;
  const text::ToolFormat* format = nullptr;
  ErrorShape shape = ErrorShape::kOpenAi;  // kAi21: usage comes with the last choice's end
  bool debug = false;                  // the tokens' ids and texts
  std::vector<int32_t> prompt;         // for debug
};

std::string call_id(const ChatFacts& facts, std::string_view tool, uint32_t choice, uint32_t call);
std::unique_ptr<AnswerWriter> make_chat_writer(const Api& api, ChatFacts facts);

}  // namespace sluice::server
