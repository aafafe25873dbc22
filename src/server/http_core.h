// What the I/O thread's parts share: options, the io_context, the list of connections, the workers, and the hub through which other threads wake it.
// Contract: members are for the I/O thread unless they say otherwise. Next: http.cc, connection.cc.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "server/connection.h"
#include "server/worker_pool.h"

namespace sluice::server {

struct HttpCore : std::enable_shared_from_this<HttpCore> {
  HttpCore(const HttpOptions& options_in, const Router& router_in, Gate& gate_in, TrafficObserver* observer_in);
  ~HttpCore();

  // Any thread.
  void push(ServerExchange& exchange);

  Status open_hub();
  void await_hub();
  void drain_hub();
  void tick();
  uint64_t now_ms() const;
  std::string make_id(std::string_view prefix);
  std::string make_trace_id();
  const std::string& date();
  void forget(Connection& connection);

  const HttpOptions options;
  const Router& router;
  Gate& gate;
  TrafficObserver* observer;
  boost::asio::io_context io{1};
  boost::asio::steady_timer timer{io};
  uint32_t tick_ms = 250;
  std::unordered_map<uint64_t, std::shared_ptr<Connection>> connections;
  std::unordered_map<std::string, uint32_t> per_address;
  std::atomic<uint32_t> connection_count{0};
  uint64_t body_bytes = 0;   // of all requests
  uint64_t next_connection = 1;
  std::atomic<bool> draining{false};
  std::atomic<bool> stopped{false};
  uint64_t drain_until_ms = 0;
  bool interrupted = false;
  std::unique_ptr<WorkerPool> workers;

  std::mutex done_mutex;
  std::condition_variable done_cv;
  bool done = false;         // drained or stopped

 private:
  int hub_fd_ = -1;
  std::unique_ptr<boost::asio::posix::stream_descriptor> hub_;
  std::atomic<ServerExchange*> hub_list_{nullptr};
  std::atomic<bool> hub_notified_{false};
  uint64_t random_ = 0;
  std::string date_;
  int64_t date_second_ = -1;
};

}  // namespace sluice::server
