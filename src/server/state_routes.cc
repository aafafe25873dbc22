#include "server/state_routes.h"

#include <fmt/format.h>

#include "engine/state_store.h"
#include "server/kept_limits.h"
#include "server/limits.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "server/paging.h"
#include "server/response_head.h"
#include "server/turn_keeper.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr int64_t kTtlMaxS = 7 * 86'400;
constexpr size_t kForksMax = 100;

constexpr std::string_view kSaveSchema = R"({"type":"object","required":["name"],"properties":{
"name":{"type":"string","maxLength":64,"pattern":"^[A-Za-z0-9_.-]+$"},"conversation":{"type":"string","maxLength":64},
"messages":{"type":"array","minItems":1,"maxItems":4096},"tools":{"type":"array","maxItems":128},"ttl_s":{"type":"integer","minimum":0,"maximum":604800}},
"additionalProperties":false})";
constexpr std::string_view kRestoreSchema = R"({"type":"object","required":["name"],"properties":{"name":{"type":"string","maxLength":64},
"conversation":{"type":"string","maxLength":64}},"additionalProperties":false})";
constexpr std::string_view kForkSchema = R"({"type":"object","required":["to"],"properties":{"conversation":{"type":"string","maxLength":64},
"name":{"type":"string","maxLength":64},"to":{"type":["string","array"],"maxItems":100}},"additionalProperties":false})";
constexpr std::string_view kPinSchema = R"({"type":"object","required":["name","ttl_s"],"properties":{"name":{"type":"string","maxLength":64},
"ttl_s":{"type":"integer","minimum":0,"maximum":604800}},"additionalProperties":false})";
constexpr std::string_view kExplainSchema = R"({"type":"object","properties":{"name":{"type":"string","maxLength":64},
"conversation":{"type":"string","maxLength":64},"messages":{"type":"array","minItems":1,"maxItems":4096},"tools":{"type":"array","maxItems":128}},
"additionalProperties":false})";

struct Desk {
  const Api& api;
  Kept& kept;
  const uint64_t program;
};

uint64_t engine_ms(const Api& api) {
  const auto& now_us = api.backend().options().now_us;
  return (now_us ? now_us() : steady_us()) / 1000;
}

// What a body names: a conversation, messages (behind the conversation's, if both), tools.
struct Named {
  Conversation conversation;
  std::string head;                    // of the conversation
  bool has_messages = false;
};

Refused read_named(const Desk& desk, uint32_t tenant, FieldReader& fields, Named& out) {
  std::string name;
  fields.text("conversation", 64, name);
  if (fields.any("messages")) {
    out.has_messages = true;
    SLUICE_REFUSE(read_messages(fields, out.conversation));
  }
  SLUICE_REFUSE(read_tools(fields, out.conversation));
  SLUICE_REFUSE(fields.finish());
  if (name.empty() && !out.has_messages) return bad_request("messages", "messages or conversation must be given", "missing_required_parameter");
  out.conversation.continue_last = false;
  out.conversation.add_generation_prompt = false;  // what every next turn begins with
  if (name.empty()) return {};
  desk.kept.settle();
  std::optional<ConversationHead> found;
  SLUICE_REFUSE(desk.kept.turns().conversation(tenant, name, found));
  if (!found) {
    return ApiError{.status = 404, .code = "conversation_not_found", .param = "conversation",
                    .message = fmt::format("there is no conversation '{}'", text::shown(name))};
  }
  out.head = found->head;
  SLUICE_REFUSE(load_turns(desk.kept, tenant, out.head, "conversation", out.conversation));
  if (out.conversation.messages.empty()) return bad_request("conversation", fmt::format("nothing has been said in conversation '{}' yet", name));
  return {};
}

// Answers when the prompt has been read, and keeps the name then.
class StateWriter final : public AnswerWriter {
 public:
  StateWriter(Kept& kept, uint32_t tenant, Json body, std::optional<SavedState> save) : kept_(kept), tenant_(tenant), body_(std::move(body)),
                                                                                          save_(std::move(save)) {}
  bool streams() const override { return false; }
  void piece(uint32_t, const TextPiece&, std::string&) override {}
  void choice_done(uint32_t, const ChoiceEnd&, std::string&) override {}
  void failed(const ApiError&, std::string&) override {}
  void done(const AnswerTotals& totals, std::string&) override {
    body_["tokens"] = totals.usage.prompt_tokens;
    body_["cached_tokens"] = totals.usage.cached_tokens;
    body_["computed_tokens"] = totals.usage.prompt_tokens - std::min(totals.usage.prompt_tokens, totals.usage.cached_tokens);
    if (!save_) return;
    const auto work = [&kept = kept_, tenant = tenant_, saved = *save_] {
      if (const Refused refused = kept.turns().put_saved(tenant, saved)) kept.say("states: " + refused->message);
    };
    if (!kept_.post(work)) kept_.say("states: too many wait to be written down; one was not kept");
  }
  HttpResponse whole() override {
    HttpResponse response;
    response.body = body_.dump(-1, ' ', false, Json::error_handler_t::replace);
    return response;
  }

 private:
  Kept& kept_;
  const uint32_t tenant_;
  Json body_;
  std::optional<SavedState> save_;
};

// Reads the tokens into a state as a request would, for nothing but that.
Refused read_tokens(const Desk& desk, const std::shared_ptr<Exchange>& exchange, std::vector<int32_t> tokens, uint64_t ttl_s, Json body,
                    std::optional<SavedState> save) {
  Generation generation = default_generation(desk.api);
  generation.max_tokens_given = true;
  generation.request.max_tokens = 0;
  generation.request.pin_ttl_ms = ttl_s * 1000;
  body["object"] = "state";
  body["pinned_for_s"] = ttl_s;
  SLUICE_REFUSE(complete(desk.api, std::move(tokens), exchange->request().body.size(), "messages", generation));
  auto writer = std::make_unique<StateWriter>(desk.kept, exchange->identity().tenant, std::move(body), std::move(save));
  AnswerPlan plan{.price = generation.price};
  Answer::run(desk.api, exchange, std::move(generation.request), std::move(plan), std::move(writer));
  return {};
}

Refused find_saved(const Desk& desk, uint32_t tenant, const std::string& name, SavedState& out) {
  desk.kept.settle();
  SLUICE_REFUSE(desk.kept.turns().saved(tenant, name, out));
  if (out.model == fmt::format("{:016x}", desk.program)) return {};
  return ApiError{.status = 409, .code = "other_model", .param = "name",
                  .message = fmt::format("state '{}' was saved with another model: its tokens mean nothing here", text::shown(name))};
}

Refused save(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  FieldReader fields(json, "");
  const uint32_t tenant = exchange->identity().tenant;
  SavedState saved;
  uint64_t ttl_s = 0;
  fields.require("name");
  fields.text("name", 64, saved.name);
  fields.integer("ttl_s", 0, kTtlMaxS, ttl_s);
  if (!fields.ok()) return fields.finish();
  SLUICE_REFUSE(check_name(saved.name, "name"));
  Named named;
  SLUICE_REFUSE(read_named(desk, tenant, fields, named));
  Prompt prompt;
  SLUICE_REFUSE(render_chat(desk.api, named.conversation, prompt));
  saved.model = fmt::format("{:016x}", desk.program);
  saved.tokens = prompt.tokens;
  saved.head = named.head;
  if (named.has_messages) {  // something to go on from
    Turn turn{.id = answer_id("turn_", *exchange), .tenant = tenant, .parent = {}, .messages = named.conversation.messages};
    SLUICE_REFUSE(desk.kept.turns().add(turn, ""));
    saved.head = turn.id;
  }
  Json body = {{"name", saved.name}};
  return read_tokens(desk, exchange, std::move(prompt.tokens), ttl_s, std::move(body), std::move(saved));
}

Refused restore(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  FieldReader fields(json, "");
  std::string name, conversation;
  fields.require("name");
  fields.text("name", 64, name);
  fields.text("conversation", 64, conversation);
  SLUICE_REFUSE(fields.finish());
  SavedState saved;
  SLUICE_REFUSE(find_saved(desk, exchange->identity().tenant, name, saved));
  Json body = {{"name", name}};
  if (!conversation.empty()) {
    SLUICE_REFUSE(check_name(conversation, "conversation"));
    ConversationHead head;
    head.name = conversation;
    head.head = saved.head;
    SLUICE_REFUSE(desk.kept.turns().put_conversation(exchange->identity().tenant, head));
    body["conversation"] = conversation;
  }
  return read_tokens(desk, exchange, std::move(saved.tokens), 0, std::move(body), std::nullopt);
}

Refused fork(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  FieldReader fields(json, "");
  const uint32_t tenant = exchange->identity().tenant;
  std::string conversation, name;
  std::vector<std::string> to;
  fields.text("conversation", 64, conversation);
  fields.text("name", 64, name);
  fields.require("to");
  fields.texts("to", kForksMax, 64, to);
  SLUICE_REFUSE(fields.finish());
  if (conversation.empty() == name.empty()) return bad_request("conversation", "one of conversation and name must be given");
  for (const std::string& child : to) SLUICE_REFUSE(check_name(child, "to"));
  std::string head;
  if (!name.empty()) {
    SavedState saved;
    SLUICE_REFUSE(find_saved(desk, tenant, name, saved));
    head = saved.head;
  } else {
    desk.kept.settle();
    std::optional<ConversationHead> found;
    SLUICE_REFUSE(desk.kept.turns().conversation(tenant, conversation, found));
    if (!found) {
      return ApiError{.status = 404, .code = "conversation_not_found", .param = "conversation",
                      .message = fmt::format("there is no conversation '{}'", text::shown(conversation))};
    }
    head = found->head;
  }
  Json made = Json::array();
  for (const std::string& child : to) {
    ConversationHead begun;
    begun.name = child;
    begun.head = head;
    SLUICE_REFUSE(desk.kept.turns().put_conversation(tenant, begun));
    made.push_back(child);
  }
  respond_json(exchange, {{"object", "state.fork"}, {"conversations", std::move(made)}});
  return {};
}

Refused pin(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  FieldReader fields(json, "");
  std::string name;
  uint64_t ttl_s = 0;
  fields.require("name");
  fields.text("name", 64, name);
  fields.require("ttl_s");
  fields.integer("ttl_s", 0, kTtlMaxS, ttl_s);
  SLUICE_REFUSE(fields.finish());
  const uint32_t tenant = exchange->identity().tenant;
  SavedState saved;
  SLUICE_REFUSE(find_saved(desk, tenant, name, saved));
  Json body = {{"name", name}};
  if (ttl_s > 0) return read_tokens(desk, exchange, std::move(saved.tokens), ttl_s, std::move(body), std::nullopt);
  const std::span<const int32_t> tokens(saved.tokens);
  desk.api.backend().with_store([&](engine::StateStore& store) {
    const uint32_t found = tokens.size() < 2 ? engine::kNoCheckpoint : store.find(tenant, tokens.first(tokens.size() - 1));
    if (found != engine::kNoCheckpoint) store.unpin(found);
  });
  respond_json(exchange, {{"object", "state"}, {"name", name}, {"pinned_for_s", 0}});
  return {};
}

// Where the tokens would resume, and why not later. Another tenant's states are as if there were none.
Json explanation(const Desk& desk, uint32_t tenant, std::span<const int32_t> tokens, std::span<const uint32_t> message_starts) {
  engine::Lookup lookup;
  desk.api.backend().with_store([&](engine::StateStore& store) {
    store.lookup({.tenant = tenant, .program = desk.program, .now_ms = engine_ms(desk.api), .tokens = tokens, .message_starts = message_starts}, lookup);
    store.release(lookup);
  });
  engine::MissReason reason = lookup.reason;
  if (reason == engine::MissReason::kOtherTenant) reason = engine::MissReason::kNoSuchPrefix;
  Json out = {{"object", "state.explanation"}, {"tokens", tokens.size()}, {"cached_tokens", lookup.resume}, {"matched_tokens", lookup.matched},
              {"reason", reason == engine::MissReason::kNone ? Json() : Json(engine::miss_reason_name(reason))},
              {"differs_at", lookup.differs_at ? Json(*lookup.differs_at) : Json()}, {"differs_in_message", lookup.message ? Json(*lookup.message) : Json()}};
  if (lookup.differs_at && *lookup.differs_at < tokens.size()) {
    std::string given, stored;
    text::append_valid_utf8(given, desk.api.token_bytes(tokens[*lookup.differs_at]));
    text::append_valid_utf8(stored, desk.api.token_bytes(lookup.stored_token));
    out["given"] = given;
    out["stored"] = stored;
  }
  if (lookup.lost_position > 0) out["lost"] = {{"position", lookup.lost_position}, {"for_bytes", lookup.lost_to_bytes}};
  return out;
}

Refused explain(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  Json json;
  SLUICE_REFUSE(parse_request_object(exchange->request().body, json));
  FieldReader fields(json, "");
  const uint32_t tenant = exchange->identity().tenant;
  std::string name;
  if (fields.text("name", 64, name)) {
    SLUICE_REFUSE(fields.finish());
    SavedState saved;
    SLUICE_REFUSE(find_saved(desk, tenant, name, saved));
    respond_json(exchange, explanation(desk, tenant, saved.tokens, {}));
    return {};
  }
  Named named;
  SLUICE_REFUSE(read_named(desk, tenant, fields, named));
  Prompt prompt;
  SLUICE_REFUSE(render_chat(desk.api, named.conversation, prompt));
  respond_json(exchange, explanation(desk, tenant, prompt.tokens, prompt.message_starts));
  return {};
}

Refused list(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  Page page;
  SLUICE_REFUSE(read_page(exchange->request(), limits::kPageMax, limits::kPageMax, {}, page));
  desk.kept.settle();
  const uint32_t tenant = exchange->identity().tenant;
  std::vector<ConversationHead> conversations;
  std::vector<SavedState> saved;
  bool more = false;
  SLUICE_REFUSE(desk.kept.turns().list_conversations(tenant, page, conversations, more));
  SLUICE_REFUSE(desk.kept.turns().list_saved(tenant, saved));
  Json states = Json::array(), names = Json::array();
  for (const SavedState& state : saved) states.push_back({{"object", "state"}, {"name", state.name}, {"created_at", state.created_s}});
  for (const ConversationHead& c : conversations) {
    names.push_back({{"object", "conversation"}, {"id", c.name}, {"created_at", c.created_s}, {"used_at", c.used_s}, {"empty", c.head.empty()}});
  }
  Json out = list_json(std::move(names), more, "id");
  out["conversations"] = std::move(out["data"]);
  out.erase("data");
  out["data"] = std::move(states);
  respond_json(exchange, out);
  return {};
}

Refused get(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  SavedState saved;
  const uint32_t tenant = exchange->identity().tenant;
  SLUICE_REFUSE(find_saved(desk, tenant, exchange->request().path_values.at(0), saved));
  bool pinned = false;
  uint64_t cached = 0;
  const std::span<const int32_t> tokens(saved.tokens);
  desk.api.backend().with_store([&](engine::StateStore& store) {
    cached = store.resumable(tenant, tokens);
    const uint32_t found = tokens.size() < 2 ? engine::kNoCheckpoint : store.find(tenant, tokens.first(tokens.size() - 1));
    pinned = found != engine::kNoCheckpoint && store.checkpoint(found).pin_until_ms > engine_ms(desk.api);
  });
  respond_json(exchange, {{"object", "state"}, {"name", saved.name}, {"created_at", saved.created_s}, {"tokens", tokens.size()}, {"cached_tokens", cached},
                          {"pinned", pinned}});
  return {};
}

Refused remove(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  const std::string& name = exchange->request().path_values.at(0);
  desk.kept.settle();
  const uint32_t tenant = exchange->identity().tenant;
  std::vector<int32_t> freed;
  SLUICE_REFUSE(desk.kept.turns().remove_saved(tenant, name, freed));
  if (freed.size() > 1) desk.api.backend().forget(tenant, std::span(freed).first(freed.size() - 1));  // a state is kept before its last token
  respond_json(exchange, {{"object", "state"}, {"name", name}, {"deleted", true}});
  return {};
}

Refused remove_conversation(const Desk& desk, const std::shared_ptr<Exchange>& exchange) {
  const std::string& name = exchange->request().path_values.at(0);
  desk.kept.settle();
  SLUICE_REFUSE(desk.kept.turns().remove_conversation(exchange->identity().tenant, name));
  respond_json(exchange, {{"object", "conversation.deleted"}, {"id", name}, {"deleted", true}});
  return {};
}

}  // namespace

std::vector<Route> state_routes(const Api& api, Kept& kept, uint64_t program) {
  const auto handler = [&](auto action) { return action_handler(ErrorShape::kOpenAi, action, Desk{api, kept, program}); };
  return {
      {.method = "POST", .pattern = "/v1/state/save", .handler = handler(save), .summary = "Computes the state behind messages and gives it a name",
       .request_schema = kSaveSchema},
      {.method = "POST", .pattern = "/v1/state/restore", .handler = handler(restore), .summary = "Has a saved state in memory again, and a conversation on it",
       .request_schema = kRestoreSchema},
      {.method = "POST", .pattern = "/v1/state/fork", .handler = handler(fork), .summary = "More conversations that go on from one",
       .request_schema = kForkSchema},
      {.method = "POST", .pattern = "/v1/state/pin", .handler = handler(pin), .summary = "Keeps a saved state in memory for a while; 0 s: no longer",
       .request_schema = kPinSchema},
      {.method = "POST", .pattern = "/v1/state/explain", .handler = handler(explain), .summary = "How much of a prompt is in memory, and why not more",
       .request_schema = kExplainSchema},
      {.method = "GET", .pattern = "/v1/state", .handler = handler(list), .body_bytes_max = 0, .summary = "Your saved states and conversations",
       .request_schema = kPageParameters},
      {.method = "GET", .pattern = "/v1/state/{name}", .handler = handler(get), .body_bytes_max = 0, .summary = "A saved state, and what of it is in memory"},
      {.method = "DELETE", .pattern = "/v1/state/{name}", .handler = handler(remove), .body_bytes_max = 0,
       .summary = "Lets a saved state go: name, pin, memory, disk"},
      {.method = "DELETE", .pattern = "/v1/conversations/{conversation}", .handler = handler(remove_conversation), .body_bytes_max = 0,
       .summary = "Forgets a conversation's name"},
  };
}

}  // namespace sluice::server
