#include "server/anthropic_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Refused mark(FieldReader& block, Conversation& out, size_t message, size_t bytes) {
  const uint64_t ttl_ms = read_cache_control(block);
  if (ttl_ms == 0) return {};
  return add_cache_mark(out, block.path_of("cache_control"), {message, bytes, ttl_ms});
}

// Neighbours of one role are one message: templates want them to alternate.
Json& entry_of(Conversation& out, std::string_view role) {
  if (out.messages.empty() || out.messages.back()["role"] != role) out.messages.push_back({{"role", role}, {"content", ""}});
  return out.messages.back();
}

void append_text(Json& entry, const std::string& text) {
  std::string& content = entry["content"].get_ref<std::string&>();
  if (!content.empty()) content += '\n';
  content += text;
}

Refused read_text(FieldReader& block, std::string_view role, Conversation& out) {
  std::string text;
  block.require("text");
  block.text("text", limits::kBodyBytesMax, text);
  block.ignore({"citations"});
  Json& entry = entry_of(out, role);
  append_text(entry, text);
  return mark(block, out, out.messages.size() - 1, entry["content"].get_ref<const std::string&>().size());
}

Refused read_tool_use(FieldReader& block, Conversation& out) {
  std::string id, name;
  block.require("id");
  block.require("name");
  block.require("input");
  block.text("id", limits::kNameBytesMax, id);
  block.text("name", limits::kNameBytesMax, name);
  const Json* input = block.object("input");
  block.ignore({"caller", "toolset_name"});
  if (!block.ok()) return block.finish();
  entry_of(out, "assistant")["tool_calls"].push_back({{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", *input}}}});
  return mark(block, out, out.messages.size() - 1, CacheMark::kEnd);
}

Refused read_tool_result(FieldReader& block, Conversation& out) {
  std::string id, content;
  bool is_error = false;
  block.require("tool_use_id");
  block.text("tool_use_id", limits::kNameBytesMax, id);
  block.boolean("is_error", is_error);
  block.ignore({"toolset_name"});
  if (const Json* given = block.any("content")) SLUICE_REFUSE(read_content(*given, block.path_of("content"), out, content));
  if (is_error && !content.starts_with("Error")) content = "Error: " + content;
  out.messages.push_back({{"role", "tool"}, {"content", content}, {"tool_call_id", id}});
  return mark(block, out, out.messages.size() - 1, CacheMark::kEnd);
}

// Texts only; they go where documents of other protocols go.
Refused read_document_block(FieldReader& block, Conversation& out) {
  Json document = Json::object();
  std::string text, title, context;
  block.text("title", limits::kBodyBytesMax, title);
  block.text("context", limits::kBodyBytesMax, context);
  if (const Json* citations = block.object("citations")) {
    FieldReader reader(*citations, block.path_of("citations"));
    bool enabled = false;
    if (reader.boolean("enabled", enabled) && enabled) reader.refuse("enabled", "citations are not supported", "unsupported_parameter");
    SLUICE_REFUSE(reader.finish());
  }
  block.require("source");
  const Json* given = block.object("source");
  if (!block.ok()) return block.finish();
  FieldReader source(*given, block.path_of("source"));
  size_t type = 0;
  std::string media_type;
  source.require("type");
  source.word("type", {"text", "content"}, type);
  source.text("media_type", 64, media_type);
  source.text("data", limits::kBodyBytesMax, text);
  if (const Json* content = source.any("content")) SLUICE_REFUSE(read_content(*content, source.path_of("content"), out, text));
  SLUICE_REFUSE(source.finish());
  if (!title.empty()) document["title"] = title;
  document["text"] = context.empty() ? text : context + "\n" + text;
  Json entry;
  SLUICE_REFUSE(read_document(document, block.path_of("source"), out.documents.size(), entry));
  out.documents.push_back(std::move(entry));
  return mark(block, out, CacheMark::kTools, CacheMark::kEnd);
}

Refused read_block(const Json& given, const std::string& path, std::string_view role, Conversation& out) {
  FieldReader block(given, path);
  std::string type, text;
  block.require("type");
  block.text("type", 64, type);
  if (!block.ok()) return block.finish();
  if (type == "text") {
    SLUICE_REFUSE(read_text(block, role, out));
  } else if (type == "tool_use" && role == "assistant") {
    SLUICE_REFUSE(read_tool_use(block, out));
  } else if (type == "tool_result" && role == "user") {
    SLUICE_REFUSE(read_tool_result(block, out));
  } else if (type == "document" && role == "user") {
    SLUICE_REFUSE(read_document_block(block, out));
  } else if (type == "thinking" && role == "assistant") {
    block.require("thinking");
    if (block.text("thinking", limits::kBodyBytesMax, text)) entry_of(out, role)["reasoning_content"] = text;
    block.ignore({"signature"});
  } else if (type == "redacted_thinking" && role == "assistant") {
    block.ignore({"data"});
  } else {
    return bad_request(block.path_of("type"), fmt::format("{} is '{}': a message of the role {} cannot have it here", block.path_of("type"),
                                                          text::shown(type), role), "unsupported_content");
  }
  return block.finish();
}

Refused read_message(const Json& given, const std::string& path, Conversation& out) {
  FieldReader message(given, path);
  size_t role = 0;
  message.require("role");
  message.word("role", {"user", "assistant", "system"}, role);
  message.require("content");
  const Json* content = message.any("content");
  SLUICE_REFUSE(message.finish());
  constexpr std::string_view kRoles[] = {"user", "assistant", "system"};
  const std::string where = path + ".content";
  if (content->is_string()) {
    append_text(entry_of(out, kRoles[role]), content->get_ref<const std::string&>());
    return {};
  }
  if (!content->is_array()) return bad_request(where, where + " must be a string or a list of blocks", "invalid_type");
  if (content->size() > limits::kPartsMax) {
    return bad_request(where, fmt::format("{} has {} blocks, the limit is {}", where, content->size(), limits::kPartsMax));
  }
  for (size_t i = 0; i < content->size(); ++i) SLUICE_REFUSE(read_block((*content)[i], fmt::format("{}[{}]", where, i), kRoles[role], out));
  return {};
}

Refused read_conversation(FieldReader& fields, Conversation& out) {
  if (const Json* system = fields.any("system")) {
    std::string text;
    SLUICE_REFUSE(read_content(*system, "system", out, text));
    if (!text.empty()) out.messages.push_back({{"role", "system"}, {"content", text}});
  }
  fields.require("messages");
  const Json* messages = fields.array("messages", limits::kMessagesMax);
  if (!fields.ok()) return fields.finish();
  if (messages->empty()) return bad_request("messages", "messages is empty");
  for (size_t i = 0; i < messages->size(); ++i) SLUICE_REFUSE(read_message((*messages)[i], fmt::format("messages[{}]", i), out));
  if (out.messages.empty()) return bad_request("messages", "messages has no text");
  const Json& last = out.messages.back();
  out.continue_last = last["role"] == "assistant" && !last.contains("tool_calls") && !last["content"].get_ref<const std::string&>().empty();
  return mark(fields, out, out.messages.size() - 1, CacheMark::kEnd);
}

Refused read_tool(const Json& given, const std::string& path, Conversation& out) {
  FieldReader tool(given, path);
  ToolSpec spec;
  size_t type = 0;
  std::string description;
  tool.word("type", {"custom"}, type);
  tool.require("name");
  tool.text("name", 64, spec.name);
  tool.text("description", limits::kBodyBytesMax, description);
  tool.boolean("strict", spec.strict);
  tool.require("input_schema");
  const Json* schema = tool.object("input_schema");
  SLUICE_REFUSE(mark(tool, out, CacheMark::kTools, CacheMark::kEnd));
  tool.ignore({"eager_input_streaming", "input_examples"});
  SLUICE_REFUSE(tool.finish());
  for (const ToolSpec& other : out.tool_specs) {
    if (other.name == spec.name) return bad_request(path + ".name", fmt::format("the tool name '{}' occurs twice", text::shown(spec.name)));
  }
  spec.parameters = dumped(*schema);
  Json function = {{"name", spec.name}};
  if (!description.empty()) function["description"] = description;
  function["parameters"] = *schema;
  out.tool_specs.push_back(std::move(spec));
  out.tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  return {};
}

Refused read_choice_of_tool(FieldReader& fields, ChatRequest& out) {
  const Json* given = fields.object("tool_choice");
  if (!given) return {};
  FieldReader choice(*given, "tool_choice");
  size_t type = 0;
  bool one = false;
  std::string name;
  choice.require("type");
  choice.word("type", {"auto", "any", "tool", "none"}, type);
  choice.boolean("disable_parallel_tool_use", one);
  if (choice.text("name", 64, name) && type != 2) choice.refuse("name", "tool_choice.name goes with the type tool");
  if (type == 2) choice.require("name");
  SLUICE_REFUSE(choice.finish());
  out.tools_parallel = !one && type != 2;
  out.tools_required = type == 1 || type == 2;
  out.tools_off = type == 3;
  const auto& specs = out.conversation.tool_specs;
  if (out.tools_required && specs.empty()) return bad_request("tool_choice", "tool_choice asks for a call and there are no tools");
  if (type == 2) {
    if (std::none_of(specs.begin(), specs.end(), [&](const ToolSpec& t) { return t.name == name; })) {
      return bad_request("tool_choice.name", fmt::format("tool_choice.name: there is no tool '{}' in tools", text::shown(name)));
    }
    out.tools_allowed = {name};
  }
  return {};
}

// Without the field the model is told not to think, and what it thinks all the same is not shown.
Refused read_thinking(FieldReader& fields, const Api& api, ChatRequest& out) {
  const Json* given = fields.object("thinking");
  size_t type = 1, display = 0;
  if (given) {
    FieldReader thinking(*given, "thinking");
    thinking.require("type");
    thinking.word("type", {"enabled", "disabled", "adaptive", "between_tools"}, type);
    thinking.word("display", {"summarized", "omitted"}, display);
    uint64_t budget = 0;
    if (thinking.integer("budget_tokens", 1, static_cast<int64_t>(sluice::limits::kContextTokensMax), budget)) {
      if (type != 0) thinking.refuse("budget_tokens", "thinking.budget_tokens goes with the type enabled");
      const uint64_t most = out.generation.request.max_tokens;
      if (out.generation.max_tokens_given && budget >= most) {
        thinking.refuse("budget_tokens", fmt::format("thinking.budget_tokens is {}, it must be less than max_tokens, {}", budget, most));
      }
      out.thinking_tokens_max = budget;
    }
    if (type == 0) thinking.require("budget_tokens");
    if (type == 0 && !api.thinking().can()) thinking.refuse("type", "thinking is enabled: this model does not think", "unsupported_parameter");
    SLUICE_REFUSE(thinking.finish());
  }
  out.conversation.thinking_off = type == 1;
  out.reasoning = type == 1 || display == 1 ? Reasoning::kHidden : Reasoning::kParsed;
  return {};
}

Refused read_output_config(FieldReader& fields, const Api& api, ChatRequest& out) {
  const Json* given = fields.object("output_config");
  if (!given) return {};
  FieldReader config(*given, "output_config");
  size_t effort = 0;
  if (config.word("effort", {"low", "medium", "high", "xhigh", "max"}, effort) && api.thinking().can()) {
    constexpr std::string_view kEfforts[] = {"low", "medium", "high", "high", "high"};
    set_effort(config, "effort", kEfforts[effort], api, out);
  }
  if (const Json* format = config.object("format")) {
    FieldReader reader(*format, "output_config.format");
    size_t type = 0;
    reader.require("type");
    reader.word("type", {"json_schema"}, type);
    reader.require("schema");
    if (const Json* schema = reader.object("schema")) set_schema(reader, "output_config.format.schema", *schema, out.generation);
    if (const Refused refused = reader.finish()) config.refuse(*refused);
  }
  return config.finish();
}

void read_generation(FieldReader& fields, Generation& out) {
  engine::Request& request = out.request;
  fields.require("max_tokens");
  // 0: the prompt is read and kept.
  out.max_tokens_given = fields.integer("max_tokens", 0, static_cast<int64_t>(sluice::limits::kContextTokensMax), request.max_tokens);
  fields.number("temperature", 0, 1, request.sampler.temperature);
  fields.number("top_p", 0, 1, request.sampler.top_p);
  fields.integer("top_k", 0, static_cast<int64_t>(sluice::limits::kContextTokensMax), request.sampler.top_k);
  fields.texts("stop_sequences", limits::kStopStringsMax, limits::kStopStringBytesMax, request.stop.strings);
  size_t tier = 1;
  fields.word("service_tier", {"auto", "standard_only"}, tier);
  out.price.tier_auto = tier == 0;
}

}  // namespace

Refused read_anthropic(const Api& api, const Json& body, bool counting, ChatRequest& out) {
  FieldReader fields(body, "");
  out.generation = default_generation(api);
  read_model(fields, api, out.model);
  if (!fields.ok()) return fields.finish();
  if (!counting) {
    read_generation(fields, out.generation);
    fields.boolean("stream", out.stream.stream);
    fields.ignore({"metadata"});
  }
  if (const Json* tools = fields.array("tools", limits::kToolsMax)) {
    for (size_t i = 0; i < tools->size(); ++i) SLUICE_REFUSE(read_tool((*tools)[i], fmt::format("tools[{}]", i), out.conversation));
  }
  SLUICE_REFUSE(read_choice_of_tool(fields, out));
  SLUICE_REFUSE(read_conversation(fields, out.conversation));
  SLUICE_REFUSE(read_thinking(fields, api, out));
  SLUICE_REFUSE(read_output_config(fields, api, out));
  return fields.finish();
}

}  // namespace sluice::server
