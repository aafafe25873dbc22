#include "server/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <charconv>

#include "server/http_core.h"
#include "server/response_head.h"

namespace sluice::server {
namespace {

constexpr size_t kInputBytes = 64 * 1024;
constexpr size_t kReadBytes = 4 * 1024;        // while a header or nothing is expected
constexpr size_t kBodyReadBytes = 64 * 1024;
constexpr size_t kBufferKeptBytes = 16 * 1024;  // between requests
constexpr uint64_t kLingerMs = 1000;
constexpr uint64_t kInterruptedMs = 2000;      // to take the last error event

using boost::system::error_code;

}  // namespace

// --- ServerExchange: any thread.

void ServerExchange::respond(HttpResponse response) {
  {
    const std::lock_guard lock(mutex_);
    if (answered_) return;
    answered_ = true;
    response_ = std::move(response);
  }
  wake();
}

void ServerExchange::begin(HttpResponse head) {
  {
    const std::lock_guard lock(mutex_);
    if (answered_) return;
    answered_ = response_streams_ = true;
    response_ = std::move(head);
  }
  wake();
}

void ServerExchange::attach(std::shared_ptr<AnswerSource> source) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed()) {
      source_ = std::move(source);
      return;
    }
  }
  source->closed();
}

void ServerExchange::wake() {
  if (closed() || woken_.exchange(true, std::memory_order_acq_rel)) return;
  self_ = shared_from_this();
  core_->push(*this);
}

// --- Connection: the I/O thread.

Connection::Connection(HttpCore& core, uint64_t id, std::unique_ptr<Transport> transport, const Listen& listen, std::string peer, std::string address,
                       bool loopback)
    : core_(core), id_(id), transport_(std::move(transport)), listen_(listen), peer_(std::move(peer)), address_(std::move(address)), loopback_(loopback) {}

Connection::~Connection() = default;

void Connection::start() {
  deadline_ms_ = core_.now_ms() + core_.options.header_timeout_ms;
  transport_->handshake(shared_from_this());
}

void Connection::on_handshake(const error_code& ec) {
  if (at_ == At::kClosed) return;
  if (ec) return close();
  at_ = At::kIdle;
  deadline_ms_ = core_.now_ms() + core_.options.idle_timeout_ms;
  read();
}

void Connection::read() {
  if (reading_ || at_ == At::kClosed || input_.size() >= kInputBytes) return;
  reading_ = true;
  read_buffer_.resize(at_ == At::kBody ? kBodyReadBytes : kReadBytes);
  transport_->read_some(read_buffer_.data(), read_buffer_.size(), shared_from_this());
}

void Connection::on_read(const error_code& ec, size_t bytes) {
  reading_ = false;
  if (at_ == At::kClosed) return;
  if (ec) {
    // A whole answer on its way is still written: some clients end their side after the request.
    if (at_ == At::kHandling && ended_ && ec == boost::asio::error::eof) {
      keep_alive_ = false;
      return;
    }
    return close();
  }
  if (at_ == At::kLinger) return read();
  input_.append(read_buffer_, 0, bytes);
  if (at_ == At::kHandling) return read();  // the next request, ahead of its time
  advance();
}

void Connection::advance() {
  while (at_ == At::kIdle || at_ == At::kHeader || at_ == At::kBody) {
    const uint64_t before = parser_.request().body.size();
    const size_t used = parser_.feed(input_);
    input_.erase(0, used);
    switch (parser_.state()) {
      case RequestParser::State::kStart: return read();
      case RequestParser::State::kHeader:
        if (at_ == At::kIdle) {
          at_ = At::kHeader;
          deadline_ms_ = core_.now_ms() + core_.options.header_timeout_ms;
          parser_.request().arrived_us = steady_us();
        }
        return read();
      case RequestParser::State::kHead:
        on_head();
        break;
      case RequestParser::State::kBody: {
        const uint64_t grown = parser_.request().body.size() - before;
        body_counted_ += grown;
        core_.body_bytes += grown;
        if (core_.body_bytes > core_.options.body_bytes_in_flight_max) {
          return answer_error({.status = 503, .code = "server_overloaded", .message = "too many bytes of requests are being read", .retry_after_s = 1});
        }
        if (used == 0 && input_.size() >= kInputBytes) return answer_error(bad_request("", "malformed chunked body", "invalid_http"));
        return read();
      }
      case RequestParser::State::kDone: {
        const uint64_t grown = parser_.request().body.size() - std::min<uint64_t>(before, parser_.request().body.size());
        body_counted_ += grown;
        core_.body_bytes += grown;
        body_read_ = true;
        return dispatch();
      }
      case RequestParser::State::kFailed: {
        const ParseFailure& failure = parser_.failure();
        return answer_error({.status = failure.status, .code = "invalid_http", .message = failure.message});
      }
    }
  }
}

void Connection::on_head() {
  HttpRequest& request = parser_.request();
  if (request.arrived_us == 0) request.arrived_us = steady_us();
  request.peer = peer_;
  request.loopback = loopback_;
  request.tls = listen_.tls;
  request.admin_port = listen_.admin;
  keep_alive_ = parser_.keep_alive() && !draining_ && !core_.draining.load();
  chunked_ = !parser_.version_1_0();
  head_only_ = request.method == "HEAD";
  body_read_ = !parser_.has_body();

  exchange_ = std::make_shared<ServerExchange>(core_.shared_from_this(), shared_from_this());
  RequestRecord& record = exchange_->record_;
  record.id = core_.make_id("req_");
  record.trace_id = trace_id_of(request.header("traceparent"));
  if (record.trace_id.empty()) record.trace_id = core_.make_trace_id();
  record.method = request.method;
  record.peer = peer_;
  if (core_.observer) core_.observer->request_started();

  Match match = core_.router.find(request.method, request.path, listen_.admin);
  const bool open = match.route && match.route->access == Access::kOpen;
  if (const Refused refused = check_origin(request, open, cors_origin_)) return answer_error(*refused);
  if (request.method == "OPTIONS" && !cors_origin_.empty() && !request.header("access-control-request-method").empty()) {
    HttpResponse response{.status = 204, .content_type = "", .headers = preflight_headers(), .body = ""};
    return take_response(std::move(response), false);
  }
  route_ = match.route;
  errors_ = route_ ? route_->errors : request.path.starts_with("/v1/messages") ? ErrorShape::kAnthropic : ErrorShape::kOpenAi;
  if (route_) record.route = route_->pattern;
  if (!open) {
    if (const Refused refused = authenticate(request)) return answer_error(*refused);
  }
  if (!route_) {
    if (match.allow.empty()) {
      return answer_error({.status = 404, .code = "not_found", .message = fmt::format("there is no {} {}", request.method, shown_path(request.path))});
    }
    return answer_error({.status = 405, .code = "method_not_allowed", .message = fmt::format("{} takes {}", shown_path(request.path), match.allow)},
                        {{"allow", match.allow}});
  }
  if (core_.draining.load() && !open) {
    return answer_error({.status = 503, .code = "server_draining", .message = "the server is going down", .retry_after_s = 5});
  }
  request.path_values = std::move(match.values);
  const uint64_t body_bytes = parser_.content_length().value_or(0);
  if (body_bytes > 0 && core_.body_bytes + body_bytes > core_.options.body_bytes_in_flight_max && body_bytes <= route_->body_bytes_max) {
    return answer_error({.status = 503, .code = "server_overloaded", .message = "too many bytes of requests are being read", .retry_after_s = 1});
  }
  if (parser_.expects_continue() && parser_.has_body() && body_bytes <= route_->body_bytes_max) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    write();
  }
  parser_.read_body(route_->body_bytes_max);
  at_ = At::kBody;
  deadline_ms_ = 0;
  body_started_ms_ = core_.now_ms();
}

// Probes ask by the address that they happen to know, so an open route, which tells nothing, answers to any Host.
Refused Connection::check_origin(const HttpRequest& request, bool open, std::string& cors_origin) const {
  cors_origin.clear();
  const std::string_view host = request.header("host");
  if (!open && listen_.unix_path.empty() && !host_allowed(host_name(host), listen_, core_.options.hosts_allowed)) {
    return ApiError{.status = 403, .code = "host_not_allowed", .message = fmt::format("the Host '{}' is not one that this server answers for (--allow-host)",
                                                                                      host.substr(0, 80))};
  }
  const std::string_view origin = request.header("origin");
  if (origin.empty() || same_origin(origin, host)) return {};
  const auto& allowed = core_.options.origins_allowed;
  if (std::find(allowed.begin(), allowed.end(), "*") != allowed.end() || std::find(allowed.begin(), allowed.end(), origin) != allowed.end()) {
    cors_origin = origin;
    return {};
  }
  return ApiError{.status = 403, .code = "origin_not_allowed", .message = fmt::format("pages from '{}' may not call this server (--allow-origin)",
                                                                                      origin.substr(0, 80))};
}

Refused Connection::authenticate(const HttpRequest& request) {
  Credentials credentials{.secret = secret_of(request), .peer = peer_, .loopback = loopback_};
  Authenticated result = core_.gate.authenticate(credentials, listen_.admin);
  if (result.refusal.refused()) return to_api_error(result.refusal);
  exchange_->identity_ = std::move(result.identity);
  exchange_->record_.key_id = exchange_->identity_.key_id;
  return {};
}

void Connection::dispatch() {
  at_ = At::kHandling;
  deadline_ms_ = 0;
  exchange_->request_ = std::move(parser_.request());
  exchange_->record_.bytes_in = exchange_->request_.body.size();
  const auto run = [exchange = exchange_, route = route_] {
    // The last net: memory that is not there, a library's exception. The request fails, nothing else.
    try {
      if (!exchange->closed()) route->handler(exchange);
    } catch (const std::exception&) {
      exchange->respond(error_response(route->errors, {.status = 500, .code = "internal_error", .message = "the request failed inside the server"},
                                       exchange->id()));
    }
  };
  if (route_->fast) {
    run();
  } else if (!core_.workers->post(run)) {
    return answer_error({.status = 503, .code = "server_overloaded", .message = "too many requests are waiting to be read", .retry_after_s = 1});
  }
  read();  // to hear when the client goes
}

// An answer of ours before, or instead of, the handler's.
void Connection::answer_error(const ApiError& error, std::vector<Header> more) {
  if (!exchange_) {
    exchange_ = std::make_shared<ServerExchange>(core_.shared_from_this(), shared_from_this());
    exchange_->record_.id = core_.make_id("req_");
    exchange_->record_.trace_id = core_.make_trace_id();
    exchange_->record_.peer = peer_;
    if (core_.observer) core_.observer->request_started();
  }
  exchange_->record_.error_code = error.code;
  HttpResponse response = error_response(errors_, error, exchange_->id());
  std::move(more.begin(), more.end(), std::back_inserter(response.headers));
  if (error.status == 401) response.headers.push_back({"www-authenticate", "Bearer"});
  if (error.status == 401 && route_ && route_->page) {
    response.content_type = route_->page->content_type;
    response.body = route_->page->body;
    response.headers.insert(response.headers.end(), route_->page->headers.begin(), route_->page->headers.end());
  }
  {
    const std::lock_guard lock(exchange_->mutex_);
    exchange_->answered_ = true;
  }
  take_response(std::move(response), false);
}

void Connection::pump(ServerExchange& exchange) {
  if (at_ == At::kClosed || &exchange != exchange_.get() || ended_) return;
  std::optional<HttpResponse> response;
  bool streams = false;
  {
    const std::lock_guard lock(exchange.mutex_);
    response.swap(exchange.response_);
    streams = exchange.response_streams_;
  }
  if (response) take_response(std::move(*response), streams);
  if (exchange_) pull_source();
}

void Connection::take_response(HttpResponse response, bool streams) {
  at_ = At::kHandling;
  begun_ = true;
  streaming_ = streams && !head_only_;
  ended_ = !streaming_;
  if (!body_read_) keep_alive_ = false;
  if (streaming_ && !chunked_) keep_alive_ = false;
  if (draining_ || core_.draining.load()) keep_alive_ = false;
  exchange_->record_.status = response.status;
  exchange_->record_.stream = streams;
  if (route_ && route_->access == Access::kKey && core_.gate.closed()) {
    for (Header& header : core_.gate.headers(exchange_->identity_)) response.headers.push_back(std::move(header));
  }
  const ResponseHead head{.keep_alive = keep_alive_, .chunked = streaming_ && chunked_, .until_close = streaming_ && !chunked_, .cors_origin = cors_origin_,
                          .request_id = exchange_->id(), .date = core_.date()};
  append_response_head(response, head, out_);
  if (!head_only_ && !streaming_) out_ += response.body;
  if (streaming_ && !response.body.empty()) append_chunk(response.body);
  write();
}

void Connection::append_chunk(const std::string& bytes) {
  if (chunked_) {
    std::array<char, 18> size;  // hexadecimal
    char* const end = std::to_chars(size.data(), size.data() + 16, bytes.size(), 16).ptr;
    out_.append(size.data(), end).append("\r\n");
  }
  out_ += bytes;
  if (chunked_) out_ += "\r\n";
}

void Connection::pull_source() {
  std::shared_ptr<AnswerSource> source;
  {
    const std::lock_guard lock(exchange_->mutex_);
    source = exchange_->source_;
  }
  if (!source || ended_ || out_.size() >= limits::kResponseBufferBytes) return;
  scratch_.clear();
  AnswerSource::State state = AnswerSource::State::kEnd;
  try {
    state = source->pull(*exchange_, scratch_, limits::kResponseBufferBytes - out_.size());
  } catch (const std::exception&) {
    if (begun_) return close();
    source->closed();
    return answer_error({.status = 500, .code = "internal_error", .message = "the request failed inside the server"});
  }
  std::optional<HttpResponse> response;
  bool streams = false;
  {
    const std::lock_guard lock(exchange_->mutex_);
    response.swap(exchange_->response_);
    streams = exchange_->response_streams_;
    if (state == AnswerSource::State::kEnd) exchange_->source_.reset();
  }
  if (response) take_response(std::move(*response), streams);
  if (streaming_ && !scratch_.empty()) append_chunk(scratch_);
  if (state == AnswerSource::State::kEnd && !ended_) {
    if (!begun_) return answer_error({.status = 500, .code = "internal_error", .message = "the answer ended before it began"});
    if (chunked_) out_ += "0\r\n\r\n";
    ended_ = true;
  }
  // An event of a stream goes out at once; where there is more to pull, the others on this thread go first.
  if (state == AnswerSource::State::kFull || !write_now()) write();
  if (ended_ && !writing_ && out_.empty()) answer_written();
}

// True: the socket took all of it and nothing is to be waited for.
bool Connection::write_now() {
  if (writing_ || at_ == At::kClosed || out_.empty()) return false;
  const size_t taken = transport_->write_now(out_.data(), out_.size());
  bytes_out_ += taken;
  out_.erase(0, taken);
  return out_.empty();
}

void Connection::write() {
  if (writing_ || at_ == At::kClosed || out_.empty()) return;
  std::swap(out_, writing_out_);
  out_.clear();
  written_ = 0;
  writing_ = true;
  deadline_ms_ = core_.now_ms() + core_.options.write_stall_ms;
  transport_->write_some(writing_out_.data(), writing_out_.size(), shared_from_this());
}

void Connection::on_written(const error_code& ec, size_t bytes) {
  if (at_ == At::kClosed) {
    writing_ = false;
    return;
  }
  if (ec) {
    writing_ = false;
    return close();
  }
  written_ += bytes;
  bytes_out_ += bytes;
  if (written_ < writing_out_.size()) {
    deadline_ms_ = core_.now_ms() + core_.options.write_stall_ms;
    return transport_->write_some(writing_out_.data() + written_, writing_out_.size() - written_, shared_from_this());
  }
  writing_ = false;
  if (at_ == At::kHandling && !interrupted_) deadline_ms_ = 0;
  if (!out_.empty()) return write();
  if (at_ != At::kHandling) return;
  if (ended_) return answer_written();
  pull_source();
}

void Connection::answer_written() {
  finish_record(false);
  if (!keep_alive_ || draining_) return linger();
  next_request();
}

void Connection::finish_record(bool client_left) {
  if (!exchange_) return;
  std::shared_ptr<AnswerSource> source;
  {
    const std::lock_guard lock(exchange_->mutex_);
    exchange_->closed_.store(true, std::memory_order_release);
    source = std::move(exchange_->source_);
    exchange_->source_.reset();
  }
  if (source) source->closed();
  RequestRecord& record = exchange_->record_;
  {
    const std::lock_guard lock(exchange_->note_mutex_);
    record.model = exchange_->noted_model_;
    if (record.error_code.empty()) record.error_code = exchange_->noted_error_;
  }
  if (client_left && !ended_) record.status = 499;
  record.bytes_out = bytes_out_;
  record.duration_us = steady_us() - exchange_->request_.arrived_us;
  if (exchange_->request_.arrived_us == 0) record.duration_us = 0;
  if (core_.observer) core_.observer->request_finished(record);
  exchange_->connection_.reset();
  exchange_.reset();
  core_.body_bytes -= body_counted_;
  body_counted_ = 0;
}

void Connection::next_request() {
  parser_.reset();
  route_ = nullptr;
  errors_ = ErrorShape::kOpenAi;
  cors_origin_.clear();
  body_read_ = begun_ = streaming_ = ended_ = head_only_ = false;
  bytes_out_ = 0;
  for (std::string* buffer : {&out_, &writing_out_, &scratch_}) {
    if (buffer->capacity() > kBufferKeptBytes) std::string().swap(*buffer);
  }
  at_ = At::kIdle;
  deadline_ms_ = core_.now_ms() + core_.options.idle_timeout_ms;
  advance();
}

// The client gets the answer's end before the connection's: closing with bytes unread would make its kernel throw the answer away.
void Connection::linger() {
  at_ = At::kLinger;
  input_.clear();
  deadline_ms_ = core_.now_ms() + kLingerMs;
  transport_->shutdown_send();
  read();
}

void Connection::on_tick(uint64_t now_ms) {
  if (at_ == At::kBody && !writing_) {
    const uint64_t elapsed = now_ms - body_started_ms_;
    const uint64_t wanted = core_.options.body_bytes_per_s_min * elapsed / 1000;
    if (elapsed > core_.options.body_grace_ms && parser_.request().body.size() < wanted) {
      return answer_error({.status = 408, .code = "request_timeout", .message = fmt::format("the body came slower than {} bytes a second",
                                                                                            core_.options.body_bytes_per_s_min)});
    }
  }
  if (deadline_ms_ == 0 || now_ms < deadline_ms_) return;
  if (at_ == At::kHeader && !writing_) {
    return answer_error({.status = 408, .code = "request_timeout", .message = fmt::format("the header did not end within {} ms",
                                                                                          core_.options.header_timeout_ms)});
  }
  close();
}

void Connection::drain() {
  draining_ = true;
  if (at_ == At::kIdle || at_ == At::kHandshake) close();
}

void Connection::interrupt() {
  if (!exchange_) return close();
  std::shared_ptr<AnswerSource> source;
  {
    const std::lock_guard lock(exchange_->mutex_);
    source = exchange_->source_;
  }
  interrupted_ = true;
  deadline_ms_ = core_.now_ms() + kInterruptedMs;
  if (!source) return;
  source->interrupted();
  pull_source();
}

void Connection::close() {
  if (at_ == At::kClosed) return;
  const auto self = shared_from_this();
  finish_record(true);
  at_ = At::kClosed;
  transport_->close();
  core_.forget(*this);
}

}  // namespace sluice::server
