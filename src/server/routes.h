// Every route of the server's main port, in one place: a protocol adds one line here.
#pragma once

#include <functional>

#include "server/api.h"
#include "server/router.h"

namespace sluice::server {

// `api` and `router` outlive the routes. `draining`: is the server going down?
void add_routes(Router& router, const Api& api, std::function<bool()> draining);

}  // namespace sluice::server
