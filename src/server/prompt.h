// Messages as clients send them, to the tokens of a prompt: roles and content parts checked, tools and documents put where the model's template wants them
// (or into the system message where it knows none), the template rendered, and special tokens found only in what the template itself wrote.
// Contract: text of users, tools and documents never becomes a special token (reliability K10). Next: text/chat_template.h, chat_fields.h.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api.h"
#include "server/json_fields.h"
#include "server/seam.h"

namespace sluice::server {

namespace limits {
inline constexpr uint32_t kCacheMarksMax = 4;  // cache_control, as Anthropic's
}

struct ToolSpec {
  std::string name;
  std::string parameters;              // JSON Schema as text; empty: none given
  bool strict = false;
};

// A place up to which the client wants the prompt kept: cache_control.
struct CacheMark {
  static constexpr size_t kTools = SIZE_MAX;  // the tools, which stand with the system messages
  static constexpr size_t kEnd = SIZE_MAX;
  size_t message = kTools;             // index in messages
  size_t bytes = kEnd;                 // of its content
  uint64_t ttl_ms = 0;
};

// A conversation, checked, as templates read it.
struct Conversation {
  Json messages = Json::array();       // role, content (a string), name?, tool_calls?, tool_call_id?, reasoning_content?
  Json tools = Json::array();          // as given: {"type": "function", "function": {...}}
  std::vector<ToolSpec> tool_specs;
  Json documents = Json::array();      // {"id", "title", "text", ...}
  Json kwargs = Json::object();        // chat_template_kwargs that passed the list
  bool continue_last = false;          // the last message is the assistant's and goes on
  bool add_generation_prompt = true;
  bool thinking_off = false;
  std::vector<Seam> seams;             // of the turns that are not from this request
  std::vector<CacheMark> cache_marks;
};

struct Prompt {
  std::vector<int32_t> tokens;
  std::vector<uint32_t> message_starts;
  uint32_t system_end = 0;
  std::vector<engine::Pin> pins;       // of the cache marks; rising
  bool starts_thinking = false;        // the prompt ends inside the model's thoughts
  bool may_think = false;              // the model itself decides whether its answer begins with thoughts
  std::string text;                    // as rendered
  Seam seam;                           // of this turn, without its answer
};

// "messages" of OpenAI and its kin.
Refused read_messages(FieldReader& fields, Conversation& out);
// "tools"; at most kToolsMax functions with names that differ.
Refused read_tools(FieldReader& fields, Conversation& out);
// One entry of documents, numbered if it has no id.
Refused read_document(const Json& given, const std::string& path, size_t number, Json& out);
// "documents": Groq's {id, source}, AI21's {content, metadata}, or plain {title, text}.
Refused read_documents(FieldReader& fields, Conversation& out);
Refused read_template_kwargs(FieldReader& fields, Conversation& out);

// "cache_control" {type: ephemeral, ttl: 5m or 1h}: the time to keep what stands up to here; 0 if the field is not there.
uint64_t read_cache_control(FieldReader& fields);
Refused add_cache_mark(Conversation& conversation, const std::string& path, CacheMark mark);

// A content that is a string, null, or a list of text parts; documents among the parts go to `conversation`, cache marks too: they are of the message
// that comes next.
Refused read_content(const Json& content, const std::string& path, Conversation& conversation, std::string& out);

// A content that is a string (it is `out` then) or a list of parts: `read` takes each, its type read before.
Refused read_each_part(const Json& content, const std::string& path, std::string& out,
                       const std::function<Refused(FieldReader& part, const std::string& type)>& read);

// "this model reads text only"
Refused unknown_part(const FieldReader& part, const std::string& type);

Refused render_chat(const Api& api, const Conversation& conversation, Prompt& out);
// Does the template itself show tools? Otherwise they stand in the system message, in Hermes' shape.
bool template_knows_tools(const Api& api);
// The format in which this model writes calls; null: it writes none that we can read.
const text::ToolFormat* call_format(const Api& api);

}  // namespace sluice::server
