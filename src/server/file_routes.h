// OpenAI's files: upload, list, look at, read, delete. Next: kept_files.h, multipart.h.
#pragma once

#include <vector>

#include "server/api.h"
#include "server/kept.h"
#include "server/router.h"

namespace sluice::server {

// `kept` outlives the routes.
std::vector<Route> file_routes(Kept& kept);

// The same line at /v1 and at /openai/v1.
void add_both(std::vector<Route>& out, std::string_view plain, std::string_view groq, Route rest);

}  // namespace sluice::server
