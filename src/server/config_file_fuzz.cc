// Any bytes as a configuration file: settings or one sentence, never a crash.
#include <string>
#include <vector>

#include "server/config_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> names = {"port", "host", "memory", "ctx", "users", "insecure", "tls-certificate", "host-allowed"};
  const auto settings = sluice::server::parse_config({reinterpret_cast<const char*>(data), size}, "fuzz.toml", names);
  if (!settings.ok() && settings.error().message.empty()) __builtin_trap();
  if (settings.ok()) {
    for (const sluice::server::Setting& setting : *settings) {
      if (setting.name.empty() || setting.line == 0) __builtin_trap();
    }
  }
  return 0;
}
