#include "server/anthropic_routes.h"

#include <fmt/format.h>

#include "server/anthropic_fields.h"
#include "server/anthropic_writer.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr std::string_view kVersion = "2023-06-01";  // the first with these shapes

// They say no more than the reader enforces; docs/server.md has the whole table.
constexpr std::string_view kMessagesSchema = R"({"type":"object","required":["messages","max_tokens"],"properties":{
"model":{"type":"string"},"max_tokens":{"type":"integer","minimum":0},
"messages":{"type":"array","minItems":1,"maxItems":4096,"items":{"type":"object","required":["role","content"],"properties":{
 "role":{"enum":["user","assistant","system"]},"content":{"type":["string","array"]}},"additionalProperties":false}},
"system":{"type":["string","array"]},"stop_sequences":{"type":"array","maxItems":4,"items":{"type":"string","minLength":1,"maxLength":256}},
"stream":{"type":"boolean"},"temperature":{"type":"number","minimum":0,"maximum":1},"top_p":{"type":"number","minimum":0,"maximum":1},
"top_k":{"type":"integer","minimum":0},"metadata":{"type":"object"},"cache_control":{"type":"object","required":["type"]},
"tools":{"type":"array","maxItems":128,"items":{"type":"object","required":["name","input_schema"]}},"tool_choice":{"type":"object","required":["type"]},
"thinking":{"type":"object","required":["type"]},"output_config":{"type":"object"},"service_tier":{"enum":["auto","standard_only"]}},
"additionalProperties":false})";

constexpr std::string_view kCountSchema = R"({"type":"object","required":["messages"],"properties":{
"model":{"type":"string"},"messages":{"type":"array","minItems":1,"maxItems":4096},"system":{"type":["string","array"]},
"cache_control":{"type":"object","required":["type"]},"tools":{"type":"array","maxItems":128},"tool_choice":{"type":"object","required":["type"]},
"thinking":{"type":"object","required":["type"]},"output_config":{"type":"object"}},"additionalProperties":false})";

constexpr std::string_view kMessageSchema = R"({"type":"object","required":["id","type","role","content","stop_reason","usage"]})";
constexpr std::string_view kCountAnswerSchema = R"({"type":"object","required":["input_tokens"],"properties":{"input_tokens":{"type":"integer"}}})";

// A date; clients send newer ones for the same shapes.
Refused check_version(const HttpRequest& request) {
  const std::string_view version = request.header("anthropic-version");
  const bool date = version.size() == kVersion.size() && version.find_first_not_of("0123456789-") == std::string_view::npos;
  if (version.empty() || (date && version >= kVersion)) return {};
  return bad_request("anthropic-version", fmt::format("anthropic-version is '{}'; this server speaks {} and what its clients call later versions",
                                                      text::shown(version), kVersion));
}

Refused messages(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  SLUICE_REFUSE(check_version(exchange->request()));
  const std::string body = exchange->take_body();
  Json json;
  SLUICE_REFUSE(parse_request_object(body, json));
  ChatRequest request;
  SLUICE_REFUSE(read_anthropic(api, json, false, request));
  AnswerPlan plan{.errors = ErrorShape::kAnthropic};
  SLUICE_REFUSE(plan_chat(api, request, body.size(), plan));
  const engine::Request& generation = request.generation.request;
  AnthropicFacts facts{.id = answer_id("msg_", *exchange), .request_id = exchange->id(), .model = request.model, .stream = request.stream.stream,
                       .show_thinking = request.reasoning == Reasoning::kParsed, .format = plan.text.format, .prompt_tokens = generation.prompt.size(),
                       .pins = generation.pins};
  Answer::run(api, exchange, std::move(request.generation.request), std::move(plan), make_anthropic_writer(std::move(facts)));
  return {};
}

Refused count_tokens(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  SLUICE_REFUSE(check_version(exchange->request()));
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  ChatRequest request;
  SLUICE_REFUSE(read_anthropic(api, json, true, request));
  Prompt prompt;
  SLUICE_REFUSE(render_chat(api, request.conversation, prompt));
  exchange->respond({.headers = {{"request-id", exchange->id()}}, .body = fmt::format("{{\"input_tokens\":{}}}", prompt.tokens.size())});
  return {};
}

}  // namespace

std::vector<Route> anthropic_routes(const Api& api) {
  const auto handler = [&](auto action) { return action_handler(ErrorShape::kAnthropic, action, std::cref(api)); };
  return {
      {.method = "POST", .pattern = "/v1/messages", .handler = handler(messages), .errors = ErrorShape::kAnthropic,
       .summary = "An answer to a conversation in Anthropic's shape, whole or as a stream of events", .request_schema = kMessagesSchema,
       .response_schema = kMessageSchema},
      {.method = "POST", .pattern = "/v1/messages/count_tokens", .handler = handler(count_tokens), .errors = ErrorShape::kAnthropic,
       .summary = "How many tokens such a conversation has", .request_schema = kCountSchema, .response_schema = kCountAnswerSchema},
  };
}

}  // namespace sluice::server
