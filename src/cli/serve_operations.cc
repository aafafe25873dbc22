#include "cli/serve_operations.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ctime>

#include "cli/output.h"
#include "cli/serve_config.h"
#include "server/certificate.h"

namespace sluice::cli {

void add_operations(CLI::App& app, OperationsOptions& o) {
  o.app = &app;
  app.add_option("--config", o.config, "TOML file with any of these flags; the command line goes before it");
  app.add_option("--key-file", o.key_file, "Key database (default: keys.db in $XDG_STATE_HOME/sluice)");
  app.add_option("--log", o.log, "Log file, opened again on SIGHUP (default: standard error)");
  app.add_option("--log-level", o.log_level, "debug, info, warning, error or off; read again on SIGHUP")
      ->capture_default_str()->check(CLI::IsMember({"debug", "info", "warning", "error", "off"}));
  app.add_flag("--no-access-log", o.no_access_log, "No line for every request");
  app.add_option_function<uint16_t>("--admin-port", [&o](const uint16_t& port) {
    o.admin_port = port;
    o.admin = true;
  }, "Port of the admin routes (keys, statistics, metrics); 0 takes a free one; without it there are none");
  app.add_option("--admin-host", o.admin_host, "Address of the admin port")->capture_default_str();
  app.add_option("--queue-deadline", o.queue_deadline_s, "Seconds that a request may wait (default: no limit)")->check(CLI::Range(0.0, 86400.0));
  app.add_option("--flex-deadline", o.flex_deadline_s, "Seconds that a flex request may wait")->capture_default_str()->check(CLI::Range(0.0, 86400.0));
  app.add_option("--queue-tokens", o.queue_tokens, "Tokens of all requests let in, by their price (default: 1 Mi and two contexts a user)")
      ->check(CLI::PositiveNumber);
  app.add_option("--queue-bytes", o.queue_bytes, "Bytes of their bodies")->capture_default_str();
}

Status read_config(OperationsOptions& options) {
  if (options.config.empty()) return {};
  return apply_config(*options.app, options.config);
}

Result<std::unique_ptr<ServeOperations>> ServeOperations::create(const OperationsOptions& options, uint64_t requests_max) {
  std::unique_ptr<ServeOperations> out(new ServeOperations(options));
  SLUICE_TRY(const server::LogLevel level, server::log_level_from_name(options.log_level));
  SLUICE_TRY(out->log_, server::Log::open(options.log, level));
  out->operations_ = std::make_unique<server::Operations>(options.no_access_log ? nullptr : out->log_.get());
  server::GateOptions gate;
  gate.requests_max = requests_max;
  if (options.queue_tokens != 0) gate.tokens_max = options.queue_tokens;
  SLUICE_TRY(gate.bytes_max, parse_bytes(options.queue_bytes));
  gate.queue_deadline_ms = static_cast<uint64_t>(options.queue_deadline_s * 1e3);
  gate.flex_queue_deadline_ms = static_cast<uint64_t>(options.flex_deadline_s * 1e3);
  gate.say = [log = out->log_.get()](const std::string& sentence) { log->say(server::LogLevel::kWarning, "keys", sentence); };
  out->gate_ = std::make_unique<server::KeyGate>(options.key_file.empty() ? server::default_key_file() : std::filesystem::path(options.key_file), gate);
  if (const std::string trouble = out->gate_->statistics().trouble; !trouble.empty()) fmt::print(stderr, "sluice: {}\n", trouble);
  out->gate_->start();
  return out;
}

Status ServeOperations::check_certificate(const server::TlsOptions& tls) {
  if (!tls.on()) return {};
  SLUICE_TRY(const server::CertificateFacts facts, server::check_certificate(tls.certificate_file, tls.key_file, static_cast<int64_t>(std::time(nullptr))));
  operations_->metrics().gauge("sluice_certificate_expiry_timestamp_seconds", "When the TLS certificate ends, Unix time.", {},
                               [ends = static_cast<double>(facts.not_after_s)] { return ends; });
  if (facts.expired) return Error{facts.warning};
  if (facts.warning.empty()) return {};
  log_->say(server::LogLevel::kWarning, "certificate", facts.warning);
  if (!options_.log.empty()) fmt::print(stderr, "sluice: {}\n", facts.warning);
  return {};
}

void ServeOperations::set_context(uint64_t context_tokens, uint64_t users) {
  if (options_.queue_tokens == 0) gate_->set_tokens_max(engine::EngineOptions{}.queue_tokens_max + 2 * users * context_tokens);
}

void ServeOperations::listen_for_admin(server::HttpOptions& http) const {
  if (options_.admin) http.listen.push_back({.host = options_.admin_host, .port = options_.admin_port, .unix_path = "", .tls = http.tls.on(), .admin = true});
}

void ServeOperations::add_routes(server::Router& router, std::function<engine::EngineStatistics()> engine, uint64_t planned_bytes) {
  operations_->watch_gate(*gate_);
  operations_->watch_log(*log_);
  operations_->watch_engine(engine);
  operations_->watch_memory(planned_bytes);
  router.add(server::metrics_route(*operations_, options_.admin ? server::Access::kAdmin : server::Access::kKey));
  if (options_.admin) router.add(server::admin_routes(*gate_, std::move(engine)));
}

void ServeOperations::reload(server::HttpServer& http, const server::TlsOptions& tls) {
  const auto tell = [&](const Status& status) {
    if (!status.ok()) log_->say(server::LogLevel::kError, "reload", status.error().message);
    return status.ok();
  };
  bool good = tell(log_->reopen());
  if (!options_.config.empty()) {
    const Result<std::string> level = config_value(*options_.app, options_.config, "log-level");
    if (!level.ok()) good = tell(level.error());
    const Result<server::LogLevel> wanted = server::log_level_from_name(level.ok() && !level->empty() ? *level : options_.log_level);
    if (wanted.ok()) log_->set_level(*wanted);
    else good = tell(wanted.error());
  }
  gate_->tick();
  if (tls.on()) good = tell(check_certificate(tls)) && tell(http.reload_tls()) && good;
  log_->say(server::LogLevel::kInfo, "reload", good ? "keys, certificate and log read again" : "what could not be read again stays as it was");
}

}  // namespace sluice::cli
