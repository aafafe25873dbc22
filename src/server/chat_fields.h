// A chat/completions request, read whole: conversation, generation, and how the answer is to look.
#pragma once

#include <string>
#include <string_view>

#include "server/generation_fields.h"
#include "server/prompt.h"

namespace sluice::server {

struct StreamOptions {
  bool stream = false;
  bool include_usage = false;
};

enum class Reasoning : uint8_t { kParsed, kRaw, kHidden };

struct ChatRequest {
  std::string model;
  Conversation conversation;
  Generation generation;
  StreamOptions stream;
  Reasoning reasoning = Reasoning::kParsed;
  bool wants_logprobs = false;
  bool debug = false;                  // tokens in x_groq.debug
  std::string conversation_name;       // whose messages come before these; empty: nobody's
  Seam seam;                           // where the prompt ended, by plan_chat()
  std::optional<uint64_t> thinking_tokens_max;
  // tool_choice and allowed_tools
  bool tools_off = false, tools_required = false, tools_parallel = true;
  std::vector<std::string> tools_allowed;  // empty: all
};

Refused read_chat(const Api& api, const Json& body, ChatRequest& out);
// Tools, reasoning and constraint together: what the engine is to do, and how its text is taken apart.
Refused plan_chat(const Api& api, ChatRequest& request, uint64_t body_bytes, AnswerPlan& plan);

// tool_choice, allowed_tools, parallel_tool_calls; after the tools.
Refused read_tool_choice(FieldReader& fields, ChatRequest& out);
// none, default, minimal, low, medium, high
void read_effort(FieldReader& fields, std::string_view name, const Api& api, ChatRequest& out);
void read_stream_options(FieldReader& fields, StreamOptions& out);
// How hard to think, where the template can say it; refused for a model that does not think. "none" turns it off.
void set_effort(FieldReader& fields, std::string_view name, std::string_view effort, const Api& api, ChatRequest& out);
// "model": must be one that is here; missing: the one that is.
void read_model(FieldReader& fields, const Api& api, std::string& out);

}  // namespace sluice::server
