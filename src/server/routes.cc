#include "server/routes.h"

#include "server/openai_routes.h"
#include "server/playground_route.h"

namespace sluice::server {

void add_routes(Router& router, const Api& api, std::function<bool()> draining) {
  router.add(openai_routes(api));
  router.add(tool_routes(api));
  router.add(health_routes(api, std::move(draining)));
  router.add(playground_route());
  router.add(openapi_route(router));
}

}  // namespace sluice::server
