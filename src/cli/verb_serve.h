// `sluice serve`: one model behind OpenAI's API. Next: server/http.h, docs/server.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/model_loading.h"
#include "cli/serve_operations.h"

namespace CLI {
class App;
}

namespace sluice::cli {

struct ServeOptions {
  ModelOptions model;
  bool users_given = false;
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  std::string unix_path;
  std::string tls_certificate, tls_key;
  bool insecure = false;
  std::vector<std::string> allow_hosts, allow_origins;
  std::vector<std::string> aliases;
  std::string store;                   // bytes for kept conversations; empty: what the cap leaves, or 512M
  std::string state_folder;         // empty: conversations are kept in memory only
  std::string state_disk = "16G";
  uint32_t queue = 256;                // requests that wait at most
  uint32_t drain_s = 30;
  uint32_t workers = 2;
  uint32_t max_tokens = 0;             // of an answer when the request does not say; 0: what the context leaves
  OperationsOptions operations;
};

void add_serve(CLI::App& app, ServeOptions& options);
int serve(const ServeOptions& options);

}  // namespace sluice::cli
