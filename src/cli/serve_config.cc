#include "cli/serve_config.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <vector>

#include "platform/file.h"
#include "server/config_file.h"

namespace sluice::cli {
namespace {

// Flags that make no sense in a file.
bool settable(const CLI::Option& option) {
  const std::string name = option.get_single_name();
  return !option.get_lnames().empty() && name != "help" && name != "config" && name != "json";
}

std::vector<std::string> names_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (settable(*option)) names.push_back(option->get_lnames().front());
    else if (option->get_positional() && option->get_lnames().empty()) names.push_back(option->get_name(true));
  }
  return names;
}

CLI::Option* option_of(CLI::App& app, const std::string& name) {
  for (CLI::Option* option : app.get_options()) {
    if (!option->get_lnames().empty() ? option->get_lnames().front() == name : option->get_name(true) == name) return option;
  }
  return nullptr;
}

Result<std::vector<server::Setting>> read(CLI::App& app, const std::string& path) {
  SLUICE_TRY(const std::string text, platform::read_whole_file(path, server::kConfigFileBytesMax));
  return server::parse_config(text, path, names_of(app));
}

std::string flag_of(const std::string& name) {
  std::string flag = name;
  for (char& c : flag) c = c == '_' ? '-' : c;
  return flag;
}

}  // namespace

Status apply_config(CLI::App& app, const std::string& path) {
  SLUICE_TRY(const std::vector<server::Setting> settings, read(app, path));
  for (const server::Setting& setting : settings) {
    CLI::Option* option = option_of(app, flag_of(setting.name));
    if (option == nullptr || option->count() != 0) continue;
    const std::string where = fmt::format("{}:{}: {}", path, setting.line, setting.name);
    const bool is_flag = option->get_expected_min() == 0;
    if (is_flag && setting.values != std::vector<std::string>{"true"} && setting.values != std::vector<std::string>{"false"}) {
      return Error{fmt::format("{}: must be true or false", where)};
    }
    if (is_flag && setting.values[0] == "false") continue;
    if (setting.values.size() > 1 && option->get_expected_max() <= 1) {
      return Error{fmt::format("{}: takes one value, the file has {}", where, setting.values.size())};
    }
    try {
      option->add_result(setting.values);
      option->run_callback();
    } catch (const CLI::Error& error) {
      return Error{fmt::format("{}: {}", where, error.what())};
    }
  }
  return {};
}

Result<std::string> config_value(CLI::App& app, const std::string& path, const std::string& name) {
  SLUICE_TRY(const std::vector<server::Setting> settings, read(app, path));
  for (const server::Setting& setting : settings) {
    if (flag_of(setting.name) == name && !setting.values.empty()) return setting.values[0];
  }
  return std::string();
}

}  // namespace sluice::cli
