// Contexts for plain conversations, and the list of what requests may add to one (chat_conversation.h).
// Contract: no value passes that is not a short scalar, except documents. Next: chat_template.cc.
#include "text/chat_conversation.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/limits.h"

namespace sluice::text {

using Json = nlohmann::ordered_json;

Json conversation_context(const ChatConversation& conversation) {
  Json context = Json::object();
  Json messages = Json::array();
  for (const ChatMessage& message : conversation.messages) {
    Json entry = Json::object();
    entry["role"] = message.role;
    entry["content"] = message.content;
    messages.push_back(std::move(entry));
  }
  context["messages"] = std::move(messages);
  context["tools"] = nullptr;  // Hugging Face passes both even when there are none
  context["documents"] = nullptr;
  context["add_generation_prompt"] = conversation.add_generation_prompt;
  context["bos_token"] = conversation.bos_token;
  context["eos_token"] = conversation.eos_token;
  return context;
}

Result<Rendered> render_conversation(const ChatTemplate& chat_template, const ChatConversation& conversation, const RenderOptions& options) {
  return chat_template.render_parts(conversation_context(conversation), options);
}

namespace {

// The switches that published templates read.
constexpr std::array<std::string_view, 16> kSwitches = {
    "enable_thinking", "thinking",        "thinking_budget",     "thinking_mode", "reasoning",         "reasoning_effort",
    "date_string",     "current_date",    "tools_in_user_message", "controls",    "knobs",             "citation_mode",
    "documents",       "keep_past_thinking", "skip_thinking",     "reasoning_strength",
};

}  // namespace

Status add_request_kwargs(Json& context, const Json& kwargs) {
  if (!kwargs.is_object()) return Error{"chat_template_kwargs must be an object"};
  for (const auto& [name, value] : kwargs.items()) {
    if (std::find(kSwitches.begin(), kSwitches.end(), name) == kSwitches.end()) {
      return Error{fmt::format("chat_template_kwargs: '{}' is not among the switches that a request may set", name.substr(0, 64))};
    }
    const bool is_structured = value.is_structured();
    if (is_structured && name != "documents" && name != "controls" && name != "knobs") {
      return Error{fmt::format("chat_template_kwargs: '{}' must be a string, a number or a boolean", name)};
    }
    if (value.is_string() && value.get_ref<const std::string&>().size() > limits::kTemplateSwitchBytesMax) {
      return Error{fmt::format("chat_template_kwargs: '{}' has {} bytes, the limit is {}", name, value.get_ref<const std::string&>().size(),
                               limits::kTemplateSwitchBytesMax)};
    }
  }
  for (const auto& [name, value] : kwargs.items()) context[name] = value;
  return {};
}

}  // namespace sluice::text
