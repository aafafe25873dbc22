// GET /: the playground, one page without anything from elsewhere. It is open, as a page without the model's or a user's data; what it asks for needs a key.
#pragma once

#include "server/router.h"

namespace sluice::server {

Route playground_route();

}  // namespace sluice::server
