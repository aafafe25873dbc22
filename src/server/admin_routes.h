// Routes for operators: /metrics, and on the admin port keys and statistics. A key made or ended here is the same as by `sluice keys`.
// Contract: needs a key with the admin flag once keys exist, and before that a peer on this machine; the router sees to it. Next: key_gate.h, operations.h.
#pragma once

#include <functional>
#include <vector>

#include "engine/engine.h"
#include "server/key_gate.h"
#include "server/operations.h"
#include "server/router.h"

namespace sluice::server {

// GET and POST /admin/keys, POST and DELETE /admin/keys/{key}, GET /admin/statistics. `gate` outlives the routes.
std::vector<Route> admin_routes(KeyGate& gate, std::function<engine::EngineStatistics()> engine);

// GET /metrics: kKey on the ordinary port, kAdmin on the admin port. `operations` outlives it.
Route metrics_route(const Operations& operations, Access access);

}  // namespace sluice::server
