// OpenAI's batches: make one, look at it, list them, cancel. Next: kept_batches.h, batch_runner.h (who does the work).
#pragma once

#include <vector>

#include "server/api.h"
#include "server/kept.h"
#include "server/router.h"

namespace sluice::server {

// `kept` outlives the routes.
std::vector<Route> batch_routes(Kept& kept);

}  // namespace sluice::server
