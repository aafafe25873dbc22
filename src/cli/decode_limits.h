// What reading memory allows a server's conversations in tokens a second: measured once at the start, over the weights themselves, so it takes no memory.
#pragma once

#include "library/loading.h"
#include "server/status_route.h"

namespace sluice::cli {

// At most 256 MiB of weights are read three times: 40 ms at 20 GB/s. A rate of 0 if there was no thread for it.
server::DecodeLimits decode_limits(const library::LoadedModel& model);

}  // namespace sluice::cli
