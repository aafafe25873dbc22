// Amounts of memory as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::library {

// "1.84 GiB", "512 bytes": powers of 1024 with two digits.
std::string bytes_text(uint64_t bytes);
// "4G", "512M", "1.5GiB", "800000000": bytes. Errors name the text.
Result<uint64_t> parse_bytes(std::string_view text);

}  // namespace sluice::library
