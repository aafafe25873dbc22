// The HTTP/1.1 server: listens on TCP and Unix sockets, with or without TLS, reads requests under limits, routes and authenticates them, runs handlers
// and writes what they answer. One I/O thread owns every connection, so that a thousand stalled ones cost a thousand small records and nothing else; a few
// workers run the handlers that take longer than microseconds (JSON, templates, tokens, constraints).
// Contract: no byte of a client can stop it; every buffer, queue and wait is bounded by HttpOptions and limits.h. Next: http_parser.h, transport.h, router.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "server/admission.h"
#include "server/router.h"

namespace sluice::server {

struct TlsOptions {
  std::string certificate_file;        // PEM, with its chain
  std::string key_file;                // PEM
  bool on() const { return !certificate_file.empty(); }
};

struct Listen {
  std::string host = "127.0.0.1";      // an address, or a name that this machine resolves to one
  uint16_t port = 8080;                // 0: any free one
  std::string unix_path;               // not empty: a Unix socket instead
  bool tls = false;                    // with HttpOptions::tls
  bool admin = false;                  // serves admin routes, and only those and the open ones
};

struct HttpOptions {
  std::vector<Listen> listen{Listen{}};
  TlsOptions tls;
  std::vector<std::string> hosts_allowed;    // besides the address itself and, on loopback, localhost; "*": any
  std::vector<std::string> origins_allowed;  // CORS; empty: off
  uint32_t workers = 2;
  uint32_t connections_max = 4096;
  uint32_t connections_per_address_max = 2048;
  uint32_t handlers_queued_max = 1024;       // requests that wait for a worker; more are 503
  uint64_t body_bytes_in_flight_max = 256ull << 20;  // of all requests together
  uint32_t header_timeout_ms = 10'000;       // from the first byte to the end of the header
  uint32_t idle_timeout_ms = 75'000;         // between requests, and before the first
  uint32_t body_grace_ms = 10'000;           // then bytes must come at
  uint32_t body_bytes_per_s_min = 1024;
  uint32_t write_stall_ms = 30'000;          // without the client taking a byte
  uint32_t drain_ms = 30'000;                // after that streams end with an error
};

class HttpServer {
 public:
  // Binds (errors name the address) and starts its threads. `router`, `gate` and `observer` (may be null) outlive it.
  static Result<std::unique_ptr<HttpServer>> start(const HttpOptions& options, const Router& router, Gate& gate, TrafficObserver* observer);
  ~HttpServer();  // stops at once

  // "http://127.0.0.1:8080", one for each of HttpOptions::listen, with the ports that were bound.
  const std::vector<std::string>& addresses() const;
  // No new connections, requests answer 503, what runs may end within drain_ms; then the rest is cut. Returns at once.
  void drain();
  bool draining() const;
  // True once drained (or stopped): nothing is open any more.
  bool wait_for(uint32_t ms);
  // Certificates again from their files; the old ones stay if the new ones are no good.
  Status reload_tls();
  uint32_t connections() const;

  struct Impl;

 private:
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::server
