// A request that goes on from what was said before, and the turn that it becomes: loads the messages of earlier turns in front of the new ones, and writes
// down question and answer once the answer is there. Contract: nothing is kept of an answer that failed. Next: kept_turns.h, responses_routes.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/chat_fields.h"
#include "server/kept.h"

namespace sluice::server {

// Letters, digits, '-', '_', '.'; 1 to 64 bytes.
Refused check_name(std::string_view name, std::string_view field);

// Puts the turns up to `head` (empty: none) before what `conversation` holds. `field`: which one named it.
Refused load_turns(Kept& kept, uint32_t tenant, std::string_view head, std::string_view field, Conversation& conversation);
// The newest turn of a conversation; one that is not known begins.
Refused find_head(Kept& kept, uint32_t tenant, const std::string& name, std::string& head);

struct TurnPlan {
  Turn turn;                           // id, tenant, parent, input, messages without the answer, seam without the answer
  std::string conversation;            // whose head it becomes; empty: none's
  std::function<std::string(std::string_view tool, uint32_t call)> call_id;
  std::function<Json()> body;          // the response as sent; may be empty
};

// Hands everything to `inner`, and keeps the turn when the answer is whole. One choice.
std::unique_ptr<AnswerWriter> keep_turn(std::unique_ptr<AnswerWriter> inner, Kept& kept, TurnPlan plan);

}  // namespace sluice::server
