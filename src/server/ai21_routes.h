// AI21's two: chat/completions with documents, which is the one that other clients know under another address, and Jurassic's complete.
// Next: jurassic_writer.h.
#pragma once

#include <vector>

#include "server/api.h"
#include "server/router.h"

namespace sluice::server {

// `api` outlives the routes.
std::vector<Route> ai21_routes(const Api& api);

}  // namespace sluice::server
