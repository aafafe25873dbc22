// What `sluice serve` has for its operator: keys and admission, metrics, logs, the admin port, the configuration file, and what SIGHUP reads again.
// Contract: built before the model is loaded, lives until the server has stopped. Next: verb_serve.cc, server/key_gate.h, server/operations.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "server/admin_routes.h"
#include "server/http.h"
#include "server/key_gate.h"
#include "server/log.h"
#include "server/operations.h"
#include "server/router.h"

namespace CLI {
class App;
}

namespace sluice::cli {

struct OperationsOptions {
  std::string config;              // file; empty: none
  std::string key_file;            // empty: keys.db in the state folder
  std::string log;                 // file; empty: standard error
  std::string log_level = "info";
  bool no_access_log = false;
  uint16_t admin_port = 0;         // 0: no admin port
  bool admin = false;              // --admin-port was given
  std::string admin_host = "127.0.0.1";
  double queue_deadline_s = 0;     // 0: none
  double flex_deadline_s = 10;
  uint64_t queue_tokens = 0;       // 0: what the engine takes
  std::string queue_bytes = "32M";
  CLI::App* app = nullptr;         // of the verb: its options are what the file may set
};

void add_operations(CLI::App& app, OperationsOptions& options);
// What the file says where the command line said nothing; called once, before anything else reads the options.
Status read_config(OperationsOptions& options);

class ServeOperations {
 public:
  // `requests_max`: that run or wait.
  static Result<std::unique_ptr<ServeOperations>> create(const OperationsOptions& options, uint64_t requests_max);

  server::KeyGate& gate() { return *gate_; }
  server::Operations& observer() { return *operations_; }
  server::Log& log() { return *log_; }

  // An Error when the certificate cannot be served or has expired; one that will soon is told.
  Status check_certificate(const server::TlsOptions& tls);
  // Unless --queue-tokens says otherwise, room for what the engine's queue takes and for two full contexts a user: a request that names no max_tokens is
  // priced at all that its context leaves.
  void set_context(uint64_t context_tokens, uint64_t users);
  void listen_for_admin(server::HttpOptions& http) const;
  void add_routes(server::Router& router, std::function<engine::EngineStatistics()> engine, uint64_t planned_bytes);
  // SIGHUP: keys, log file and level, certificate.
  void reload(server::HttpServer& http, const server::TlsOptions& tls);

 private:
  explicit ServeOperations(const OperationsOptions& options) : options_(options) {}

  OperationsOptions options_;
  std::unique_ptr<server::Log> log_;
  std::unique_ptr<server::Operations> operations_;
  std::unique_ptr<server::KeyGate> gate_;
};

}  // namespace sluice::cli
