// One request and its answer. A handler gets an Exchange and either responds at once, or attaches a source that the server asks for bytes whenever
// somebody (the engine's thread, through a sink) wakes it and the socket has room.
// Contract: respond(), begin(), attach(), wake() and closed() may be called from any thread and never wait; a source's members run on the I/O thread only
// and must be quick. The exchange is dropped when its answer has been written or its client has gone. Next: router.h, http.h, answer.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/admission.h"

namespace sluice::server {

struct HttpRequest {
  std::string method;                  // as sent; methods are case-sensitive
  std::string target;                  // as sent
  std::string path;                    // of the target, percent-decoded
  std::vector<std::pair<std::string, std::string>> query;  // percent-decoded
  std::vector<Header> headers;         // in order
  std::string body;
  std::vector<std::string> path_values;  // of the {names} in the route's pattern, in order
  std::string peer;                    // "127.0.0.1:50124", "[::1]:50124", "unix"
  bool loopback = false;               // the peer is this machine
  bool tls = false;
  bool admin_port = false;
  uint64_t arrived_us = 0;             // steady clock, when the header began

  // The first field of that name (any case); empty if there is none.
  std::string_view header(std::string_view name) const;
  std::string_view query_value(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<Header> headers;
  std::string body;
};

class Exchange;

// What an answer that takes time comes from.
class AnswerSource {
 public:
  enum class State : uint8_t {
    kMore,  // nothing now; wake() will tell
    kFull,  // there is more, but `room` is used up: ask again when the socket has taken it
    kEnd,   // that was all
  };
  virtual ~AnswerSource() = default;
  // Either appends to `out` what can be sent now (after begin()), about `room` bytes at most; or calls exchange.respond() and returns kEnd.
  virtual State pull(Exchange& exchange, std::string& out, size_t room) = 0;
  // The client is gone, or too slow; pull() is not called again.
  virtual void closed() = 0;
  // The server is going away: pull() is called once more at least and should end the answer with an error.
  virtual void interrupted() { closed(); }
};

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  virtual ~Exchange() = default;

  const HttpRequest& request() const { return request_; }
  const Identity& identity() const { return identity_; }
  const std::string& id() const { return record_.id; }  // also the header x-request-id of the answer
  // For the access log; the I/O thread's, so for sources in pull(). Handlers use note().
  RequestRecord& record() { return record_; }
  // Any thread: what the access log should say. Empty: as before.
  void note(std::string_view model, std::string_view error_code);
  // Moves the body out (it may be megabytes).
  std::string take_body() { return std::move(request_.body); }

  // Once: the whole answer.
  virtual void respond(HttpResponse response) = 0;
  // Once, instead: the answer's head; its body (`response.body` first) comes from the attached source, in chunks.
  virtual void begin(HttpResponse head) = 0;
  // Once, before the first wake().
  virtual void attach(std::shared_ptr<AnswerSource> source) = 0;
  // The source has something. Many wakes between two pulls are one; allocates nothing, one write to an eventfd at most.
  virtual void wake() = 0;
  virtual bool closed() const = 0;

 protected:
  HttpRequest request_;
  Identity identity_;
  RequestRecord record_;
  std::mutex note_mutex_;
  std::string noted_model_, noted_error_;
};

}  // namespace sluice::server
