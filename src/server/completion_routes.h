// /v1/completions: a text, or tokens, and how it goes on.
#pragma once

#include "server/api.h"
#include "server/router.h"

namespace sluice::server {

Handler completion_handler(const Api& api);

}  // namespace sluice::server
