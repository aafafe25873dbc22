#include "server/routes.h"

#include "server/ai21_routes.h"
#include "server/anthropic_routes.h"
#include "server/batch_routes.h"
#include "server/file_routes.h"
#include "server/openai_routes.h"
#include "server/playground_route.h"
#include "server/responses_routes.h"

namespace sluice::server {

void add_routes(Router& router, const Api& api, Kept* kept, std::function<bool()> draining) {
  router.add(openai_routes(api, kept));
  router.add(tool_routes(api));
  router.add(anthropic_routes(api));
  router.add(ai21_routes(api));
  if (kept) router.add(file_routes(*kept));
  if (kept) router.add(batch_routes(*kept));
  if (kept) router.add(responses_routes(api, *kept));
  router.add(health_routes(api, std::move(draining)));
  router.add(playground_route());
  router.add(openapi_route(router));
}

}  // namespace sluice::server
