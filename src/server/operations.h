// What an operator sees of the traffic: /metrics and the access log, fed by the server's observer calls.
// Contract: the calls come on the server's I/O thread and return at once (they count, and hand a line to the log's thread). What is logged of a request:
// who (the key's id), what route, what came of it and what it took; never what was asked or answered. Next: metrics.h, log.h, admin_routes.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "engine/engine.h"
#include "server/admission.h"
#include "server/key_gate.h"
#include "server/log.h"
#include "server/metrics.h"

namespace sluice::server {

class Operations final : public TrafficObserver {
 public:
  // `access` may be null: no access log. Both outlive it.
  explicit Operations(Log* access);

  void request_started() override;
  void request_finished(const RequestRecord& record) override;
  void connection_opened() override;
  void connection_closed() override;
  void connection_refused(std::string_view reason) override;

  // Gauges of the engine, the gate and the plan; what they read must outlive this.
  void watch_engine(std::function<engine::EngineStatistics()> read);
  void watch_gate(const KeyGate& gate);
  void watch_log(const Log& log);
  void watch_memory(uint64_t planned_bytes);
  Metrics& metrics() { return metrics_; }
  const Metrics& metrics() const { return metrics_; }

 private:
  void count_tokens(const RequestRecord& record);

  Metrics metrics_;
  Log* access_;
  std::atomic<int64_t> in_flight_{0};
  std::atomic<int64_t> connections_{0};
};

// The access log's line of one request.
Fields access_fields(const RequestRecord& record);

}  // namespace sluice::server
