#include "server/openai_routes.h"

#include <fmt/format.h>

#include "server/chat_fields.h"
#include "server/chat_writer.h"
#include "server/completion_routes.h"
#include "server/embedding_routes.h"
#include "server/openai_json.h"
#include "server/openai_schemas.h"
#include "server/paging.h"
#include "server/turn_keeper.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

// The turns of the named conversation before this one; `turn` is what this one will be.
Refused begin_turn(Kept* kept, const Exchange& exchange, ChatRequest& request, Turn& turn) {
  if (request.conversation_name.empty()) return {};
  if (!kept) return bad_request("conversation", "this server keeps no conversations", "unsupported_parameter");
  if (request.generation.request.choices != 1) return bad_request("n", "a conversation goes on with one choice: n must be 1");
  if (request.conversation.continue_last) return bad_request("messages", "a conversation's answer cannot be begun for the model: end with another message");
  SLUICE_REFUSE(check_name(request.conversation_name, "conversation"));
  turn.id = answer_id("turn_", exchange);
  turn.tenant = exchange.identity().tenant;
  turn.messages = request.conversation.messages;
  SLUICE_REFUSE(find_head(*kept, turn.tenant, request.conversation_name, turn.parent));
  return load_turns(*kept, turn.tenant, turn.parent, "conversation", request.conversation);
}

Refused chat(const Api& api, Kept* kept, const std::shared_ptr<Exchange>& exchange, ErrorShape shape) {
  const std::string body = exchange->take_body();
  Json json;
  SLUICE_REFUSE(parse_request_object(body, json));
  ChatRequest request;
  SLUICE_REFUSE(read_chat(api, json, request));
  Turn turn;
  SLUICE_REFUSE(begin_turn(kept, std::as_const(*exchange), request, turn));
  if (shape == ErrorShape::kAi21 && !request.generation.max_tokens_given) {
    request.generation.max_tokens_given = true;
    request.generation.request.max_tokens = 4096;  // its default
  }
  AnswerPlan plan{.errors = shape};
  SLUICE_REFUSE(plan_chat(api, request, body.size(), plan));
  const engine::Request& generation = request.generation.request;
  ChatFacts facts{.id = answer_id("chatcmpl-", *exchange), .request_id = exchange->id(), .model = request.model,
                  .tier = std::string(tier_name(generation.tier)), .created = api.now_unix(), .seed = generation.sampler.seed,
                  .choices = generation.choices, .stream = request.stream, .reasoning = request.reasoning, .format = plan.text.format,
                  .shape = shape, .debug = request.debug};
  if (request.debug) facts.prompt = request.generation.request.prompt;
  const ChatFacts known = facts;
  auto writer = make_chat_writer(api, std::move(facts));
  if (!turn.id.empty()) {
    turn.seam = std::move(request.seam);
    const auto id_of = [known](std::string_view tool, uint32_t call) { return call_id(known, tool, 0, call); };
    writer = keep_turn(std::move(writer), *kept, {.turn = std::move(turn), .conversation = request.conversation_name, .call_id = id_of, .body = {}});
  }
  Answer::run(api, exchange, std::move(request.generation.request), std::move(plan), std::move(writer));
  return {};
}

Json model_json(const Api& api, const std::string& id) {
  return {{"id", id}, {"object", "model"}, {"created", api.facts().created}, {"owned_by", api.facts().owner}, {"active", true},
          {"context_window", api.context()}, {"max_completion_tokens", api.context()}};
}

Refused list_models(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  respond_json(exchange, {{"object", "list"}, {"data", Json::array({model_json(api, api.facts().id)})}});
  return {};
}

Refused get_model(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  const std::string& name = exchange->request().path_values.at(0);
  if (const Refused refused = api.check_model(name)) return refused;
  respond_json(exchange, model_json(api, api.facts().id));
  return {};
}

Refused read_conversation(const Api& api, const Json& json, Prompt& prompt) {
  ChatRequest request;
  SLUICE_REFUSE(read_chat(api, json, request));
  if (!request.conversation_name.empty()) return bad_request("conversation", "conversation is for chat only", "unsupported_parameter");
  return render_chat(api, request.conversation, prompt);
}

Refused tokenize(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  std::vector<int32_t> tokens;
  if (json.contains("messages")) {
    Prompt prompt;
    SLUICE_REFUSE(read_conversation(api, json, prompt));
    tokens = std::move(prompt.tokens);
  } else {
    FieldReader fields(json, "");
    std::string model, text;
    bool add_special = false, parse_special = false;
    read_model(fields, api, model);
    const bool has_content = fields.text("content", limits::kBodyBytesMax, text);
    const bool has_prompt = fields.text("prompt", limits::kBodyBytesMax, text);  // the same field by another name
    fields.boolean("add_special", add_special);
    fields.boolean("add_special_tokens", add_special);
    fields.boolean("parse_special", parse_special);
    if (!has_content && !has_prompt) fields.refuse("content", "content, prompt or messages must be given", "missing_required_parameter");
    SLUICE_REFUSE(fields.finish());
    Result<std::vector<int32_t>> encoded = api.tokenizer().encode(text, {.parse_special = parse_special, .add_special = add_special});
    if (!encoded.ok()) return bad_request("content", encoded.error().message);
    tokens = std::move(*encoded);
  }
  const size_t count = tokens.size();
  respond_json(exchange, {{"tokens", std::move(tokens)}, {"count", count}, {"max_model_len", api.context()}});
  return {};
}

Refused detokenize(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  FieldReader fields(json, "");
  std::string model;
  std::vector<int32_t> tokens;
  read_model(fields, api, model);
  fields.require("tokens");
  fields.integers("tokens", limits::kJsonValuesMax, 0, static_cast<int64_t>(api.tokenizer().vocabulary_size()) - 1, tokens);
  SLUICE_REFUSE(fields.finish());
  const Result<std::string> decoded = api.tokenizer().decode(tokens, true);
  if (!decoded.ok()) return bad_request("tokens", decoded.error().message);
  std::string valid;
  text::append_valid_utf8(valid, *decoded);
  respond_json(exchange, {{"content", valid}, {"prompt", valid}});
  return {};
}

Refused apply_template(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  Prompt prompt;
  SLUICE_REFUSE(read_conversation(api, json, prompt));
  respond_json(exchange, {{"prompt", prompt.text}, {"tokens", prompt.tokens.size()}, {"message_starts", prompt.message_starts}});
  return {};
}

Handler handler(const Api& api, Refused (*action)(const Api&, const std::shared_ptr<Exchange>&)) {
  return action_handler(ErrorShape::kOpenAi, action, std::cref(api));
}

}  // namespace

Handler chat_handler(const Api& api, Kept* kept, ErrorShape shape) {
  return [&api, kept, shape](const std::shared_ptr<Exchange>& exchange) {
    if (const Refused refused = chat(api, kept, exchange, shape)) refuse(exchange, shape, *refused);
  };
}

void refuse(const std::shared_ptr<Exchange>& exchange, ErrorShape shape, const ApiError& error) {
  exchange->note({}, error.code);
  exchange->respond(error_response(shape, error, exchange->id()));
}

std::vector<Route> openai_routes(const Api& api, Kept* kept) {
  std::vector<Route> out;
  const auto add = [&](std::string_view method, std::string_view plain, std::string_view groq, Handler action, Route rest) {
    for (const std::string_view pattern : {plain, groq}) {
      Route route = rest;
      route.method = method;
      route.pattern = pattern;
      route.handler = action;
      out.push_back(std::move(route));
    }
  };
  add("POST", "/v1/chat/completions", "/openai/v1/chat/completions", chat_handler(api, kept, ErrorShape::kOpenAi),
      {.summary = "An answer to a conversation, whole or as a stream of events", .request_schema = kChatSchema});
  add("POST", "/v1/completions", "/openai/v1/completions", completion_handler(api),
      {.summary = "Goes on with a text", .request_schema = kCompletionSchema});
  add("POST", "/v1/embeddings", "/openai/v1/embeddings", embeddings_handler(api),
      {.summary = "Vectors of texts", .request_schema = kEmbeddingsSchema});
  add("GET", "/v1/models", "/openai/v1/models", handler(api, list_models), {.fast = true, .body_bytes_max = 0, .summary = "The models that are served"});
  add("GET", "/v1/models/{model...}", "/openai/v1/models/{model...}", handler(api, get_model),
      {.fast = true, .body_bytes_max = 0, .summary = "One model"});
  return out;
}

std::vector<Route> tool_routes(const Api& api) {
  return {
      {.method = "POST", .pattern = "/tokenize", .handler = handler(api, tokenize), .summary = "Text or messages to token ids",
          .request_schema = kTokenizeSchema},
      {.method = "POST", .pattern = "/detokenize", .handler = handler(api, detokenize), .summary = "Token ids to text", .request_schema = kDetokenizeSchema},
      {.method = "POST", .pattern = "/apply-template", .handler = handler(api, apply_template), .summary = "Messages to the prompt that the model reads",
       .request_schema = kChatSchema},
  };
}

std::vector<Route> health_routes(const Api& api, std::function<bool()> draining) {
  const auto health = [draining](const std::shared_ptr<Exchange>& exchange) {
    const bool down = draining && draining();
    exchange->respond({.status = down ? 503 : 200, .body = down ? R"({"status":"draining"})" : R"({"status":"ok"})"});
  };
  const auto ready = [&api, draining](const std::shared_ptr<Exchange>& exchange) {
    const engine::EngineStatistics now = api.backend().statistics();
    const bool full = now.queued_requests >= api.backend().options().queue_requests_max;
    const bool down = draining && draining();
    HttpResponse response{.status = down || full ? 503 : 200};
    response.body = fmt::format(R"({{"status":"{}"}})", down ? "draining" : full ? "full" : "ready");
    exchange->respond(std::move(response));
  };
  return {
      {.method = "GET", .pattern = "/health", .handler = health, .access = Access::kOpen, .fast = true, .body_bytes_max = 0,
       .summary = "Is the process there? 503 while it goes down"},
      {.method = "GET", .pattern = "/ready", .handler = ready, .access = Access::kOpen, .fast = true, .body_bytes_max = 0,
       .summary = "Would a request be taken now?"},
  };
}

Route openapi_route(const Router& router) {
  return {.method = "GET", .pattern = "/openapi.json",
          .handler = [&router](const std::shared_ptr<Exchange>& exchange) { exchange->respond({.body = router.openapi("0.1.0")}); },
          .body_bytes_max = 0, .summary = "This description"};
}

}  // namespace sluice::server
