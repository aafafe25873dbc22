// OpenAI's routes, at /v1 and /openai/v1 alike, and what other engines add beside them: tokenize, detokenize, apply-template, health.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "server/api.h"
#include "server/kept.h"
#include "server/router.h"

namespace sluice::server {

// Both outlive the routes.
// chat/completions, completions, embeddings, models. `kept` may be null: no conversations by name.
std::vector<Route> openai_routes(const Api& api, Kept* kept);
std::vector<Route> tool_routes(const Api& api);    // tokenize, detokenize, apply-template
// /health and /ready, open to probes; `draining` is asked each time.
std::vector<Route> health_routes(const Api& api, std::function<bool()> draining);
// /openapi.json, of all routes that `router` has when it is asked.
Route openapi_route(const Router& router);

// chat/completions, for other protocols that have it in their own colours.
Handler chat_handler(const Api& api, Kept* kept, ErrorShape shape);
// For other protocols: refuses in the route's shape.
void refuse(const std::shared_ptr<Exchange>& exchange, ErrorShape shape, const ApiError& error);
// Of an action over what it needs (std::ref of what outlives the routes) and the exchange: what it refuses becomes the answer.
template <typename Action, typename... Needs>
Handler action_handler(ErrorShape shape, Action action, Needs... needs) {
  return [=](const std::shared_ptr<Exchange>& exchange) {
    if (const Refused refused = action(needs..., exchange)) refuse(exchange, shape, *refused);
  };
}

}  // namespace sluice::server
