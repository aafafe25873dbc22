#include "server/chat_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr int64_t kMaxTokensMax = static_cast<int64_t>(sluice::limits::kContextTokensMax);

void read_lengths(FieldReader& fields, Generation& out) {
  int64_t most = 0;
  if (fields.integer("max_tokens", 1, kMaxTokensMax, most)) {
    out.max_tokens_given = true;
    out.request.max_tokens = static_cast<uint64_t>(most);
  }
  if (fields.integer("max_completion_tokens", 1, kMaxTokensMax, most)) {
    out.max_tokens_given = true;
    out.request.max_tokens = static_cast<uint64_t>(most);
  }
}

void read_logprobs(FieldReader& fields, ChatRequest& out) {
  fields.boolean("logprobs", out.wants_logprobs);
  int64_t top = 0;
  const bool given = fields.integer("top_logprobs", 0, limits::kTopLogprobsMax, top);
  if (given && top > 0 && !out.wants_logprobs) fields.refuse("top_logprobs", "top_logprobs needs logprobs: true");
  if (out.wants_logprobs) out.generation.request.top_logprobs = static_cast<int32_t>(top);
}

// The names under {"type": "function", "function": {"name": N}} or {"type": "function", "name": N}.
Refused read_tool_name(const Json& given, const std::string& path, const Conversation& conversation, std::string& out) {
  FieldReader reader(given, path);
  size_t type = 0;
  reader.word("type", {"function"}, type);
  reader.text("name", 64, out);
  if (const Json* function = reader.object("function")) {
    FieldReader inner(*function, reader.path_of("function"));
    inner.require("name");
    inner.text("name", 64, out);
    if (const Refused refused = inner.finish()) reader.refuse(*refused);
  }
  SLUICE_REFUSE(reader.finish());
  for (const ToolSpec& tool : conversation.tool_specs) {
    if (tool.name == out) return {};
  }
  return bad_request(path, fmt::format("{}: there is no tool '{}' in tools", path, text::shown(out)));
}

Refused read_allowed(const Json& list, const std::string& path, ChatRequest& out) {
  if (!list.is_array() || list.empty() || list.size() > limits::kToolsMax) {
    return bad_request(path, fmt::format("{} must be a list of 1 to {} tools", path, limits::kToolsMax));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    std::string name;
    if (list[i].is_string()) {
      name = list[i].get<std::string>();
      const bool known = std::any_of(out.conversation.tool_specs.begin(), out.conversation.tool_specs.end(), [&](const ToolSpec& t) { return t.name == name; });
      if (!known) return bad_request(path, fmt::format("{}: there is no tool '{}' in tools", path, text::shown(name)));
    } else {
      SLUICE_REFUSE(read_tool_name(list[i], fmt::format("{}[{}]", path, i), out.conversation, name));
    }
    out.tools_allowed.push_back(std::move(name));
  }
  return {};
}

void read_reasoning(FieldReader& fields, const Api& api, ChatRequest& out) {
  size_t format = 0;
  bool include = true;
  const bool has_format = fields.word("reasoning_format", {"parsed", "raw", "hidden"}, format);
  const bool has_include = fields.boolean("include_reasoning", include);
  if (has_format && has_include) fields.refuse("include_reasoning", "include_reasoning and reasoning_format cannot both be given");
  out.reasoning = !include ? Reasoning::kHidden : static_cast<Reasoning>(format);
  read_effort(fields, "reasoning_effort", api, out);
  uint64_t budget = 0;
  for (const std::string_view name : {"thinking_budget", "thinking_token_budget"}) {
    if (!fields.integer(name, 0, kMaxTokensMax, budget)) continue;
    if (out.thinking_tokens_max) fields.refuse(name, "thinking_budget and thinking_token_budget cannot both be given");
    if (!api.thinking().can()) fields.refuse(name, fmt::format("{} is given and this model does not reason", name), "unsupported_parameter");
    out.thinking_tokens_max = budget;
  }
}

// The end that is put in when the thoughts have used up their tokens.
Refused limit_thinking(const Api& api, const Prompt& prompt, uint64_t tokens_max, engine::Request& request) {
  const Thinking& thinking = api.thinking();
  const std::string end = "\n" + thinking.close + "\n\n";
  const text::TextPart part{end, true};
  Result<std::vector<int32_t>> tokens = api.tokenizer().encode_parts(std::span(&part, 1), false);
  if (!tokens.ok()) return bad_request("thinking_budget", tokens.error().message);
  request.thinking = {.tokens_max = tokens_max, .open = thinking.open, .close = thinking.close, .end = std::move(*tokens), .begun = prompt.starts_thinking};
  return {};
}

}  // namespace

Refused read_tool_choice(FieldReader& fields, ChatRequest& out) {
  fields.boolean("parallel_tool_calls", out.tools_parallel);
  if (const Json* allowed = fields.any("allowed_tools")) SLUICE_REFUSE(read_allowed(*allowed, "allowed_tools", out));
  const Json* choice = fields.any("tool_choice");
  if (!choice) return {};
  if (choice->is_string()) {
    size_t word = 0;
    fields.word("tool_choice", {"auto", "none", "required", "any"}, word);
    out.tools_off = word == 1;
    out.tools_required = word >= 2;
  } else if (choice->is_object() && choice->value("type", Json()) == "allowed_tools") {
    FieldReader reader(*choice, "tool_choice");
    const Json* inner = reader.object("allowed_tools");
    FieldReader body(inner ? *inner : *choice, inner ? "tool_choice.allowed_tools" : "tool_choice");
    size_t mode = 0;
    body.word("mode", {"auto", "required"}, mode);
    body.ignore({"type"});
    body.require("tools");
    if (const Json* tools = body.any("tools")) SLUICE_REFUSE(read_allowed(*tools, body.path_of("tools"), out));
    SLUICE_REFUSE(body.finish());
    out.tools_required = mode == 1;
  } else {
    std::string name;
    SLUICE_REFUSE(read_tool_name(*choice, "tool_choice", out.conversation, name));
    out.tools_allowed = {name};
    out.tools_required = true;
    out.tools_parallel = false;
  }
  if (out.tools_required && out.conversation.tool_specs.empty()) return bad_request("tool_choice", "tool_choice asks for a call and there are no tools");
  return {};
}

void read_effort(FieldReader& fields, std::string_view name, const Api& api, ChatRequest& out) {
  size_t effort = 0;
  if (!fields.word(name, {"none", "default", "minimal", "low", "medium", "high"}, effort)) return;
  constexpr std::string_view kEfforts[] = {"none", "default", "minimal", "low", "medium", "high"};
  set_effort(fields, name, kEfforts[effort], api, out);
}

void set_effort(FieldReader& fields, std::string_view name, std::string_view effort, const Api& api, ChatRequest& out) {
  const bool in_template = api.template_text().find("reasoning_effort") != std::string::npos;
  if (effort == "none") {
    out.conversation.thinking_off = true;
  } else if (effort == "default") {
    return;
  } else if (in_template) {
    out.conversation.kwargs["reasoning_effort"] = effort;
  } else if (!api.thinking().can()) {
    fields.refuse(name, fmt::format("{} is '{}': this model does not reason", fields.path_of(name), effort), "unsupported_parameter");
  }
}

void read_model(FieldReader& fields, const Api& api, std::string& out) {
  out = api.facts().id;
  if (!fields.text("model", limits::kNameBytesMax, out)) return;
  if (const Refused refused = api.check_model(out)) fields.refuse(*refused);
}

void read_stream_options(FieldReader& fields, StreamOptions& out) {
  fields.boolean("stream", out.stream);
  const Json* options = fields.object("stream_options");
  if (!options) return;
  if (!out.stream) return fields.refuse("stream_options", "stream_options needs stream: true");
  FieldReader inner(*options, "stream_options");
  inner.boolean("include_usage", out.include_usage);
  bool continuous = false;
  if (inner.boolean("continuous_usage_stats", continuous) && continuous) {
    inner.refuse("continuous_usage_stats", "usage comes in the last chunk only", "unsupported_parameter");
  }
  inner.ignore({"include_obfuscation"});
  if (const Refused refused = inner.finish()) fields.refuse(*refused);
}

Refused read_chat(const Api& api, const Json& body, ChatRequest& out) {
  FieldReader fields(body, "");
  out.generation = default_generation(api);
  Generation& generation = out.generation;
  read_model(fields, api, out.model);
  if (!fields.ok()) return fields.finish();
  SLUICE_REFUSE(read_messages(fields, out.conversation));
  SLUICE_REFUSE(read_tools(fields, out.conversation));
  SLUICE_REFUSE(read_tool_choice(fields, out));
  SLUICE_REFUSE(read_documents(fields, out.conversation));
  size_t citations = 1;
  fields.word("citation_options", {"enabled", "disabled"}, citations);
  if (citations == 0) fields.refuse("citation_options", "citations are not supported", "unsupported_parameter");
  read_lengths(fields, generation);
  read_sampler(fields, api, generation);
  read_stops(fields, api, generation);
  read_choices(fields, api, "n", generation);
  read_logprobs(fields, out);
  read_constraint(fields, generation);
  read_service(fields, generation);
  read_stream_options(fields, out.stream);
  read_reasoning(fields, api, out);
  SLUICE_REFUSE(read_template_kwargs(fields, out.conversation));
  bool generation_prompt = true, continues = out.conversation.continue_last;
  const bool has_prompt = fields.boolean("add_generation_prompt", generation_prompt);
  const bool has_continue = fields.boolean("continue_final_message", continues);
  if (has_continue && continues && !out.conversation.continue_last) {
    fields.refuse("continue_final_message", "the last message is not a text of the assistant's");
  }
  out.conversation.continue_last = has_continue ? continues : has_prompt ? false : continues;
  out.conversation.add_generation_prompt = generation_prompt;
  if (fields.boolean("debug", out.debug) && out.debug && generation.request.choices > 1) {
    fields.refuse("debug", "debug tells the tokens of one answer: n must be 1");
  }
  fields.text("conversation", 64, out.conversation_name);
  // Without effect here; docs/server.md says so.
  fields.ignore({"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "disable_tool_validation"});
  return fields.finish();
}

Refused plan_chat(const Api& api, ChatRequest& request, uint64_t body_bytes, AnswerPlan& plan) {
  Conversation& conversation = request.conversation;
  Generation& generation = request.generation;
  Prompt prompt;
  SLUICE_REFUSE(render_chat(api, conversation, prompt));

  const Thinking& thinking = api.thinking();
  if (thinking.can()) {
    plan.text.split_thinking = request.reasoning != Reasoning::kRaw;
    plan.text.starts_thinking = prompt.starts_thinking;
    plan.text.think_open = thinking.open;
    plan.text.think_close = thinking.close;
    if (plan.text.split_thinking) plan.text.dropped = thinking.around;
  }
  if (!conversation.tool_specs.empty() && !request.tools_off) {
    const text::ToolFormat* format = call_format(api);
    if (!format) return bad_request("tools", "this model's chat template writes tool calls in a way that is not supported", "unsupported_tools");
    text::ToolCallOptions options{.required = request.tools_required, .parallel = request.tools_parallel};
    std::vector<text::Tool> allowed;
    for (const ToolSpec& tool : conversation.tool_specs) {
      const auto& names = request.tools_allowed;
      if (names.empty() || std::find(names.begin(), names.end(), tool.name) != names.end()) allowed.push_back({tool.name, tool.parameters});
    }
    if (generation.constraint && options.required) {
      return bad_request(generation.constraint_field, fmt::format("{} and tool_choice both constrain the output: only one may", generation.constraint_field));
    }
    if (!generation.constraint) {
      text::ConstraintSpec spec{.kind = text::ConstraintKind::kToolCalls, .text = text::tool_calls_text(*format, allowed, options)};
      // A schema beyond what we enforce is an error only where the client asked for strictness.
      const bool strict = std::any_of(conversation.tool_specs.begin(), conversation.tool_specs.end(), [](const ToolSpec& t) { return t.strict; });
      if (!strict && !api.constraints().get(spec).ok()) {
        options.strict = false;
        spec.text = text::tool_calls_text(*format, allowed, options);
      }
      generation.constraint = std::move(spec);
      generation.constraint_field = "tools";
    }
    plan.text.format = format;
    plan.text.tools = std::move(allowed);
  }
  if (thinking.can() && request.thinking_tokens_max && !conversation.thinking_off) {
    SLUICE_REFUSE(limit_thinking(api, prompt, *request.thinking_tokens_max, generation.request));
  }
  if (generation.constraint && (prompt.starts_thinking || prompt.may_think)) {
    generation.constraint->start_after = thinking.close;
    if (prompt.may_think) generation.constraint->start_open = thinking.open;
  }
  if (conversation.continue_last) {
    generation.begun = conversation.messages.back()["content"].get<std::string>();
    plan.text.begun = generation.begun;
  }
  generation.request.show_special = api.marks_are_special() && (plan.text.format || thinking.can());
  request.seam = std::move(prompt.seam);
  generation.request.message_starts = std::move(prompt.message_starts);
  generation.request.system_end = prompt.system_end;
  generation.request.pins = std::move(prompt.pins);
  SLUICE_REFUSE(complete(api, std::move(prompt.tokens), body_bytes, "messages", generation));
  plan.price = generation.price;
  return {};
}

}  // namespace sluice::server
