// The body of Anthropic's /v1/messages and /v1/messages/count_tokens, read into the request that chat/completions has too: blocks become messages, tool
// results messages of their own, cache_control marks of the prompt. Contract: as chat_fields.h. Next: anthropic_writer.h.
#pragma once

#include "server/chat_fields.h"

namespace sluice::server {

// `counting`: only what makes the prompt may be there, as count_tokens has it.
Refused read_anthropic(const Api& api, const Json& body, bool counting, ChatRequest& out);

}  // namespace sluice::server
