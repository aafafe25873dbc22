// A connected byte stream whose kind (TCP, Unix, TLS) is behind one virtual border, so that connection.cc is compiled once.
// Contract: used on the I/O thread only; at most one read and one write at a time; after close() every pending operation ends with an error.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/system/error_code.hpp>

#include "base/result.h"
#include "server/http.h"

namespace sluice::server {

class TransportEvents {
 public:
  virtual ~TransportEvents() = default;
  virtual void on_handshake(const boost::system::error_code& ec) = 0;
  virtual void on_read(const boost::system::error_code& ec, size_t bytes) = 0;
  virtual void on_written(const boost::system::error_code& ec, size_t bytes) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // The events object is kept alive until its event has come.
  virtual void handshake(std::shared_ptr<TransportEvents> events) = 0;
  virtual void read_some(void* to, size_t bytes, std::shared_ptr<TransportEvents> events) = 0;
  virtual void write_some(const void* from, size_t bytes, std::shared_ptr<TransportEvents> events) = 0;
  // How many of them the socket takes at once, without an event: 0 where it would wait, has failed, or cannot say (TLS); write_some() then tells which.
  virtual size_t write_now(const void* from, size_t bytes) = 0;
  virtual void shutdown_send() = 0;
  virtual void close() = 0;
};

std::unique_ptr<Transport> make_transport(boost::asio::ip::tcp::socket socket);
std::unique_ptr<Transport> make_transport(boost::asio::local::stream_protocol::socket socket);
std::unique_ptr<Transport> make_transport(boost::asio::ip::tcp::socket socket, std::shared_ptr<boost::asio::ssl::context> context);

// TLS 1.2 and later, no renegotiation, no compression. Errors name the file and OpenSSL's reason; an expired certificate is one.
Result<std::shared_ptr<boost::asio::ssl::context>> make_tls_context(const TlsOptions& options);

}  // namespace sluice::server
