// Every route of the server's main port, in one place: a protocol adds one line here.
#pragma once

#include <functional>

#include "server/api.h"
#include "server/kept.h"
#include "server/router.h"

namespace sluice::server {

// All outlive the routes. `kept` may be null: then there are no files, batches, responses, conversations. `draining`: is the server going down?
void add_routes(Router& router, const Api& api, Kept* kept, std::function<bool()> draining);

}  // namespace sluice::server
