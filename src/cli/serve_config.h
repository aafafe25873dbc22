// The configuration file of `sluice serve`: every flag may stand in it, the command line goes before it.
// Contract: a setting is checked as its flag is; errors name the file, the line and the nearest flag. Next: server/config_file.h.
#pragma once

#include <string>

#include "base/result.h"

namespace CLI {
class App;
}

namespace sluice::cli {

// Gives `app`'s options what the file says, where the command line said nothing. Called from the verb's callback, when everything has been parsed.
Status apply_config(CLI::App& app, const std::string& path);

// One setting of the file, for what SIGHUP reads again; empty when the file does not set it.
Result<std::string> config_value(CLI::App& app, const std::string& path, const std::string& name);

}  // namespace sluice::cli
