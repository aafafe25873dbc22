// Anthropic's messages and count_tokens. Next: anthropic_fields.h, anthropic_writer.h.
#pragma once

#include <vector>

#include "server/api.h"
#include "server/router.h"

namespace sluice::server {

// `api` outlives the routes.
std::vector<Route> anthropic_routes(const Api& api);

}  // namespace sluice::server
