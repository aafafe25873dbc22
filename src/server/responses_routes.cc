#include "server/responses_routes.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/file_routes.h"
#include "server/kept_limits.h"
#include "server/limits.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "server/paging.h"
#include "server/responses_fields.h"
#include "server/responses_writer.h"
#include "server/turn_keeper.h"

namespace sluice::server {
namespace {

constexpr std::string_view kResponseSchema = R"({"type":"object","required":["input"],"properties":{
"model":{"type":"string"},"input":{"type":["string","array"],"maxItems":4096},"instructions":{"type":["string","null"]},
"previous_response_id":{"type":["string","null"]},"conversation":{"type":["string","object","null"]},"store":{"type":["boolean","null"]},
"stream":{"type":["boolean","null"]},"stream_options":{"type":"object"},"max_output_tokens":{"type":["integer","null"],"minimum":1},
"temperature":{"type":["number","null"],"minimum":0,"maximum":2},"top_p":{"type":["number","null"],"minimum":0,"maximum":1},"seed":{"type":"integer"},
"tools":{"type":"array","maxItems":128,"items":{"type":"object","required":["type","name"]}},"tool_choice":{"type":["string","object"]},
"parallel_tool_calls":{"type":["boolean","null"]},"text":{"type":"object"},"reasoning":{"type":["object","null"]},
"include":{"type":["array","null"],"items":{"type":"string"}},"top_logprobs":{"type":["integer","null"],"minimum":0,"maximum":20},
"metadata":{"type":["object","null"],"maxProperties":16},"service_tier":{"type":["string","null"]},"truncation":{"enum":["disabled",null]},
"background":{"enum":[false,null]},"user":{"type":"string"}},"additionalProperties":false})";

// The items of this request with ids, as they are listed later.
Json with_ids(Json items, std::string_view digits) {
  for (size_t i = 0; i < items.size(); ++i) {
    Json& item = items[i];
    if (item.contains("id") && item["id"].is_string()) continue;
    const std::string type = item.value("type", "message");
    const std::string_view prefix = type == "message" ? "msg" : type == "reasoning" ? "rs" : type == "function_call" ? "fc" : "fco";
    item["id"] = fmt::format("{}_{}i{:02x}", prefix, digits, i);
    if (type == "message" && item.contains("content") && item["content"].is_string()) {
      const bool said = item.value("role", "") == "assistant";
      item["content"] = Json::array({{{"type", said ? "output_text" : "input_text"}, {"text", item["content"]}}});
    }
  }
  return items;
}

Refused create(const Api& api, Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  const std::string body = exchange->take_body();
  Json json;
  SLUICE_REFUSE(parse_request_object(body, json));
  ResponseRequest request;
  SLUICE_REFUSE(read_response(api, json, request));
  ChatRequest& chat = request.chat;
  const uint32_t tenant = exchange->identity().tenant;
  Turn turn{.id = answer_id("resp_", *exchange), .tenant = tenant, .parent = request.previous, .shown = true, .messages = chat.conversation.messages};
  std::string_view field = "previous_response_id";
  if (!chat.conversation_name.empty()) {
    field = "conversation";
    SLUICE_REFUSE(check_name(chat.conversation_name, field));
    SLUICE_REFUSE(find_head(kept, tenant, chat.conversation_name, turn.parent));
  }
  SLUICE_REFUSE(load_turns(kept, tenant, turn.parent, field, chat.conversation));
  put_instructions(request.instructions, chat.conversation);
  AnswerPlan plan;
  SLUICE_REFUSE(plan_chat(api, chat, body.size(), plan));
  const std::string digits = turn.id.substr(5);
  const uint64_t random = std::hash<std::string>{}(digits);
  const auto call_id = [format = plan.text.format, random](std::string_view tool, uint32_t call) {
    return format ? text::tool_call_id(*format, std::string(tool), call, random) : fmt::format("call_{:016x}{}", random, call);
  };
  ResponseFacts facts{.id = turn.id, .created = api.now_unix(), .stream = chat.stream.stream, .logprobs = chat.wants_logprobs,
                      .body = std::move(request.body), .call_id = call_id};
  auto writer = std::make_unique<ResponsesWriter>(api, std::move(facts));
  const ResponsesWriter* const written = writer.get();
  std::unique_ptr<AnswerWriter> last = std::move(writer);
  if (request.store || !chat.conversation_name.empty()) {
    turn.shown = request.store;
    turn.input = with_ids(std::move(request.input), digits);
    turn.seam = std::move(chat.seam);
    last = keep_turn(std::move(last), kept, {.turn = std::move(turn), .conversation = chat.conversation_name, .call_id = call_id,
                                             .body = [written] { return written->body(); }});
  }
  Answer::run(api, exchange, std::move(chat.generation.request), std::move(plan), std::move(last));
  return {};
}

Refused get(const Api&, Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  for (const auto& [name, value] : exchange->request().query) {
    if (name == "stream" && value != "false") return bad_request("stream", "a response is streamed while it is made, not later", "unsupported_parameter");
  }
  kept.settle();
  Turn turn;
  SLUICE_REFUSE(kept.turns().get(exchange->identity().tenant, exchange->request().path_values.at(0), turn));
  respond_json(exchange, turn.body);
  return {};
}

Refused remove(const Api&, Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  kept.settle();
  const std::string& id = exchange->request().path_values.at(0);
  SLUICE_REFUSE(kept.turns().remove(exchange->identity().tenant, id));
  respond_json(exchange, {{"id", id}, {"object", "response"}, {"deleted", true}});
  return {};
}

Refused input_items(const Api&, Kept& kept, const std::shared_ptr<Exchange>& exchange) {
  Page page;
  SLUICE_REFUSE(read_page(exchange->request(), 20, limits::kPageMax, {"include", "include[]"}, page));
  kept.settle();
  Turn turn;
  SLUICE_REFUSE(kept.turns().get(exchange->identity().tenant, exchange->request().path_values.at(0), turn));
  std::vector<Json> items(turn.input.begin(), turn.input.end());
  if (page.descending) std::reverse(items.begin(), items.end());
  size_t from = 0;
  if (!page.after.empty()) {
    const auto at = std::find_if(items.begin(), items.end(), [&](const Json& item) { return item.value("id", "") == page.after; });
    if (at == items.end()) return bad_request("after", fmt::format("after: there is no item '{}' here", page.after));
    from = static_cast<size_t>(at - items.begin()) + 1;
  }
  Json data = Json::array();
  for (size_t i = from; i < items.size() && data.size() < page.limit; ++i) data.push_back(items[i]);
  const bool more = from + data.size() < items.size();
  respond_json(exchange, list_json(std::move(data), more, "id"));
  return {};
}

}  // namespace

std::vector<Route> responses_routes(const Api& api, Kept& kept) {
  const auto handler = [&](auto action) { return action_handler(ErrorShape::kOpenAi, action, std::cref(api), std::ref(kept)); };
  std::vector<Route> out;
  add_both(out, "/v1/responses", "/openai/v1/responses",
           {.method = "POST", .pattern = {}, .handler = handler(create), .summary = "An answer that can be gone on with by its id",
            .request_schema = kResponseSchema});
  add_both(out, "/v1/responses/{response}", "/openai/v1/responses/{response}",
           {.method = "GET", .pattern = {}, .handler = handler(get), .body_bytes_max = 0, .summary = "A response that was kept"});
  add_both(out, "/v1/responses/{response}", "/openai/v1/responses/{response}",
           {.method = "DELETE", .pattern = {}, .handler = handler(remove), .body_bytes_max = 0, .summary = "Forgets a response"});
  add_both(out, "/v1/responses/{response}/input_items", "/openai/v1/responses/{response}/input_items",
           {.method = "GET", .pattern = {}, .handler = handler(input_items), .body_bytes_max = 0, .summary = "What a response was asked",
            .request_schema = kPageParameters});
  return out;
}

}  // namespace sluice::server
