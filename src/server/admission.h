// Who is asking, and may they: the seam between the routes and keys, quotas and capacity. The router authenticates every routed request before its body
// is read; a handler asks admit() with the price of what it is about to submit, and tells finished() what it came to.
// Contract: every member may be called from any thread, answers from memory and never waits. Refusals carry the whole answer: status, code, sentence,
// seconds to wait. Next: open_gate.h (no keys), router.h (who calls it), exchange.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace sluice::server {

struct Header {
  std::string name, value;
};

// Who a request is from, as the gate found it; a copy stays with the request to its end, whatever happens to the key meanwhile.
struct Identity {
  uint32_t tenant = 0;   // states are shared within one tenant only
  uint32_t key = 0;      // fairness is by key
  std::string key_id;    // for logs and answers; never the secret
  std::string name;
  bool admin = false;
  std::shared_ptr<const void> limits;  // the gate's own business
};

// What the client showed. Secrets are views into the request and are never logged or stored.
struct Credentials {
  std::string_view secret;  // of "Authorization: Bearer", "x-api-key" or "api-key"; empty: none
  std::string_view peer;    // "127.0.0.1:50124", "unix"
  bool loopback = false;    // the peer is this machine
};

// Why not: an HTTP answer without its shape. status 0: nothing was refused.
struct Refusal {
  int status = 0;
  std::string code;         // stable word: "invalid_api_key", "rate_limit_exceeded", "capacity_exceeded" ...
  std::string message;      // a sentence with the value and the limit
  uint64_t retry_after_s = 0;
  bool refused() const { return status != 0; }
};

struct Authenticated {
  Refusal refusal;          // 401 without or with a wrong key, 403 for an admin route
  Identity identity;
};

// What a request may cost at most, known before anything is computed.
struct Price {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens_max = 0;  // of all choices together
  uint64_t bytes = 0;                  // of the request's body, held until it ends
  engine::Tier tier = engine::Tier::kOnDemand;  // asked for
  bool tier_auto = false;              // the best tier within the key's limits
  bool batch = false;                  // a line of a batch: no request quota, lowest priority
};

struct Admission {
  Refusal refusal;                     // 429: the key's quota; 498: flex and full; 503: no capacity
  uint64_t ticket = 0;                 // for finished()
  engine::Tier tier = engine::Tier::kOnDemand;  // granted
  uint64_t queue_deadline_ms = 0;      // 0: none
};

// What it came to.
struct Usage {
  uint64_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0, reasoning_tokens = 0;
  uint64_t queue_us = 0, prompt_us = 0, completion_us = 0, first_token_us = 0;
  bool failed = false, cancelled = false;
};

class Gate {
 public:
  virtual ~Gate() = default;
  // Do any keys exist? Without them everything that is not an admin route is open (and the server binds to loopback only).
  virtual bool closed() const = 0;
  virtual Authenticated authenticate(const Credentials& credentials, bool admin_route) = 0;
  virtual Admission admit(const Identity& identity, const Price& price) = 0;
  // Exactly once for every admit() that did not refuse, also for requests that failed or were cancelled.
  virtual void finished(const Identity& identity, uint64_t ticket, const Usage& usage) = 0;
  // Headers for every answer to this key: x-ratelimit-{limit,remaining,reset}-{requests,tokens}.
  virtual std::vector<Header> headers(const Identity& identity) = 0;
};

// One finished request, for access log and metrics. Holds no text of prompts or answers and no secret.
struct RequestRecord {
  std::string id;                      // "req_..." as the client got it
  std::string trace_id;                // 32 hex digits: from the client's traceparent, or made here
  std::string method, route;           // the route's pattern, not the path as sent; "" if none matched
  std::string peer;
  std::string key_id;
  std::string model;
  std::string error_code;              // of an answer that is an error
  int status = 0;                      // 499: the client left before the answer
  uint64_t bytes_in = 0, bytes_out = 0;
  uint64_t duration_us = 0;            // from the first byte of the header to the last byte of the answer
  bool stream = false;
  Usage usage;                         // zeros for routes that compute nothing
};

// Told of everything that happens; called on the server's I/O thread, must return at once.
class TrafficObserver {
 public:
  virtual ~TrafficObserver() = default;
  virtual void request_started() {}
  virtual void request_finished(const RequestRecord&) {}
  virtual void connection_opened() {}
  virtual void connection_closed() {}
  virtual void connection_refused(std::string_view /*reason*/) {}  // "too many", "too many of one address"
};

}  // namespace sluice::server
