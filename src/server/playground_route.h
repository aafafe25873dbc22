// GET /: the playground, one page without anything from elsewhere. A browser cannot send a key with its first request, so once there are keys the answer is
// a 401 that carries the page: it holds nothing of the model or its users, and asks for the key itself.
#pragma once

#include "server/router.h"

namespace sluice::server {

Route playground_route();

}  // namespace sluice::server
