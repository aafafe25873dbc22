// The configuration file: TOML, flat, one line a flag of `sluice serve` (`port = 8080`, `memory = "4G"`, `host-allowed = ["a", "b"]`).
// Contract: any bytes in; settings in the file's order or one sentence with the line. What TOML can say and a flag cannot (tables, dates, nesting) is
// refused; so is a name that is no flag, with the nearest one that is. Next: cli/serve_config.h puts the settings where the command line says nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::server {

inline constexpr uint64_t kConfigFileBytesMax = 1u << 20;

struct Setting {
  std::string name;                 // as written; '_' counts as '-'
  std::vector<std::string> values;  // as a flag would get them; a boolean is "true" or "false"
  uint32_t line = 0;
};

// `source` stands before the line in errors ("sluice.toml"). `names`: the flags there are, without dashes.
Result<std::vector<Setting>> parse_config(std::string_view text, std::string_view source, std::span<const std::string> names);

// The nearest of `names` by letters changed, or "" when none is near.
std::string_view nearest_name(std::string_view name, std::span<const std::string> names);

}  // namespace sluice::server
