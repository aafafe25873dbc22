// A request of OpenAI's Responses API, read whole: items to messages, and what the response repeats of its request. Next: responses_writer.h.
#pragma once

#include <string>

#include "server/chat_fields.h"

namespace sluice::server {

struct ResponseRequest {
  ChatRequest chat;
  Json input = Json::array();          // items as GET .../input_items shows them, without ids
  std::string previous;                // previous_response_id
  std::string instructions;            // of this turn only
  bool store = true;
  Json body = Json::object();          // of the response: what repeats the request
};

Refused read_response(const Api& api, const Json& json, ResponseRequest& out);
// One input item to messages: a call goes to the assistant's message before it, its output is a message of its own.
Refused read_item(const Json& item, const std::string& path, Conversation& out);
// After the earlier turns are in: instructions go first.
void put_instructions(const std::string& instructions, Conversation& out);

}  // namespace sluice::server
