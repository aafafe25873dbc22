// A zstd-compressed text, line by line, as a stream with limits: what is too long when decompressed is an error. Next: replay_traces.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include "base/result.h"

namespace sluice::cli {

// Calls `see` with each line's number (0-based) and text; an error of its ends the reading.
Status for_lines(const std::filesystem::path& path, const std::function<Status(uint64_t, std::string_view)>& see);

}  // namespace sluice::cli
