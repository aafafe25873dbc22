#include "server/prompt.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/limits.h"
#include "text/chat_conversation.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// As Python's json.dumps writes it, and with it most chat templates.
std::string spaced(const Json& json) {
  if (json.is_object()) {
    std::string out = "{";
    for (const auto& [key, value] : json.items()) {
      if (out.size() > 1) out += ", ";
      append_json_string(out, key);
      out += ": " + spaced(value);
    }
    return out + "}";
  }
  if (json.is_array()) {
    std::string out = "[";
    for (const Json& value : json) out += (out.size() > 1 ? ", " : "") + spaced(value);
    return out + "]";
  }
  return dumped(json);
}

void add_to_system(Json& messages, const std::string& text) {
  if (!messages.empty() && messages[0]["role"] == "system") {
    std::string content = messages[0]["content"].is_string() ? messages[0]["content"].get<std::string>() : std::string();
    messages[0]["content"] = content.empty() ? text : content + "\n\n" + text;
    return;
  }
  messages.insert(messages.begin(), Json{{"role", "system"}, {"content", text}});
}

// Templates that know no tools get them in Hermes' shape, as many models have seen it.
void write_tools_out(Json& messages, const Json& tools) {
  for (Json& message : messages) {
    std::string content = message["content"].is_string() ? message["content"].get<std::string>() : std::string();
    if (message["role"] == "tool") {
      message = Json{{"role", "user"}, {"content", "<tool_response>\n" + content + "\n</tool_response>"}};
    } else if (message.contains("tool_calls")) {
      for (const Json& call : message["tool_calls"]) {
        const Json& function = call["function"];
        const std::string arguments = function["arguments"].is_string() ? function["arguments"].get<std::string>() : spaced(function["arguments"]);
        if (!content.empty()) content += '\n';
        content += "<tool_call>\n{\"name\": " + dumped(function["name"]) + ", \"arguments\": " + arguments + "}\n</tool_call>";
      }
      message = Json{{"role", "assistant"}, {"content", content}};
    }
  }
  if (tools.empty()) return;
  std::string text = "You may call functions. Their signatures, in JSON:\n<tools>\n";
  for (const Json& tool : tools) text += spaced(tool) + "\n";
  text += "</tools>\nTo call one, write\n<tool_call>\n{\"name\": <name>, \"arguments\": <arguments as a JSON object>}\n</tool_call>";
  add_to_system(messages, text);
}

void write_documents_out(Json& messages, const Json& documents) {
  std::string text = "Documents:";
  for (const Json& document : documents) {
    text += fmt::format("\n[{}] {}", document["id"].get<std::string>(), document["text"].get<std::string>());
  }
  add_to_system(messages, text);
}

Refused read_calls(FieldReader& message, Json& out) {
  const Json* calls = message.array("tool_calls", limits::kToolsMax);
  if (!calls || calls->empty()) return {};
  out["tool_calls"] = Json::array();
  for (size_t i = 0; i < calls->size(); ++i) {
    FieldReader call((*calls)[i], message.path_of(fmt::format("tool_calls[{}]", i)));
    std::string id, type = "function";
    call.text("id", limits::kNameBytesMax, id);
    call.text("type", 32, type);
    call.ignore({"index"});
    const Json* function = call.object("function");
    if (!function) call.require("function");
    std::string name;
    Json arguments = Json::object();
    if (function) {
      FieldReader inner(*function, call.path_of("function"));
      inner.require("name");
      inner.text("name", limits::kNameBytesMax, name);
      if (const Json* given = inner.any("arguments")) {
        arguments = *given;
        // Clients send arguments as text, templates read them as an object.
        if (given->is_string() && Json::accept(given->get_ref<const std::string&>())) {
          Json parsed;
          if (const Refused refused = parse_request_json(given->get_ref<const std::string&>(), parsed); !refused && parsed.is_object()) {
            arguments = std::move(parsed);
          }
        }
      }
      SLUICE_REFUSE(inner.finish());
    }
    SLUICE_REFUSE(call.finish());
    out["tool_calls"].push_back({{"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", std::move(arguments)}}}});
  }
  return {};
}

Refused read_message(const Json& given, const std::string& path, Conversation& out) {
  FieldReader message(given, path);
  Json entry = Json::object();
  size_t role = 0;
  message.require("role");
  constexpr std::string_view kRoles[] = {"system", "user", "assistant", "tool", "system"};
  message.word("role", {"system", "user", "assistant", "tool", "developer"}, role);
  entry["role"] = kRoles[role];
  std::string content;
  if (const Json* value = message.any("content")) SLUICE_REFUSE(read_content(*value, message.path_of("content"), out, content));
  entry["content"] = content;
  std::string text;
  if (message.text("name", limits::kNameBytesMax, text)) entry["name"] = text;
  if (message.text("tool_call_id", limits::kNameBytesMax, text)) entry["tool_call_id"] = text;
  if (message.text("reasoning", limits::kBodyBytesMax, text)) entry["reasoning_content"] = text;
  if (message.text("reasoning_content", limits::kBodyBytesMax, text)) entry["reasoning_content"] = text;
  SLUICE_REFUSE(read_calls(message, entry));
  message.ignore({"refusal", "annotations", "audio", "function_call", "executed_tools"});  // what answers carry and clients send back
  SLUICE_REFUSE(message.finish());
  const bool answers = kRoles[role] == "assistant";
  if (!answers && entry.contains("tool_calls")) return bad_request(path + ".tool_calls", path + ".tool_calls: only an assistant's message has calls");
  if (!given.contains("content") && !entry.contains("tool_calls")) {
    return bad_request(path + ".content", path + ".content is missing", "missing_required_parameter");
  }
  out.messages.push_back(std::move(entry));
  return {};
}

}  // namespace

Refused read_document(const Json& given, const std::string& path, size_t number, Json& out) {
  FieldReader document(given, path);
  std::string id = fmt::format("{}", number + 1), title, text;
  document.text("id", limits::kNameBytesMax, id);
  document.text("title", limits::kBodyBytesMax, title);
  document.text("text", limits::kBodyBytesMax, text);
  document.text("content", limits::kBodyBytesMax, text);
  const Json* metadata = document.any("metadata");
  if (const Json* source = document.object("source")) {
    FieldReader inner(*source, document.path_of("source"));
    size_t kind = 0;
    inner.require("type");
    inner.word("type", {"text", "json"}, kind);
    inner.text("text", limits::kBodyBytesMax, text);
    if (const Json* data = inner.any("data")) text = spaced(*data);
    SLUICE_REFUSE(inner.finish());
  }
  SLUICE_REFUSE(document.finish());
  if (text.empty()) return bad_request(path, path + " has no text", "missing_required_parameter");
  out = {{"id", id}, {"title", title}, {"text", text}, {"content", text}, {"contents", text}};
  if (metadata) out["metadata"] = *metadata;
  return {};
}

uint64_t read_cache_control(FieldReader& fields) {
  const Json* given = fields.object("cache_control");
  if (!given) return 0;
  FieldReader control(*given, fields.path_of("cache_control"));
  size_t type = 0, ttl = 0;
  control.require("type");
  control.word("type", {"ephemeral"}, type);
  control.word("ttl", {"5m", "1h"}, ttl);
  if (const Refused refused = control.finish()) {
    fields.refuse(*refused);
    return 0;
  }
  return ttl == 0 ? 5 * 60'000 : 60 * 60'000;
}

Refused add_cache_mark(Conversation& conversation, const std::string& path, CacheMark mark) {
  if (conversation.cache_marks.size() == limits::kCacheMarksMax) {
    return bad_request(path, fmt::format("{}: there are more than {} blocks with cache_control", path, limits::kCacheMarksMax));
  }
  conversation.cache_marks.push_back(mark);
  return {};
}

Refused read_each_part(const Json& content, const std::string& path, std::string& out,
                       const std::function<Refused(FieldReader& part, const std::string& type)>& read) {
  if (content.is_string()) {
    out = content.get<std::string>();
    return {};
  }
  if (!content.is_array()) return bad_request(path, path + " must be a string or a list of parts", "invalid_type");
  if (content.size() > limits::kPartsMax) return bad_request(path, fmt::format("{} has {} parts, the limit is {}", path, content.size(), limits::kPartsMax));
  for (size_t i = 0; i < content.size(); ++i) {
    FieldReader part(content[i], fmt::format("{}[{}]", path, i));
    std::string type;
    part.require("type");
    part.text("type", 64, type);
    if (!part.ok()) return part.finish();
    SLUICE_REFUSE(read(part, type));
  }
  return {};
}

namespace {

Refused read_document_part(FieldReader& part, Conversation& conversation) {
  const Json* document = part.object("document");
  if (!document) part.require("document");
  SLUICE_REFUSE(part.finish());
  Json entry;
  SLUICE_REFUSE(read_document(*document, part.path_of("document"), conversation.documents.size(), entry));
  conversation.documents.push_back(std::move(entry));
  return {};
}

}  // namespace

Refused unknown_part(const FieldReader& part, const std::string& type) {
  const std::string path = part.path_of("type");
  return bad_request(path, fmt::format("{} is '{}': this model reads text only", path, text::shown(type)), "unsupported_content");
}

Refused read_content(const Json& content, const std::string& path, Conversation& conversation, std::string& out) {
  bool first = true;
  SLUICE_REFUSE(read_each_part(content, path, out, [&](FieldReader& part, const std::string& type) -> Refused {
    if (type == "document") return read_document_part(part, conversation);
    if (type != "text") return unknown_part(part, type);
    std::string text;
    part.require("text");
    part.text("text", limits::kBodyBytesMax, text);
    const uint64_t ttl_ms = read_cache_control(part);
    part.ignore({"citations"});  // of an answer that is sent back
    SLUICE_REFUSE(part.finish());
    if (!first) out += '\n';
    first = false;
    out += text;
    if (ttl_ms == 0) return {};
    return add_cache_mark(conversation, part.path_of("cache_control"), {conversation.messages.size(), out.size(), ttl_ms});
  }));
  for (CacheMark& mark : conversation.cache_marks) {
    if (mark.message == conversation.messages.size() && mark.bytes == out.size()) mark.bytes = CacheMark::kEnd;
  }
  return {};
}

Refused read_messages(FieldReader& fields, Conversation& out) {
  const Json* messages = fields.array("messages", limits::kMessagesMax);
  if (!messages) {
    fields.require("messages");
    return fields.ok() ? Refused{} : fields.finish();
  }
  if (messages->empty()) return bad_request("messages", "messages is empty");
  for (size_t i = 0; i < messages->size(); ++i) {
    SLUICE_REFUSE(read_message((*messages)[i], fields.path_of(fmt::format("messages[{}]", i)), out));
  }
  const Json& last = out.messages.back();
  out.continue_last = last["role"] == "assistant" && !last.contains("tool_calls") && !last["content"].get_ref<const std::string&>().empty();
  return {};
}

Refused read_tools(FieldReader& fields, Conversation& out) {
  const Json* tools = fields.array("tools", limits::kToolsMax);
  if (!tools) return {};
  for (size_t i = 0; i < tools->size(); ++i) {
    FieldReader tool((*tools)[i], fields.path_of(fmt::format("tools[{}]", i)));
    size_t type = 0;
    tool.require("type");
    tool.word("type", {"function"}, type);
    tool.require("function");
    const Json* function = tool.object("function");
    SLUICE_REFUSE(tool.finish());
    FieldReader inner(*function, tool.path_of("function"));
    ToolSpec spec;
    std::string description;
    inner.require("name");
    inner.text("name", 64, spec.name);
    inner.text("description", limits::kBodyBytesMax, description);
    inner.boolean("strict", spec.strict);
    if (const Json* parameters = inner.object("parameters")) spec.parameters = dumped(*parameters);
    SLUICE_REFUSE(inner.finish());
    for (const ToolSpec& other : out.tool_specs) {
      if (other.name == spec.name) return bad_request(inner.path_of("name"), fmt::format("the tool name '{}' occurs twice", text::shown(spec.name)));
    }
    out.tool_specs.push_back(std::move(spec));
    out.tools.push_back((*tools)[i]);
  }
  return {};
}

Refused read_documents(FieldReader& fields, Conversation& out) {
  const Json* documents = fields.array("documents", limits::kDocumentsMax);
  if (!documents) return {};
  for (size_t i = 0; i < documents->size(); ++i) {
    Json entry;
    SLUICE_REFUSE(read_document((*documents)[i], fields.path_of(fmt::format("documents[{}]", i)), out.documents.size(), entry));
    out.documents.push_back(std::move(entry));
  }
  return {};
}

Refused read_template_kwargs(FieldReader& fields, Conversation& out) {
  const Json* kwargs = fields.object("chat_template_kwargs");
  if (!kwargs) return {};
  if (const Status status = text::add_request_kwargs(out.kwargs, *kwargs); !status.ok()) return bad_request("chat_template_kwargs", status.error().message);
  return {};
}

bool template_knows_tools(const Api& api) { return api.template_text().find("tools") != std::string::npos; }

const text::ToolFormat* call_format(const Api& api) { return template_knows_tools(api) ? api.tool_format() : text::find_tool_format("hermes"); }

namespace {

Json context_of(const Api& api, const Conversation& conversation, const Json& messages, bool tools_in_template) {
  const text::TokenizerSpec& spec = api.tokenizer().spec();
  const auto token_text = [&](int32_t id) { return id < 0 ? std::string() : std::string(api.tokenizer().token_bytes(id)); };
  Json context = Json::object();
  context["messages"] = messages;
  context["tools"] = tools_in_template && !conversation.tools.empty() ? conversation.tools : Json(nullptr);
  context["documents"] = conversation.documents.empty() ? Json(nullptr) : conversation.documents;
  context["add_generation_prompt"] = conversation.add_generation_prompt;
  context["bos_token"] = token_text(spec.bos_id);
  context["eos_token"] = token_text(spec.eos_id);
  if (conversation.thinking_off) {
    context["enable_thinking"] = false;
    context["thinking"] = false;
  }
  for (const auto& [name, value] : conversation.kwargs.items()) context[name] = value;
  return context;
}

constexpr size_t kNowhere = std::string::npos;

// Where in the prompt's text each message's content stands, found in turn; kNowhere where it is empty or the template left it out. Only in what came from
// the messages: "sys" is no content in the template's "system".
std::vector<size_t> find_contents(const Json& messages, const std::vector<text::RenderedSpan>& spans, const Prompt& prompt) {
  std::vector<size_t> places;
  size_t from = 0;
  const auto find_input = [&](const std::string& content) {
    size_t span = 0;
    for (size_t found = prompt.text.find(content, from); found != kNowhere; found = prompt.text.find(content, found + 1)) {
      while (span < spans.size() && spans[span].end <= found) ++span;
      if (span == spans.size()) break;
      if (spans[span].origin == text::Origin::from_input) return found;
    }
    return kNowhere;
  };
  for (const Json& message : messages) {
    const std::string& content = message["content"].get_ref<const std::string&>();
    places.push_back(content.empty() ? kNowhere : find_input(content));
    if (places.back() != kNowhere) from = places.back() + content.size();
  }
  return places;
}

// The tokens that begin at or before bytes of the text (rising), through the tokens' own bytes. Fewer than asked for if these do not add up to the text
// (tokenizers that normalise).
std::vector<uint32_t> tokens_at(const Api& api, const Prompt& prompt, size_t prefix_tokens, const std::vector<size_t>& bytes) {
  std::vector<uint32_t> out;
  size_t end = 0;
  for (size_t t = prefix_tokens; t < prompt.tokens.size() && out.size() < bytes.size(); ++t) {
    end += api.tokenizer().token_bytes(prompt.tokens[t]).size();
    while (out.size() < bytes.size() && bytes[out.size()] < end) out.push_back(static_cast<uint32_t>(t));
  }
  return out;
}

// Where each message's content begins, in tokens, for the engine.
void find_messages(const Api& api, const Json& messages, const std::vector<size_t>& places, size_t prefix_tokens, Prompt& prompt) {
  std::vector<size_t> bytes;
  std::vector<bool> is_system;
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i] == kNowhere) continue;
    bytes.push_back(places[i]);
    is_system.push_back(messages[i]["role"] == "system");
  }
  const std::vector<uint32_t> tokens = tokens_at(api, prompt, prefix_tokens, bytes);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const uint32_t at = tokens[i];
    if (at > 0 && (prompt.message_starts.empty() || prompt.message_starts.back() < at)) prompt.message_starts.push_back(at);
    if (prompt.system_end == 0 && i > 0 && is_system[0] && !is_system[i]) prompt.system_end = at;
  }
}

// The cache marks as places in tokens. What ends a message ends where the next one's content begins: the template's text between them comes again too.
// `inserted`: messages that were put in front of the conversation's.
void find_marks(const Api& api, const Conversation& conversation, size_t inserted, const Json& messages, const std::vector<size_t>& places,
                size_t prefix_tokens, Prompt& prompt) {
  std::vector<std::pair<size_t, uint64_t>> marks;
  for (const CacheMark& mark : conversation.cache_marks) {
    const bool tools = mark.message == CacheMark::kTools;
    size_t next = tools ? 0 : mark.message + inserted + 1;
    if (tools) {
      while (next < messages.size() && messages[next]["role"] == "system") ++next;
    } else if (next <= places.size() && places[next - 1] != kNowhere) {
      const size_t content = messages[next - 1]["content"].get_ref<const std::string&>().size();
      if (mark.bytes < content) {
        marks.emplace_back(places[next - 1] + mark.bytes, mark.ttl_ms);
        continue;
      }
    }
    while (next < places.size() && places[next] == kNowhere) ++next;
    marks.emplace_back(next < places.size() ? places[next] : kNowhere, mark.ttl_ms);
  }
  std::sort(marks.begin(), marks.end());
  std::vector<size_t> bytes;
  for (const auto& [byte, ttl_ms] : marks) bytes.push_back(byte);
  std::vector<uint32_t> tokens = tokens_at(api, prompt, prefix_tokens, bytes);
  tokens.resize(marks.size(), static_cast<uint32_t>(prompt.tokens.size() - 1));  // the last token is always read
  for (size_t i = 0; i < marks.size(); ++i) {
    if (!prompt.pins.empty() && prompt.pins.back().position == tokens[i]) {
      prompt.pins.back().ttl_ms = std::max(prompt.pins.back().ttl_ms, marks[i].second);
    } else if (tokens[i] > 0) {
      prompt.pins.push_back({tokens[i], marks[i].second});
    }
  }
}

// [from, to) of the parts' bytes.
std::vector<text::TextPart> cut_parts(std::span<const text::TextPart> parts, size_t from, size_t to) {
  std::vector<text::TextPart> out;
  size_t at = 0;
  for (const text::TextPart& part : parts) {
    const size_t begin = std::max(from, at), end = std::min(to, at + part.text.size());
    if (begin < end) out.push_back({part.text.substr(begin - at, end - begin), part.parse_special});
    at += part.text.size();
  }
  return out;
}

std::string bytes_of(const Api& api, std::span<const int32_t> tokens) {
  std::string out;
  for (const int32_t id : tokens) out += api.tokenizer().token_bytes(id);
  return out;
}

// As the turns before were: each up to its end, then the answer's own tokens. A text has many spellings in tokens, and only the one that was computed is
// found again. Where the text is another one now (a template that drops thoughts), or would not come out the same, it is spelt anew from there.
Result<std::vector<int32_t>> encode_turns(const Api& api, std::span<const text::TextPart> parts, const std::string& text, std::span<const Seam> seams) {
  std::vector<int32_t> out;
  size_t at = 0, hashed = 0;
  uint64_t hash = kSeamHashBegin;
  for (const Seam& seam : seams) {
    if (seam.answer.empty() || seam.prompt_bytes < hashed || seam.prompt_bytes <= at || seam.prompt_bytes > text.size()) continue;
    hash = seam_hash(hash, std::string_view(text).substr(hashed, seam.prompt_bytes - hashed));
    hashed = seam.prompt_bytes;
    const bool known = std::all_of(seam.answer.begin(), seam.answer.end(), [&](int32_t id) {
      return id >= 0 && static_cast<size_t>(id) < api.tokenizer().vocabulary_size();
    });
    if (hash != seam.prompt_hash || !known) continue;
    const std::string answer = bytes_of(api, seam.answer);
    if (!std::string_view(text).substr(seam.prompt_bytes).starts_with(answer)) continue;
    SLUICE_TRY(const std::vector<int32_t> before, api.tokenizer().encode_parts(cut_parts(parts, at, seam.prompt_bytes), at == 0));
    if (at > 0 && bytes_of(api, before) != std::string_view(text).substr(at, seam.prompt_bytes - at)) break;
    out.insert(out.end(), before.begin(), before.end());
    out.insert(out.end(), seam.answer.begin(), seam.answer.end());
    at = seam.prompt_bytes + answer.size();
  }
  if (at == 0) return api.tokenizer().encode_parts(parts, true);
  if (at == text.size()) return out;
  SLUICE_TRY(const std::vector<int32_t> rest, api.tokenizer().encode_parts(cut_parts(parts, at, text.size()), false));
  if (bytes_of(api, rest) != std::string_view(text).substr(at)) return api.tokenizer().encode_parts(parts, true);
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

}  // namespace

Refused render_chat(const Api& api, const Conversation& conversation, Prompt& out) {
  if (!api.chat_template()) return bad_request("messages", "this model has no chat template: use /v1/completions", "no_chat_template");
  Json messages = conversation.messages;
  const bool tools_in_template = template_knows_tools(api);
  if (!tools_in_template) write_tools_out(messages, conversation.tools);
  if (!conversation.documents.empty() && api.template_text().find("documents") == std::string::npos) write_documents_out(messages, conversation.documents);
  const size_t inserted = messages.size() - conversation.messages.size();
  std::string last;
  if (conversation.continue_last) {
    last = messages.back()["content"].get<std::string>();
    messages.erase(messages.size() - 1);
  }
  text::RenderOptions options;
  options.now = text::DateTime::from_unix(api.now_unix(), 0);
  Result<text::Rendered> rendered = api.chat_template()->render_parts(context_of(api, conversation, messages, tools_in_template), options);
  if (!rendered.ok()) return bad_request("messages", "the model's chat template refuses the messages: " + rendered.error().message, "template_error");

  std::vector<text::TextPart> parts;
  for (const text::RenderedSpan& span : rendered->spans) {
    parts.push_back({std::string_view(rendered->text).substr(span.begin, span.end - span.begin), span.origin == text::Origin::from_template});
  }
  const Thinking& thinking = api.thinking();
  if (thinking.can()) {
    const size_t end = rendered->text.find_last_not_of(" \t\r\n") + 1;
    const std::string_view text = std::string_view(rendered->text).substr(0, end);
    out.starts_thinking = text.ends_with(thinking.open);
    out.may_think = !out.starts_thinking && !text.ends_with(thinking.close) && !conversation.thinking_off && !conversation.continue_last;
  }
  std::string closed;
  if (conversation.continue_last) {
    if (out.starts_thinking) {
      closed = "\n" + thinking.close + "\n\n";
      parts.push_back({closed, true});
      out.starts_thinking = false;
    }
    parts.push_back({last, false});
  }
  out.text = rendered->text + closed + last;
  Result<std::vector<int32_t>> tokens = encode_turns(api, parts, out.text, conversation.seams);
  if (!tokens.ok()) return bad_request("messages", tokens.error().message);
  out.tokens = std::move(*tokens);
  out.seam = {out.text.size(), seam_hash(kSeamHashBegin, out.text), {}};
  const std::vector<int32_t>& prefix = api.tokenizer().spec().prefix_ids;
  const bool added = out.tokens.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), out.tokens.begin()) && !prefix.empty() &&
                     !out.text.starts_with(api.tokenizer().token_bytes(prefix[0]));
  if (out.tokens.empty()) return bad_request("messages", "the prompt has no tokens");
  const std::vector<size_t> places = find_contents(messages, rendered->spans, out);
  find_messages(api, messages, places, added ? prefix.size() : 0, out);
  if (!conversation.cache_marks.empty()) find_marks(api, conversation, inserted, messages, places, added ? prefix.size() : 0, out);
  return {};
}

}  // namespace sluice::server
