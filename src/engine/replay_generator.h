// Seeded chat traffic with edits, branches and shared system prompts: 24 live conversations picked with a recency bias, turns that extend, regenerate,
// edit, return to an old branch or replace a message's tail. Same seed, same trace. Next: replay.h.
#pragma once

#include "engine/replay.h"

namespace sluice::engine {

Trace generate_trace(uint64_t seed, uint64_t requests);

}  // namespace sluice::engine
