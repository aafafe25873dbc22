#include "server/status_route.h"

#include <nlohmann/json.hpp>

#include <cmath>

#include "platform/memory.h"

namespace sluice::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kStatusSchema = R"({"type":"object","required":["memory","users","running","queued"],"properties":{
"memory":{"type":"object","required":["planned","resident","parts"],"properties":{"planned":{"type":"integer"},"resident":{"type":"integer"},
"parts":{"type":"array","items":{"type":"object","required":["name","planned","used"],"properties":{
"name":{"enum":["weights","conversations","kept","activations"]},"planned":{"type":"integer"},"used":{"type":"integer"}}}}}},
"users":{"type":"integer"},"running":{"type":"integer"},"queued":{"type":"integer"},
"decode":{"type":"object","required":["read_bytes_per_s","step_bytes","conversation_bytes","position_bytes","tokens_per_s_max"],"properties":{
"read_bytes_per_s":{"type":"integer"},"step_bytes":{"type":"integer"},"conversation_bytes":{"type":"integer"},"position_bytes":{"type":"integer"},
"tokens_per_s_max":{"type":"number"}}}}})";

uint64_t whole(double value) { return static_cast<uint64_t>(std::llround(value)); }

Json decode_json(const DecodeLimits& limits) {
  return {{"read_bytes_per_s", whole(limits.read_bytes_per_s)},
          {"step_bytes", whole(limits.step_bytes)},
          {"conversation_bytes", whole(limits.conversation_bytes)},
          {"position_bytes", whole(limits.position_bytes)},
          {"tokens_per_s_max", limits.read_bytes_per_s / (limits.step_bytes + limits.conversation_bytes)}};
}

Json part(std::string_view name, uint64_t planned, uint64_t used) { return {{"name", name}, {"planned", planned}, {"used", used}}; }

}  // namespace

Route status_route(const MemoryShares& plan, uint32_t users, const DecodeLimits& limits, std::function<engine::EngineStatistics()> engine) {
  const auto handler = [plan, users, limits, engine = std::move(engine)](const std::shared_ptr<Exchange>& exchange) {
    const engine::EngineStatistics now = engine();
    const uint64_t running = std::min<uint64_t>(now.running_sequences, users);
    Json body = {
        {"memory",
         {{"planned", plan.total()},
          {"resident", platform::process_memory().resident_bytes},
          {"parts",
           {part("weights", plan.weights, plan.weights), part("conversations", plan.conversations, users > 0 ? plan.conversations / users * running : 0),
            part("kept", plan.kept, now.store.state_bytes + now.store.page_bytes + now.store.tree_bytes),
            part("activations", plan.activations, plan.activations)}}}},
        {"users", users},
        {"running", now.running_sequences},
        {"queued", now.queued_requests}};
    if (limits.read_bytes_per_s > 0) body["decode"] = decode_json(limits);
    exchange->respond({.body = body.dump()});
  };
  return {.method = "GET", .pattern = "/status", .handler = handler, .body_bytes_max = 0,
          .summary = "Memory against its plan; conversations that run and wait; what memory allows", .response_schema = kStatusSchema};
}

}  // namespace sluice::server
