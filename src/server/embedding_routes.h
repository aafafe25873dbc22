// /v1/embeddings: vectors of texts, the mean of the model's last norm over their tokens, scaled to length one.
#pragma once

#include "server/api.h"
#include "server/router.h"

namespace sluice::server {

Handler embeddings_handler(const Api& api);

}  // namespace sluice::server
