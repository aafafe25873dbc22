#include "server/responses_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// A string, or parts of input_text, output_text, reasoning_text, summary_text, refusal.
Refused read_parts(const Json& content, const std::string& path, std::string& out) {
  bool first = true;
  return read_each_part(content, path, out, [&](FieldReader& part, const std::string& type) -> Refused {
    constexpr std::string_view kTexts[] = {"input_text", "output_text", "reasoning_text", "summary_text", "text"};
    const bool refusal = type == "refusal";
    if (!refusal && std::find(std::begin(kTexts), std::end(kTexts), type) == std::end(kTexts)) return unknown_part(part, type);
    const std::string_view field = refusal ? "refusal" : "text";
    std::string text;
    part.require(field);
    part.text(field, limits::kBodyBytesMax, text);
    part.ignore({"annotations", "logprobs"});
    SLUICE_REFUSE(part.finish());
    if (!first) out += '\n';
    first = false;
    out += text;
    return {};
  });
}

// The assistant's message that calls and thoughts belong to: the last one, if nobody else has spoken since.
Json& assistant_message(Conversation& out) {
  const bool open = !out.messages.empty() && out.messages.back()["role"] == "assistant";
  if (!open) out.messages.push_back({{"role", "assistant"}, {"content", ""}});
  return out.messages.back();
}

Refused read_message_item(FieldReader& item, Conversation& out) {
  size_t role = 0;
  constexpr std::string_view kRoles[] = {"user", "assistant", "system", "system"};
  item.require("role");
  item.word("role", {"user", "assistant", "system", "developer"}, role);
  item.require("content");
  std::string text;
  if (const Json* content = item.any("content")) SLUICE_REFUSE(read_parts(*content, item.path_of("content"), text));
  item.ignore({"type", "id", "status", "phase"});
  SLUICE_REFUSE(item.finish());
  if (kRoles[role] != "assistant") {
    out.messages.push_back({{"role", kRoles[role]}, {"content", text}});
    return {};
  }
  // Thoughts come before their text as an item of their own.
  const bool thoughts_only = !out.messages.empty() && out.messages.back()["role"] == "assistant" && out.messages.back()["content"] == "" &&
                             !out.messages.back().contains("tool_calls") && out.messages.back().contains("reasoning_content");
  if (thoughts_only) {
    out.messages.back()["content"] = text;
  } else {
    out.messages.push_back({{"role", "assistant"}, {"content", text}});
  }
  return {};
}

Refused read_call_item(FieldReader& item, Conversation& out) {
  std::string id, name, arguments;
  for (const auto& [field, value] : {std::pair<std::string_view, std::string*>{"call_id", &id}, {"name", &name}}) {
    item.require(field);
    item.text(field, limits::kNameBytesMax, *value);
  }
  item.require("arguments");
  item.text("arguments", limits::kBodyBytesMax, arguments);
  item.ignore({"type", "id", "status"});
  SLUICE_REFUSE(item.finish());
  Json parsed = arguments;
  if (Json object; !parse_request_json(arguments, object) && object.is_object()) parsed = std::move(object);
  Json& message = assistant_message(out);
  message["tool_calls"].push_back({{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", std::move(parsed)}}}});
  return {};
}

Refused read_output_item(FieldReader& item, Conversation& out) {
  std::string id, text;
  item.require("call_id");
  item.text("call_id", limits::kNameBytesMax, id);
  item.require("output");
  if (const Json* output = item.any("output")) SLUICE_REFUSE(read_parts(*output, item.path_of("output"), text));
  item.ignore({"type", "id", "status"});
  SLUICE_REFUSE(item.finish());
  out.messages.push_back({{"role", "tool"}, {"content", text}, {"tool_call_id", id}});
  return {};
}

Refused read_reasoning_item(FieldReader& item, Conversation& out) {
  std::string text;
  if (const Json* content = item.any("content")) SLUICE_REFUSE(read_parts(*content, item.path_of("content"), text));
  item.ignore({"type", "id", "status", "summary", "encrypted_content"});
  SLUICE_REFUSE(item.finish());
  if (!text.empty()) out.messages.push_back({{"role", "assistant"}, {"content", ""}, {"reasoning_content", text}});
  return {};
}

Refused read_input(FieldReader& fields, ResponseRequest& out) {
  const Json* input = fields.any("input");
  if (!input) {
    fields.require("input");
    return fields.ok() ? Refused{} : fields.finish();
  }
  if (input->is_string()) {
    out.input.push_back({{"type", "message"}, {"role", "user"}, {"content", Json::array({{{"type", "input_text"}, {"text", *input}}})}});
    out.chat.conversation.messages.push_back({{"role", "user"}, {"content", *input}});
    return {};
  }
  if (!input->is_array() || input->empty() || input->size() > limits::kMessagesMax) {
    return bad_request("input", fmt::format("input must be a text or a list of 1 to {} items", limits::kMessagesMax), "invalid_type");
  }
  for (size_t i = 0; i < input->size(); ++i) {
    SLUICE_REFUSE(read_item((*input)[i], fmt::format("input[{}]", i), out.chat.conversation));
    Json item = (*input)[i];
    if (!item.contains("type")) item["type"] = "message";
    out.input.push_back(std::move(item));
  }
  return {};
}

Refused read_response_tools(FieldReader& fields, Conversation& out) {
  const Json* tools = fields.array("tools", limits::kToolsMax);
  if (!tools) return {};
  for (size_t i = 0; i < tools->size(); ++i) {
    FieldReader tool((*tools)[i], fmt::format("tools[{}]", i));
    std::string type, description;
    tool.require("type");
    if (tool.text("type", 64, type) && type != "function") {
      return bad_request(tool.path_of("type"), fmt::format("{} is '{}': this server calls no tools itself, only 'function' can be used",
                                                           tool.path_of("type"), text::shown(type)), "unsupported_tools");
    }
    ToolSpec spec;
    Json function = Json::object();
    tool.require("name");
    tool.text("name", 64, spec.name);
    function["name"] = spec.name;
    if (tool.text("description", limits::kBodyBytesMax, description)) function["description"] = description;
    tool.boolean("strict", spec.strict);
    if (const Json* parameters = tool.object("parameters")) {
      spec.parameters = dumped(*parameters);
      function["parameters"] = *parameters;
    }
    SLUICE_REFUSE(tool.finish());
    for (const ToolSpec& other : out.tool_specs) {
      if (other.name == spec.name) return bad_request(tool.path_of("name"), fmt::format("the tool name '{}' occurs twice", text::shown(spec.name)));
    }
    out.tool_specs.push_back(std::move(spec));
    out.tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return {};
}

Refused read_text_format(FieldReader& fields, Generation& out, Json& echo) {
  echo = {{"format", {{"type", "text"}}}, {"verbosity", "medium"}};
  const Json* given = fields.object("text");
  if (!given) return {};
  FieldReader reader(*given, "text");
  size_t verbosity = 1;
  constexpr std::string_view kWords[] = {"low", "medium", "high"};
  reader.word("verbosity", {"low", "medium", "high"}, verbosity);
  echo["verbosity"] = kWords[verbosity];
  if (const Json* format = reader.object("format")) {
    FieldReader inner(*format, "text.format");
    size_t type = 0;
    std::string name, description;
    bool strict = false;
    inner.require("type");
    inner.word("type", {"text", "json_object", "json_schema"}, type);
    if (type == 1) out.constraint = {.kind = text::ConstraintKind::kJsonObject, .space = text::JsonSpace::kSpaced};
    if (type == 2) {
      inner.text("name", 64, name);
      inner.text("description", limits::kBodyBytesMax, description);
      inner.boolean("strict", strict);
      inner.require("schema");
      if (const Json* schema = inner.any("schema")) {
        out.constraint = {.kind = text::ConstraintKind::kJsonSchema, .text = dumped(*schema), .space = text::JsonSpace::kSpaced};
      }
    }
    SLUICE_REFUSE(inner.finish());
    if (out.constraint) out.constraint_field = "text.format";
    echo["format"] = *format;
  }
  return reader.finish();
}

Refused read_reasoning_field(FieldReader& fields, const Api& api, ChatRequest& out, Json& echo) {
  echo = {{"effort", nullptr}, {"summary", nullptr}};
  const Json* given = fields.object("reasoning");
  if (!given) return {};
  FieldReader reader(*given, "reasoning");
  read_effort(reader, "effort", api, out);
  reader.ignore({"summary", "generate_summary"});  // thoughts are shown whole
  echo["effort"] = given->value("effort", Json());
  return reader.finish();
}

Refused read_include(FieldReader& fields, ChatRequest& out) {
  int64_t top = 0;
  std::vector<std::string> include;
  fields.texts("include", 16, 64, include);
  for (const std::string& what : include) {
    if (what == "message.output_text.logprobs") out.wants_logprobs = true;
    else if (what != "reasoning.encrypted_content") return bad_request("include", fmt::format("include: there is no '{}' here", text::shown(what)));
  }
  fields.integer("top_logprobs", 0, limits::kTopLogprobsMax, top);
  if (top > 0) out.wants_logprobs = true;
  if (out.wants_logprobs) out.generation.request.top_logprobs = static_cast<int32_t>(top);
  return {};
}

// What this server does not do, unless it is asked not to.
void read_fixed(FieldReader& fields) {
  bool background = false;
  if (fields.boolean("background", background) && background) fields.refuse("background", "background is not supported: use a batch", "unsupported_parameter");
  size_t truncation = 0;
  fields.word("truncation", {"disabled", "auto"}, truncation);
  if (truncation == 1) fields.refuse("truncation", "truncation auto is not supported: a conversation that is too long is refused", "unsupported_parameter");
  if (fields.any("prompt")) fields.refuse("prompt", "prompt templates are not kept here: send instructions and input", "unsupported_parameter");
}

Refused read_response_metadata(FieldReader& fields, Json& out) {
  out = Json::object();
  const Json* given = fields.object("metadata");
  if (!given) return {};
  if (given->size() > limits::kMetadataEntriesMax) {
    return bad_request("metadata", fmt::format("metadata has {} entries, the limit is {}", given->size(), limits::kMetadataEntriesMax));
  }
  out = *given;
  return {};
}

}  // namespace

Refused read_item(const Json& given, const std::string& path, Conversation& out) {
  FieldReader item(given, path);
  std::string type = "message";
  item.text("type", 64, type);
  if (!item.ok()) return item.finish();
  if (type == "message") return read_message_item(item, out);
  if (type == "function_call") return read_call_item(item, out);
  if (type == "function_call_output") return read_output_item(item, out);
  if (type == "reasoning") return read_reasoning_item(item, out);
  return bad_request(item.path_of("type"), fmt::format("{} is '{}': items are message, function_call, function_call_output and reasoning",
                                                       item.path_of("type"), text::shown(type)), "unsupported_content");
}

void put_instructions(const std::string& instructions, Conversation& out) {
  if (instructions.empty()) return;
  if (!out.messages.empty() && out.messages[0]["role"] == "system") {
    out.messages[0]["content"] = instructions + "\n\n" + out.messages[0]["content"].get<std::string>();
  } else {
    out.messages.insert(out.messages.begin(), Json{{"role", "system"}, {"content", instructions}});
  }
}

Refused read_response(const Api& api, const Json& json, ResponseRequest& out) {
  FieldReader fields(json, "");
  ChatRequest& chat = out.chat;
  chat.generation = default_generation(api);
  Generation& generation = chat.generation;
  read_model(fields, api, chat.model);
  if (!fields.ok()) return fields.finish();
  SLUICE_REFUSE(read_input(fields, out));
  fields.text("instructions", limits::kBodyBytesMax, out.instructions);
  fields.text("previous_response_id", limits::kNameBytesMax, out.previous);
  if (const Json* conversation = fields.any("conversation")) {
    if (conversation->is_object()) {
      FieldReader inner(*conversation, "conversation");
      inner.require("id");
      inner.text("id", 64, chat.conversation_name);
      SLUICE_REFUSE(inner.finish());
    } else {
      fields.text("conversation", 64, chat.conversation_name);
    }
    if (!out.previous.empty()) fields.refuse("conversation", "conversation and previous_response_id cannot both be given");
  }
  fields.boolean("store", out.store);
  SLUICE_REFUSE(read_response_tools(fields, chat.conversation));
  SLUICE_REFUSE(read_tool_choice(fields, chat));
  int64_t most = 0;
  if (fields.integer("max_output_tokens", 1, static_cast<int64_t>(sluice::limits::kContextTokensMax), most)) {
    generation.max_tokens_given = true;
    generation.request.max_tokens = static_cast<uint64_t>(most);
  }
  read_sampler(fields, api, generation);
  read_stops(fields, api, generation);
  read_service(fields, generation);
  Json text, reasoning, metadata;
  SLUICE_REFUSE(read_text_format(fields, generation, text));
  SLUICE_REFUSE(read_reasoning_field(fields, api, chat, reasoning));
  SLUICE_REFUSE(read_include(fields, chat));
  SLUICE_REFUSE(read_response_metadata(fields, metadata));
  read_fixed(fields);
  read_stream_options(fields, chat.stream);
  fields.ignore({"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "max_tool_calls"});
  SLUICE_REFUSE(fields.finish());

  const Json none;
  Json& body = out.body;
  body = {{"background", false}, {"error", nullptr}, {"incomplete_details", nullptr}, {"instructions", json.value("instructions", none)},
          {"max_output_tokens", json.value("max_output_tokens", none)}, {"max_tool_calls", json.value("max_tool_calls", none)}, {"model", chat.model},
          {"output", Json::array()}, {"parallel_tool_calls", chat.tools_parallel}, {"previous_response_id", json.value("previous_response_id", none)},
          {"prompt_cache_key", json.value("prompt_cache_key", none)}, {"reasoning", reasoning},
          {"safety_identifier", json.value("safety_identifier", none)}, {"service_tier", tier_name(generation.price.tier)}, {"store", out.store},
          {"temperature", generation.request.sampler.temperature}, {"text", text}, {"tool_choice", json.value("tool_choice", Json("auto"))},
          {"tools", json.value("tools", Json::array())}, {"top_logprobs", json.value("top_logprobs", Json(0))}, {"top_p", generation.request.sampler.top_p},
          {"truncation", "disabled"}, {"usage", nullptr}, {"user", json.value("user", none)}, {"metadata", metadata}};
  if (body["tool_choice"].is_null()) body["tool_choice"] = "auto";
  if (body["tools"].is_null()) body["tools"] = Json::array();
  if (!chat.conversation_name.empty()) body["conversation"] = {{"id", chat.conversation_name}};
  return {};
}

}  // namespace sluice::server
