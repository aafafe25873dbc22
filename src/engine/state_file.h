// A conversation's state in a file: tokens, recurrent state and KV pages, bound to the model and the KV type, checksummed. Restoring is all or nothing:
// a file that is cut, flipped or of another model leaves the session as it was.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/result.h"
#include "engine/session.h"

namespace sluice::engine {

// `model`: fingerprint of the model, which restore compares.
Status save_state(const Session& session, uint64_t model, const std::filesystem::path& path);
Status restore_state(Session& session, uint64_t model, const std::filesystem::path& path);

}  // namespace sluice::engine
