// Conversations as the rest of the engine has them, turned into a template's context.
// Contract: what a client may add to a context is on one list; everything else is refused by name. Next: chat_template.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "text/chat_template.h"

namespace sluice::text {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

struct ChatConversation {
  std::vector<ChatMessage> messages;
  bool add_generation_prompt = true;
  std::string bos_token;  // as text; empty: none
  std::string eos_token;
};

nlohmann::ordered_json conversation_context(const ChatConversation& conversation);

Result<Rendered> render_conversation(const ChatTemplate& chat_template, const ChatConversation& conversation, const RenderOptions& options);

// Adds a request's `chat_template_kwargs` to a context. Only known switches pass: a request can neither replace the template nor the
// messages, tools or special tokens (reliability K9).
Status add_request_kwargs(nlohmann::ordered_json& context, const nlohmann::ordered_json& kwargs);

}  // namespace sluice::text
