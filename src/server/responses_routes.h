// OpenAI's responses: made, kept, gone on with by previous_response_id, asked for again, deleted. Next: responses_fields.h, turn_keeper.h.
#pragma once

#include <vector>

#include "server/api.h"
#include "server/kept.h"
#include "server/router.h"

namespace sluice::server {

// Both outlive the routes.
std::vector<Route> responses_routes(const Api& api, Kept& kept);

}  // namespace sluice::server
