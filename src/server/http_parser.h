// Bytes of a connection to requests, one after the other; no sockets. Boost.Beast reads the grammar of HTTP/1.1, this adds the limits and refuses what
// two readers could understand differently (RFC 9112 sections 6 and 11.2): any second Content-Length or Host, Content-Length beside Transfer-Encoding, codings
// other than "chunked", folded lines, Transfer-Encoding in HTTP/1.0, compressed bodies.
// Contract: holds at most kHttpHeaderBytesMax of header and body_limit() of body, whatever comes in. Next: connection.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "server/exchange.h"

namespace sluice::server {

struct ParseFailure {
  int status = 400;
  std::string message;
};

class RequestParser {
 public:
  enum class State : uint8_t {
    kStart,   // no byte of a request yet
    kHeader,  // inside the header
    kHead,    // the header is there: look at request(), set the limit, call read_body()
    kBody,
    kDone,
    kFailed,
  };

  RequestParser();
  ~RequestParser();

  // Takes bytes until the next kHead, kDone or kFailed; returns how many. What is not taken belongs to the next request, or is to be offered again
  // together with more.
  size_t feed(std::string_view bytes);
  // After kHead.
  void read_body(uint64_t body_bytes_max);

  State state() const;
  const ParseFailure& failure() const;          // kFailed
  HttpRequest& request();
  // From kHead on.
  bool keep_alive() const;
  bool version_1_0() const;
  bool expects_continue() const;
  bool has_body() const;
  std::optional<uint64_t> content_length() const;

  // For the next request on the connection.
  void reset();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "%41" to "A"; false for a cut or wrong escape and for NUL. '+' stays, or becomes a blank in queries.
bool percent_decode(std::string_view text, bool plus_is_blank, std::string& out);

}  // namespace sluice::server
