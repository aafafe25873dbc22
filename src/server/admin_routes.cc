#include "server/admin_routes.h"

#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "server/api_error.h"
#include "server/json_fields.h"

namespace sluice::server {
namespace {

constexpr uint64_t kAdminBodyBytesMax = 16 * 1024;

constexpr std::string_view kNewKeySchema =
    R"({"type":"object","required":["name"],"properties":{"name":{"type":"string"},"rpm":{"type":"integer"},"rpd":{"type":"integer"},"tpm":{"type":"integer"},)"
    R"("tpd":{"type":"integer"},"concurrent":{"type":"integer"},"tier":{"enum":["flex","on_demand","performance"]},"admin":{"type":"boolean"}}})";

Json json_of(const Key& key) {
  Json limits;
  for (size_t kind = 0; kind < kLimitKinds; ++kind) {
    limits[std::string(kLimitFacts[kind].name)] = key.limits.values[kind] == 0 ? Json(nullptr) : Json(key.limits.values[kind]);
  }
  return {{"id", key.id},
          {"name", key.name},
          {"tier", key_tier_name(key.tier)},
          {"admin", key.admin},
          {"created", key.created_s},
          {"revoked", key.revoked_s == 0 ? Json(nullptr) : Json(key.revoked_s)},
          {"limits", std::move(limits)}};
}

void answer(const std::shared_ptr<Exchange>& exchange, const Json& body) {
  HttpResponse response;
  response.body = body.dump();
  exchange->respond(std::move(response));
}

void refuse_with(const std::shared_ptr<Exchange>& exchange, const ApiError& error) {
  exchange->note({}, error.code);
  exchange->respond(error_response(ErrorShape::kOpenAi, error, exchange->id()));
}

// The state folder, or what was asked for: the sentence says which.
void refuse_key(const std::shared_ptr<Exchange>& exchange, const Error& error, int status) {
  refuse_with(exchange, {.status = status, .code = "key_not_changed", .message = error.message});
}

// The fields that creating and changing share.
void read_fields(FieldReader& fields, KeyFile::Change& change) {
  for (size_t kind = 0; kind < kLimitKinds; ++kind) {
    uint64_t limit = 0;
    if (fields.integer(kLimitFacts[kind].name, 0, static_cast<int64_t>(kLimitMax), limit)) change.limits[kind] = limit;
  }
  size_t tier = 0;
  if (fields.word("tier", {"flex", "on_demand", "performance"}, tier)) change.tier = static_cast<KeyTier>(tier);
  bool admin = false;
  if (fields.boolean("admin", admin)) change.admin = admin;
}

void create_key(KeyGate& gate, const std::shared_ptr<Exchange>& exchange) {
  Json body;
  if (const Refused refused = parse_request_object(exchange->request().body, body)) return refuse_with(exchange, *refused);
  FieldReader fields(body, "");
  NewKey wanted;
  KeyFile::Change change;
  fields.require("name");
  fields.text("name", kKeyNameBytesMax, wanted.name);
  read_fields(fields, change);
  if (const Refused refused = fields.finish()) return refuse_with(exchange, *refused);
  for (size_t kind = 0; kind < kLimitKinds; ++kind) wanted.limits.values[kind] = change.limits[kind].value_or(0);
  wanted.tier = change.tier.value_or(KeyTier::kOnDemand);
  wanted.admin = change.admin.value_or(false);
  const Result<CreatedKey> created = gate.ring().create(wanted, static_cast<int64_t>(std::time(nullptr)));
  if (!created.ok()) return refuse_key(exchange, created.error(), 400);
  gate.tick();
  Json out = json_of(created->key);
  out["key"] = created->text;  // the only time
  answer(exchange, out);
}

void change_key(KeyGate& gate, const std::shared_ptr<Exchange>& exchange) {
  Json body;
  if (const Refused refused = parse_request_object(exchange->request().body, body)) return refuse_with(exchange, *refused);
  FieldReader fields(body, "");
  KeyFile::Change change;
  read_fields(fields, change);
  if (const Refused refused = fields.finish()) return refuse_with(exchange, *refused);
  const Result<Key> changed = gate.ring().change(exchange->request().path_values[0], change);
  if (!changed.ok()) return refuse_key(exchange, changed.error(), 404);
  gate.tick();
  answer(exchange, json_of(*changed));
}

void revoke_key(KeyGate& gate, const std::shared_ptr<Exchange>& exchange) {
  const Result<Key> revoked = gate.ring().revoke(exchange->request().path_values[0], static_cast<int64_t>(std::time(nullptr)));
  if (!revoked.ok()) return refuse_key(exchange, revoked.error(), 404);
  gate.tick();
  answer(exchange, json_of(*revoked));
}

void list_keys(KeyGate& gate, const std::shared_ptr<Exchange>& exchange) {
  Json data = Json::array();
  for (const StoredKey& key : gate.ring().table()->keys) data.push_back(json_of(key));
  answer(exchange, {{"object", "list"}, {"data", std::move(data)}});
}

void show_statistics(KeyGate& gate, const std::function<engine::EngineStatistics()>& engine, const std::shared_ptr<Exchange>& exchange) {
  const GateStatistics now = gate.statistics();
  Json refused;
  for (size_t reason = 0; reason < kRefusalReasons.size(); ++reason) refused[std::string(kRefusalReasons[reason])] = now.refused[reason];
  Json keys = Json::array();
  for (const KeyStanding& standing : gate.standings()) {
    Json limits;
    for (size_t kind = 0; kind < kLimitKinds; ++kind) {
      const QuotaStanding& limit = standing.limits[kind];
      if (limit.limit == 0) continue;
      const double reset_s = static_cast<double>(limit.reset_us) / 1e6;
      limits[std::string(kLimitFacts[kind].name)] = {{"limit", limit.limit}, {"remaining", limit.remaining}, {"reset_s", reset_s}};
    }
    keys.push_back({{"id", standing.key.id}, {"name", standing.key.name}, {"running", standing.running}, {"requests", standing.use.requests},
                    {"prompt_tokens", standing.use.prompt_tokens}, {"completion_tokens", standing.use.completion_tokens}, {"limits", std::move(limits)}});
  }
  Json out = {{"admitted", {{"requests", now.requests}, {"tokens", now.tokens}, {"bytes", now.bytes}}}, {"refused", std::move(refused)},
              {"keys", std::move(keys)}, {"key_database", now.trouble.empty() ? Json("ok") : Json(now.trouble)}};
  if (engine) {
    const engine::EngineStatistics s = engine();
    out["engine"] = {{"queued_requests", s.queued_requests}, {"running_sequences", s.running_sequences}, {"queued_tokens", s.queued_tokens}, {"steps", s.steps},
                     {"prompt_tokens", s.prompt_tokens}, {"cached_tokens", s.cached_tokens}, {"completion_tokens", s.completion_tokens},
                     {"requests_done", s.requests_done}, {"requests_failed", s.requests_failed}, {"requests_cancelled", s.requests_cancelled}};
  }
  answer(exchange, out);
}

Route line(std::string_view method, std::string_view pattern, std::string_view summary, Handler handler) {
  Route route;
  route.method = method;
  route.pattern = pattern;
  route.handler = std::move(handler);
  route.access = Access::kAdmin;
  route.body_bytes_max = method == "POST" ? kAdminBodyBytesMax : 0;
  route.summary = summary;
  return route;
}

}  // namespace

std::vector<Route> admin_routes(KeyGate& gate, std::function<engine::EngineStatistics()> engine) {
  using Shared = const std::shared_ptr<Exchange>&;
  std::vector<Route> routes;
  routes.push_back(line("GET", "/admin/keys", "All keys with their limits, revoked ones too", [&gate](Shared e) { list_keys(gate, e); }));
  routes.push_back(line("POST", "/admin/keys", "Make a key; its text is in the answer and nowhere else", [&gate](Shared e) { create_key(gate, e); }));
  routes.back().request_schema = kNewKeySchema;
  routes.push_back(line("POST", "/admin/keys/{key}", "Change a key's limits, tier or admin flag", [&gate](Shared e) { change_key(gate, e); }));
  routes.push_back(line("DELETE", "/admin/keys/{key}", "End a key", [&gate](Shared e) { revoke_key(gate, e); }));
  routes.push_back(line("GET", "/admin/statistics", "What is being served, for whom, and what was refused",
                        [&gate, engine = std::move(engine)](Shared e) { show_statistics(gate, engine, e); }));
  return routes;
}

Route metrics_route(const Operations& operations, Access access) {
  Route route = line("GET", "/metrics", "Prometheus text", [&operations](const std::shared_ptr<Exchange>& exchange) {
    HttpResponse response;
    response.content_type = "text/plain; version=0.0.4; charset=utf-8";
    response.body = operations.metrics().text();
    exchange->respond(std::move(response));
  });
  route.access = access;
  return route;
}

}  // namespace sluice::server
