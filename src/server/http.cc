#include "server/http.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <ctime>
#include <random>
#include <thread>

#include "platform/clock.h"
#include "server/http_core.h"
#include "server/response_head.h"

namespace sluice::server {

namespace net = boost::asio;
using boost::system::error_code;
using net::ip::tcp;
using Local = net::local::stream_protocol;

namespace {

constexpr uint64_t kAfterInterruptMs = 3000;

// Answered without a look at the request when there are too many connections.
std::string too_many_answer() {
  const std::string body = error_body(ErrorShape::kOpenAi, {.status = 503, .code = "too_many_clients", .message = "too many connections"}, "");
  return fmt::format("HTTP/1.1 503 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 1\r\nconnection: close\r\n\r\n{}",
                     reason_phrase(503), body.size(), body);
}

uint64_t mix(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

HttpCore::HttpCore(const HttpOptions& options_in, const Router& router_in, Gate& gate_in, TrafficObserver* observer_in)
    : options(options_in), router(router_in), gate(gate_in), observer(observer_in) {
  const uint32_t shortest = std::min({options.header_timeout_ms, options.idle_timeout_ms, options.body_grace_ms, options.write_stall_ms, options.drain_ms});
  tick_ms = std::clamp(shortest / 4, 5u, 250u);
  std::random_device device;
  random_ = (uint64_t{device()} << 32) | device();
}

HttpCore::~HttpCore() {
  hub_.reset();
  if (hub_fd_ >= 0) ::close(hub_fd_);
}

Status HttpCore::open_hub() {
  hub_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (hub_fd_ < 0) return Error{"no eventfd: the limit of open files is reached"};
  const int copy = dup(hub_fd_);  // the descriptor object closes its own
  if (copy < 0) return Error{"no file descriptor left for the server"};
  hub_ = std::make_unique<net::posix::stream_descriptor>(io, copy);
  await_hub();
  return {};
}

void HttpCore::await_hub() {
  hub_->async_wait(net::posix::stream_descriptor::wait_read, [this](const error_code& ec) {
    if (ec) return;
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(hub_fd_, &count, sizeof(count));
    drain_hub();
    await_hub();
  });
}

void HttpCore::push(ServerExchange& exchange) {
  if (stopped.load()) {
    exchange.self_.reset();
    return;
  }
  ServerExchange* head = hub_list_.load(std::memory_order_relaxed);
  do {
    exchange.next_ = head;
  } while (!hub_list_.compare_exchange_weak(head, &exchange, std::memory_order_acq_rel));
  if (hub_notified_.exchange(true, std::memory_order_acq_rel)) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(hub_fd_, &one, sizeof(one));
}

void HttpCore::drain_hub() {
  hub_notified_.store(false, std::memory_order_release);
  ServerExchange* list = hub_list_.exchange(nullptr, std::memory_order_acq_rel);
  ServerExchange* in_order = nullptr;
  while (list) {
    ServerExchange* next = list->next_;
    list->next_ = in_order;
    in_order = list;
    list = next;
  }
  while (in_order) {
    ServerExchange& exchange = *in_order;
    in_order = exchange.next_;
    const std::shared_ptr<Exchange> alive = std::move(exchange.self_);
    exchange.woken_.store(false, std::memory_order_release);
    // A copy: the connection may end in here.
    if (const std::shared_ptr<Connection> connection = exchange.connection_) connection->pump(exchange);
  }
}

uint64_t HttpCore::now_ms() const { return platform::now_ns() / 1'000'000; }

std::string HttpCore::make_id(std::string_view prefix) {
  const uint64_t a = mix(random_), b = mix(random_);
  return fmt::format("{}{:016x}{:08x}", prefix, a, static_cast<uint32_t>(b));
}

std::string HttpCore::make_trace_id() {
  const uint64_t a = mix(random_), b = mix(random_);
  return fmt::format("{:016x}{:016x}", a, b | 1);
}

const std::string& HttpCore::date() {
  const time_t now = std::time(nullptr);
  if (now == date_second_) return date_;
  date_second_ = now;
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[64];
  date_.assign(text, std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &utc));
  return date_;
}

void HttpCore::forget(Connection& connection) {
  if (const auto found = per_address.find(connection.address()); found != per_address.end() && --found->second == 0) per_address.erase(found);
  if (connections.erase(connection.id()) > 0) {
    connection_count.fetch_sub(1);
    if (observer) observer->connection_closed();
  }
}

void HttpCore::tick() {
  timer.expires_after(std::chrono::milliseconds(tick_ms));
  timer.async_wait([this](const error_code& ec) {
    if (ec) return;
    const uint64_t now = now_ms();
    std::vector<std::shared_ptr<Connection>> all;
    all.reserve(connections.size());
    for (const auto& [id, connection] : connections) all.push_back(connection);
    for (const auto& connection : all) connection->on_tick(now);
    if (draining.load()) {
      if (now >= drain_until_ms && !interrupted) {
        interrupted = true;
        for (const auto& connection : all) connection->interrupt();
      } else if (now >= drain_until_ms + kAfterInterruptMs) {
        for (const auto& connection : all) connection->close();
      }
      if (connections.empty()) {
        const std::lock_guard lock(done_mutex);
        done = true;
        done_cv.notify_all();
      }
    }
    tick();
  });
}

struct Listener {
  explicit Listener(net::io_context& io) : tcp_acceptor(io), local_acceptor(io), retry(io) {}
  Listen listen;
  std::string address;
  tcp::acceptor tcp_acceptor;
  Local::acceptor local_acceptor;
  net::steady_timer retry;
};

struct HttpServer::Impl {
  std::shared_ptr<HttpCore> core;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::string> addresses;
  std::mutex tls_mutex;
  std::shared_ptr<net::ssl::context> tls;
  std::thread thread;

  Status open(const Listen& listen);
  Status open_unix(Listener& listener);
  Status open_tcp(Listener& listener);
  void accept(Listener& listener);
  template <class Socket>
  void on_accept(Listener& listener, const error_code& ec, Socket socket);
  void take(Listener& listener, tcp::socket socket);
  void take(Listener& listener, Local::socket socket);
  bool admit(const std::string& address, int native_socket, bool tls_on);
  void add(std::unique_ptr<Transport> transport, const Listener& listener, std::string peer, std::string address, bool loopback);
};

Status HttpServer::Impl::open(const Listen& listen) {
  auto listener = std::make_unique<Listener>(core->io);
  listener->listen = listen;
  SLUICE_TRY_VOID(listen.unix_path.empty() ? open_tcp(*listener) : open_unix(*listener));
  addresses.push_back(listener->address);
  listeners.push_back(std::move(listener));
  return {};
}

Status HttpServer::Impl::open_unix(Listener& listener) {
  const std::string& path = listener.listen.unix_path;
  if (path.size() >= 108) return Error{fmt::format("--unix {}: the path has {} bytes, the system's limit is 107", path, path.size())};
  // A socket that nobody listens on any more is taken over; anything else is left alone.
  struct stat info {};
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return Error{fmt::format("--unix {}: there is something that is not a socket", path)};
    Local::socket probe(core->io);
    error_code ec;
    probe.connect(Local::endpoint(path), ec);
    if (!ec) return Error{fmt::format("--unix {}: another process listens there", path)};
    ::unlink(path.c_str());
  }
  error_code ec;
  listener.local_acceptor.open(Local(), ec);
  const mode_t old_mask = umask(0077);  // this user only
  if (!ec) listener.local_acceptor.bind(Local::endpoint(path), ec);
  umask(old_mask);
  if (!ec) listener.local_acceptor.listen(net::socket_base::max_listen_connections, ec);
  if (ec) return Error{fmt::format("cannot listen on {}: {}", path, ec.message())};
  listener.address = "unix:" + path;
  return {};
}

Status HttpServer::Impl::open_tcp(Listener& listener) {
  const Listen& listen = listener.listen;
  error_code ec;
  std::string host = listen.host;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  net::ip::address address = net::ip::make_address(host, ec);
  if (ec) {
    tcp::resolver resolver(core->io);
    const auto found = resolver.resolve(host, fmt::format("{}", listen.port), ec);
    if (ec || found.empty()) return Error{fmt::format("--host {}: not an address of this machine", listen.host)};
    address = found.begin()->endpoint().address();
  }
  const tcp::endpoint endpoint(address, listen.port);
  listener.tcp_acceptor.open(endpoint.protocol(), ec);
  if (!ec) listener.tcp_acceptor.set_option(net::socket_base::reuse_address(true), ec);
  if (!ec) listener.tcp_acceptor.bind(endpoint, ec);
  if (!ec) listener.tcp_acceptor.listen(net::socket_base::max_listen_connections, ec);
  if (ec) return Error{fmt::format("cannot listen on {} port {}: {}", listen.host, listen.port, ec.message())};
  const uint16_t port = listener.tcp_acceptor.local_endpoint(ec).port();
  const std::string shown = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
  listener.address = fmt::format("{}://{}:{}", listen.tls ? "https" : "http", shown, port);
  // For host_allowed(): the address that was bound, not the name that it was given by.
  if (address.is_loopback()) listener.listen.host = shown;
  return {};
}

void HttpServer::Impl::accept(Listener& listener) {
  if (listener.listen.unix_path.empty()) {
    listener.tcp_acceptor.async_accept([this, &listener](const error_code& ec, tcp::socket socket) { on_accept(listener, ec, std::move(socket)); });
  } else {
    listener.local_acceptor.async_accept([this, &listener](const error_code& ec, Local::socket socket) { on_accept(listener, ec, std::move(socket)); });
  }
}

template <class Socket>
void HttpServer::Impl::on_accept(Listener& listener, const error_code& ec, Socket socket) {
  if (ec == net::error::operation_aborted || core->stopped.load()) return;
  if (ec) {
    // Out of descriptors, most likely: those in use will come back.
    listener.retry.expires_after(std::chrono::milliseconds(100));
    listener.retry.async_wait([this, &listener](const error_code& wait) {
      if (!wait) accept(listener);
    });
    return;
  }
  take(listener, std::move(socket));
  accept(listener);
}

bool HttpServer::Impl::admit(const std::string& address, int native_socket, bool tls_on) {
  const bool many = core->connections.size() >= core->options.connections_max;
  const auto found = core->per_address.find(address);
  const bool many_of_one = found != core->per_address.end() && found->second >= core->options.connections_per_address_max;
  if (!many && !many_of_one) return true;
  if (core->observer) core->observer->connection_refused(many ? "too many" : "too many of one address");
  const std::string answer = tls_on ? std::string() : too_many_answer();
  [[maybe_unused]] const ssize_t sent = ::send(native_socket, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return false;
}

void HttpServer::Impl::take(Listener& listener, tcp::socket socket) {
  error_code ec;
  const tcp::endpoint remote = socket.remote_endpoint(ec);
  if (ec) return;
  const std::string address = remote.address().to_string();
  if (!admit(address, socket.native_handle(), listener.listen.tls)) return;
  socket.set_option(tcp::no_delay(true), ec);
  const std::string peer = remote.address().is_v6() ? fmt::format("[{}]:{}", address, remote.port()) : fmt::format("{}:{}", address, remote.port());
  const bool loopback = remote.address().is_loopback();
  std::unique_ptr<Transport> transport;
  if (listener.listen.tls) {
    const std::lock_guard lock(tls_mutex);
    transport = make_transport(std::move(socket), tls);
  } else {
    transport = make_transport(std::move(socket));
  }
  add(std::move(transport), listener, peer, address, loopback);
}

void HttpServer::Impl::take(Listener& listener, Local::socket socket) {
  if (!admit("unix", socket.native_handle(), false)) return;
  add(make_transport(std::move(socket)), listener, "unix", "unix", true);
}

void HttpServer::Impl::add(std::unique_ptr<Transport> transport, const Listener& listener, std::string peer, std::string address, bool loopback) {
  const uint64_t id = core->next_connection++;
  ++core->per_address[address];
  auto connection = std::make_shared<Connection>(*core, id, std::move(transport), listener.listen, std::move(peer), std::move(address), loopback);
  core->connections.emplace(id, connection);
  core->connection_count.fetch_add(1);
  if (core->observer) core->observer->connection_opened();
  connection->start();
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::start(const HttpOptions& options, const Router& router, Gate& gate, TrafficObserver* observer) {
  raise_descriptor_limit();
  auto impl = std::make_unique<Impl>();
  impl->core = std::make_shared<HttpCore>(options, router, gate, observer);
  if (options.tls.on()) {
    SLUICE_TRY(impl->tls, make_tls_context(options.tls));
  }
  for (const Listen& listen : options.listen) {
    if (listen.tls && !impl->tls) return Error{fmt::format("TLS on {} needs a certificate and a key", listen.host)};
    SLUICE_TRY_VOID(impl->open(listen));
  }
  SLUICE_TRY_VOID(impl->core->open_hub());
  impl->core->workers = std::make_unique<WorkerPool>(std::max(1u, options.workers), options.handlers_queued_max);
  for (const auto& listener : impl->listeners) impl->accept(*listener);
  impl->core->tick();
  impl->thread = std::thread([core = impl->core] { core->io.run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::~HttpServer() {
  HttpCore& core = *impl_->core;
  net::post(core.io, [this, &core] {
    core.stopped.store(true);
    core.timer.cancel();
    for (const auto& listener : impl_->listeners) {
      error_code ec;
      listener->tcp_acceptor.close(ec);
      listener->local_acceptor.close(ec);
      listener->retry.cancel();
    }
    std::vector<std::shared_ptr<Connection>> all;
    for (const auto& [id, connection] : core.connections) all.push_back(connection);
    for (const auto& connection : all) connection->close();
    core.io.stop();
  });
  if (impl_->thread.joinable()) impl_->thread.join();
  core.workers.reset();
  core.drain_hub();
  core.io.restart();
  core.io.poll();  // handlers that hold connections are run or dropped
  for (const auto& listener : impl_->listeners) {
    if (!listener->listen.unix_path.empty()) ::unlink(listener->listen.unix_path.c_str());
  }
  const std::lock_guard lock(core.done_mutex);
  core.done = true;
  core.done_cv.notify_all();
}

const std::vector<std::string>& HttpServer::addresses() const { return impl_->addresses; }

void HttpServer::drain() {
  HttpCore& core = *impl_->core;
  if (core.draining.exchange(true)) return;
  net::post(core.io, [&core] {
    core.drain_until_ms = core.now_ms() + core.options.drain_ms;
    std::vector<std::shared_ptr<Connection>> all;
    for (const auto& [id, connection] : core.connections) all.push_back(connection);
    for (const auto& connection : all) connection->drain();
  });
}

bool HttpServer::draining() const { return impl_->core->draining.load(); }

bool HttpServer::wait_for(uint32_t ms) {
  std::unique_lock lock(impl_->core->done_mutex);
  return impl_->core->done_cv.wait_for(lock, std::chrono::milliseconds(ms), [&] { return impl_->core->done; });
}

Status HttpServer::reload_tls() {
  if (!impl_->core->options.tls.on()) return {};
  SLUICE_TRY(auto fresh, make_tls_context(impl_->core->options.tls));
  const std::lock_guard lock(impl_->tls_mutex);
  impl_->tls = std::move(fresh);
  return {};
}

uint32_t HttpServer::connections() const { return impl_->core->connection_count.load(); }

}  // namespace sluice::server
