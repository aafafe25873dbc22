#include "server/status_route.h"

#include <nlohmann/json.hpp>

#include "platform/memory.h"

namespace sluice::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kStatusSchema = R"({"type":"object","required":["memory","users","running","queued"],"properties":{
"memory":{"type":"object","required":["planned","resident","parts"],"properties":{"planned":{"type":"integer"},"resident":{"type":"integer"},
"parts":{"type":"array","items":{"type":"object","required":["name","planned","used"],"properties":{
"name":{"enum":["weights","conversations","kept","activations"]},"planned":{"type":"integer"},"used":{"type":"integer"}}}}}},
"users":{"type":"integer"},"running":{"type":"integer"},"queued":{"type":"integer"}}})";

Json part(std::string_view name, uint64_t planned, uint64_t used) { return {{"name", name}, {"planned", planned}, {"used", used}}; }

}  // namespace

Route status_route(const MemoryShares& plan, uint32_t users, std::function<engine::EngineStatistics()> engine) {
  const auto handler = [plan, users, engine = std::move(engine)](const std::shared_ptr<Exchange>& exchange) {
    const engine::EngineStatistics now = engine();
    const uint64_t running = std::min<uint64_t>(now.running_sequences, users);
    const Json body = {
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
    exchange->respond({.body = body.dump()});
  };
  return {.method = "GET", .pattern = "/status", .handler = handler, .body_bytes_max = 0, .summary = "Memory against its plan; conversations that run and wait",
          .response_schema = kStatusSchema};
}

}  // namespace sluice::server
