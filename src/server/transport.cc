#include "server/transport.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <type_traits>
#include <utility>

namespace sluice::server {
namespace {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;

template <class Stream>
class StreamTransport final : public Transport {
 public:
  template <class... Arguments>
  explicit StreamTransport(Arguments&&... arguments) : stream_(std::forward<Arguments>(arguments)...) {}

  void handshake(std::shared_ptr<TransportEvents> events) override {
    if constexpr (kTls) {
      stream_.async_handshake(net::ssl::stream_base::server, [e = std::move(events)](const error_code& ec) { e->on_handshake(ec); });
    } else {
      net::post(stream_.get_executor(), [e = std::move(events)] { e->on_handshake({}); });
    }
  }
  void read_some(void* to, size_t bytes, std::shared_ptr<TransportEvents> events) override {
    stream_.async_read_some(net::mutable_buffer(to, bytes), [e = std::move(events)](const error_code& ec, size_t n) { e->on_read(ec, n); });
  }
  void write_some(const void* from, size_t bytes, std::shared_ptr<TransportEvents> events) override {
    stream_.async_write_some(net::const_buffer(from, bytes), [e = std::move(events)](const error_code& ec, size_t n) { e->on_written(ec, n); });
  }
  size_t write_now(const void* from, size_t bytes) override {
    if constexpr (kTls) return 0;
    const ssize_t taken = ::send(stream_.lowest_layer().native_handle(), from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    return taken > 0 ? static_cast<size_t>(taken) : 0;
  }
  void shutdown_send() override {
    error_code ec;
    // Tells the peer that no more will come; whether it waits for it is its business.
    if constexpr (kTls) SSL_shutdown(stream_.native_handle());
    stream_.lowest_layer().shutdown(net::socket_base::shutdown_send, ec);
  }
  void close() override {
    error_code ec;
    stream_.lowest_layer().close(ec);
  }

 private:
  static constexpr bool kTls = std::is_same_v<Stream, net::ssl::stream<tcp::socket>>;
  Stream stream_;
};

class TlsTransport final : public Transport {
 public:
  TlsTransport(tcp::socket socket, std::shared_ptr<net::ssl::context> context) : context_(std::move(context)), inner_(std::move(socket), *context_) {}
  void handshake(std::shared_ptr<TransportEvents> events) override { inner_.handshake(std::move(events)); }
  void read_some(void* to, size_t bytes, std::shared_ptr<TransportEvents> events) override { inner_.read_some(to, bytes, std::move(events)); }
  void write_some(const void* from, size_t bytes, std::shared_ptr<TransportEvents> events) override { inner_.write_some(from, bytes, std::move(events)); }
  size_t write_now(const void* from, size_t bytes) override { return inner_.write_now(from, bytes); }
  void shutdown_send() override { inner_.shutdown_send(); }
  void close() override { inner_.close(); }

 private:
  std::shared_ptr<net::ssl::context> context_;  // outlives the stream, also after a reload
  StreamTransport<net::ssl::stream<tcp::socket>> inner_;
};

std::string openssl_reason(const error_code& ec) {
  std::string text = ec.message();
  ERR_clear_error();
  return text;
}

}  // namespace

std::unique_ptr<Transport> make_transport(tcp::socket socket) { return std::make_unique<StreamTransport<tcp::socket>>(std::move(socket)); }

std::unique_ptr<Transport> make_transport(net::local::stream_protocol::socket socket) {
  return std::make_unique<StreamTransport<net::local::stream_protocol::socket>>(std::move(socket));
}

std::unique_ptr<Transport> make_transport(tcp::socket socket, std::shared_ptr<net::ssl::context> context) {
  return std::make_unique<TlsTransport>(std::move(socket), std::move(context));
}

Result<std::shared_ptr<net::ssl::context>> make_tls_context(const TlsOptions& options) {
  auto context = std::make_shared<net::ssl::context>(net::ssl::context::tls_server);
  SSL_CTX* ctx = context->native_handle();
  SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);  // 34 KiB less for a connection that waits
  SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
  error_code ec;
  context->use_certificate_chain_file(options.certificate_file, ec);
  if (ec) return Error{fmt::format("the TLS certificate {} cannot be used: {}", options.certificate_file, openssl_reason(ec))};
  context->use_private_key_file(options.key_file, net::ssl::context::pem, ec);
  if (ec) return Error{fmt::format("the TLS key {} cannot be used: {}", options.key_file, openssl_reason(ec))};
  if (SSL_CTX_check_private_key(ctx) != 1) {
    ERR_clear_error();
    return Error{fmt::format("the TLS key {} does not belong to the certificate {}", options.key_file, options.certificate_file)};
  }
  const X509* certificate = SSL_CTX_get0_certificate(ctx);
  if (certificate && X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) {
    return Error{fmt::format("the TLS certificate {} has expired", options.certificate_file)};
  }
  return context;
}

}  // namespace sluice::server
