// Token ids as whitespace-separated text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::cli {

Result<std::vector<int32_t>> parse_ids(std::string_view text);

}  // namespace sluice::cli
