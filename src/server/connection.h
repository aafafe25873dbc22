// One client connection: reads a request at a time, answers it, goes on. Everything here runs on the I/O thread; what other threads do to an exchange
// arrives through the hub (http_core.h).
// Contract: at most kInputBytes of input, kResponseBufferBytes of output and one request's body are held. Next: http_core.h, http_parser.h, transport.h.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/exchange.h"
#include "server/http_parser.h"
#include "server/router.h"
#include "server/transport.h"

namespace sluice::server {

struct HttpCore;
class Connection;

// Both sides of a request: handlers' threads and the connection.
class ServerExchange final : public Exchange {
 public:
  ServerExchange(std::shared_ptr<HttpCore> core, std::shared_ptr<Connection> connection) : core_(std::move(core)), connection_(std::move(connection)) {}

  void respond(HttpResponse response) override;
  void begin(HttpResponse head) override;
  void attach(std::shared_ptr<AnswerSource> source) override;
  void wake() override;
  bool closed() const override { return closed_.load(std::memory_order_acquire); }

 private:
  friend class Connection;
  friend struct HttpCore;

  const std::shared_ptr<HttpCore> core_;    // the hub must be there for a wake() that comes late
  std::shared_ptr<Connection> connection_;  // I/O thread; null once the answer is over

  std::mutex mutex_;                        // for the three below
  std::optional<HttpResponse> response_;    // given and not yet taken
  bool response_streams_ = false;
  bool answered_ = false;                   // respond() or begin() has been called
  std::shared_ptr<AnswerSource> source_;

  std::atomic<bool> closed_{false};
  std::atomic<bool> woken_{false};
  ServerExchange* next_ = nullptr;          // in the hub's list
  std::shared_ptr<Exchange> self_;          // while in the hub's list
};

class Connection final : public TransportEvents, public std::enable_shared_from_this<Connection> {
 public:
  Connection(HttpCore& core, uint64_t id, std::unique_ptr<Transport> transport, const Listen& listen, std::string peer, std::string address, bool loopback);
  ~Connection() override;

  void start();
  // The hub: the exchange has an answer, or its source has something.
  void pump(ServerExchange& exchange);
  void on_tick(uint64_t now_ms);
  // No further request; closes at once if none is running.
  void drain();
  // Ends what runs with an error, then closes.
  void interrupt();
  void close();

  uint64_t id() const { return id_; }
  const std::string& address() const { return address_; }

  void on_handshake(const boost::system::error_code& ec) override;
  void on_read(const boost::system::error_code& ec, size_t bytes) override;
  void on_written(const boost::system::error_code& ec, size_t bytes) override;

 private:
  enum class At : uint8_t { kHandshake, kIdle, kHeader, kBody, kHandling, kLinger, kClosed };

  void read();
  void advance();
  void on_head();
  Refused check_origin(const HttpRequest& request, bool open, std::string& cors_origin) const;
  Refused authenticate(const HttpRequest& request);
  void dispatch();
  void answer_error(const ApiError& error, std::vector<Header> more = {});
  void take_response(HttpResponse response, bool streams);
  void pull_source();
  void append_chunk(const std::string& bytes);
  bool write_now();
  void write();
  void answer_written();
  void finish_record(bool client_left);
  void next_request();
  void linger();

  HttpCore& core_;
  const uint64_t id_;
  std::unique_ptr<Transport> transport_;
  const Listen& listen_;
  const std::string peer_;
  const std::string address_;  // of the peer, without the port
  const bool loopback_;

  At at_ = At::kHandshake;
  RequestParser parser_;
  std::string input_;          // read and not yet parsed
  std::string read_buffer_;
  bool reading_ = false, writing_ = false;
  bool draining_ = false, interrupted_ = false;

  // The running request.
  std::shared_ptr<ServerExchange> exchange_;
  const Route* route_ = nullptr;
  ErrorShape errors_ = ErrorShape::kOpenAi;
  std::string cors_origin_;
  bool body_read_ = false;     // the request's bytes have all been taken
  bool keep_alive_ = false;
  bool begun_ = false, streaming_ = false, chunked_ = false, head_only_ = false, ended_ = false;
  uint64_t body_counted_ = 0;  // in the core's sum

  std::string out_, writing_out_;
  size_t written_ = 0;         // of writing_out_
  std::string scratch_;
  uint64_t deadline_ms_ = 0;   // 0: none
  uint64_t body_started_ms_ = 0;
  uint64_t bytes_out_ = 0;
};

}  // namespace sluice::server
