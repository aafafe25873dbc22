// States by name: saved, restored, forked, pinned, listed, deleted, and why a prompt would not be found whole. Contract: a name is its key's own, another
// key's is 404; nothing of another tenant's states shows, not even that there are some. Next: kept_turns.h, docs/state.md.
#pragma once

#include <vector>

#include "server/api.h"
#include "server/kept.h"
#include "server/router.h"

namespace sluice::server {

// Both outlive the routes. `program`: the model's fingerprint, as the engine has it.
std::vector<Route> state_routes(const Api& api, Kept& kept, uint64_t program);

}  // namespace sluice::server
