#include "server/http_parser.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <utility>

#include "server/limits.h"

namespace sluice::server {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;
using boost::beast::string_view;

std::string_view view(string_view text) { return {text.data(), text.size()}; }

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool same_word(std::string_view a, std::string_view lower_case) {
  if (a.size() != lower_case.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] - 'A' + 'a') : a[i];
    if (c != lower_case[i]) return false;
  }
  return true;
}

ParseFailure failure_of(const error_code& ec) {
  if (ec == http::error::header_limit) {
    return {431, fmt::format("the header is longer than {} bytes", limits::kHttpHeaderBytesMax)};
  }
  if (ec == http::error::bad_version) return {505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
  return {400, "malformed HTTP: " + ec.message()};
}

}  // namespace

bool percent_decode(std::string_view text, bool plus_is_blank, std::string& out) {
  out.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return false;
      const int high = hex(text[i + 1]), low = hex(text[i + 2]);
      if (high < 0 || low < 0 || (high == 0 && low == 0)) return false;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_blank) {
      c = ' ';
    }
    out += c;
  }
  return true;
}

// Beast calls the members as it finds things; what it need not know is kept here.
class Reader final : public http::basic_parser<true> {
 public:
  Reader() {
    header_limit(static_cast<uint32_t>(limits::kHttpHeaderBytesMax));
    eager(false);
    skip(true);  // bodies are read below: Beast's own reader of chunks trusts the caller with how bytes arrive, and asserts
  }

  std::optional<ParseFailure> failure;
  HttpRequest request;
  bool head_done = false;
  bool chunked = false;
  bool expects_continue = false;
  int version = 11;

 private:
  void fail(int status, std::string message, error_code& ec) {
    failure = ParseFailure{status, std::move(message)};
    ec = http::error::bad_value;
  }

  void on_request_impl(http::verb, string_view method, string_view target, int version_in, error_code& ec) override {
    version = version_in;
    if (target.size() > limits::kHttpTargetBytesMax) {
      return fail(414, fmt::format("the request target has {} bytes, the limit is {}", target.size(), limits::kHttpTargetBytesMax), ec);
    }
    if (method.size() > 32) return fail(501, "unknown method", ec);
    if (version != 10 && version != 11) return fail(505, "only HTTP/1.0 and HTTP/1.1 are spoken here", ec);
    request.method = view(method);
    request.target = view(target);
    split_target(ec);
  }

  void split_target(error_code& ec) {
    std::string_view target = request.target;
    // The absolute form, which proxies send (RFC 9112, 3.2.2); its authority means nothing here.
    for (const std::string_view scheme : {"http://", "https://"}) {
      if (!same_word(target.substr(0, scheme.size()), scheme)) continue;
      const size_t slash = target.find_first_of("/?", scheme.size());
      target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
      break;
    }
    if (!target.starts_with('/')) return fail(400, "the request target must be a path", ec);
    const size_t question = std::min(target.find('?'), target.size());
    if (!percent_decode(target.substr(0, question), false, request.path)) return fail(400, "malformed percent-encoding in the path", ec);
    std::string_view query = question < target.size() ? target.substr(question + 1) : std::string_view();
    while (!query.empty()) {
      const size_t end = std::min(query.find('&'), query.size());
      const std::string_view pair = query.substr(0, end);
      query.remove_prefix(std::min(end + 1, query.size()));
      if (pair.empty()) continue;
      const size_t equals = std::min(pair.find('='), pair.size());
      std::string name, value;
      if (!percent_decode(pair.substr(0, equals), true, name) || !percent_decode(pair.substr(std::min(equals + 1, pair.size())), true, value)) {
        return fail(400, "malformed percent-encoding in the query", ec);
      }
      request.query.emplace_back(std::move(name), std::move(value));
    }
  }

  void on_field_impl(http::field, string_view name, string_view value, error_code& ec) override {
    if (request.headers.size() == limits::kHttpFieldsMax) return fail(431, fmt::format("more than {} header fields", limits::kHttpFieldsMax), ec);
    if (name.size() + value.size() > limits::kHttpFieldBytesMax) {
      return fail(431, fmt::format("the field {} has {} bytes, the limit is {}", view(name).substr(0, 64), value.size(), limits::kHttpFieldBytesMax), ec);
    }
    request.headers.push_back({std::string(view(name)), std::string(view(value))});
  }

  void on_header_impl(error_code& ec) override {
    head_done = true;
    uint32_t hosts = 0, lengths = 0, codings = 0;
    for (const Header& h : request.headers) {
      if (same_word(h.name, "host")) ++hosts;
      if (same_word(h.name, "content-length")) ++lengths;
      if (same_word(h.name, "transfer-encoding")) {
        ++codings;
        if (!same_word(h.value, "chunked")) return fail(501, "Transfer-Encoding other than chunked is not supported", ec);
      }
      if (same_word(h.name, "content-encoding") && !same_word(h.value, "identity")) {
        return fail(415, "compressed request bodies are not taken", ec);
      }
      if (same_word(h.name, "expect")) {
        if (!same_word(h.value, "100-continue")) return fail(417, "Expect other than 100-continue is not supported", ec);
        expects_continue = true;
      }
    }
    if (hosts > 1 || (hosts == 0 && version == 11)) return fail(400, fmt::format("a request needs one Host field, this one has {}", hosts), ec);
    if (lengths > 1) return fail(400, "several Content-Length fields", ec);
    if (codings > 1) return fail(400, "several Transfer-Encoding fields", ec);
    if (codings > 0 && lengths > 0) return fail(400, "Content-Length and Transfer-Encoding together", ec);
    if (codings > 0 && version == 10) return fail(400, "Transfer-Encoding in HTTP/1.0", ec);
    chunked = codings > 0;
  }

  void on_response_impl(int, string_view, int, error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(string_view, error_code&) override { return 0; }
  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, string_view, error_code&) override { return 0; }
  void on_finish_impl(error_code&) override {}
};

// A body by its length, or in chunks (RFC 9112, 7.1): a byte at a time in the lines between, so it does not matter how they arrive.
class BodyReader {
 public:
  void begin(bool chunked, uint64_t length, uint64_t bytes_max) {
    bytes_max_ = bytes_max;
    left_ = length;
    at_ = chunked ? At::kSize : At::kData;
    chunked_ = chunked;
  }
  bool done() const { return at_ == At::kDone || (!chunked_ && left_ == 0); }

  // How many bytes were taken; stops at done() and at a failure.
  size_t feed(std::string_view bytes, std::string& body, std::optional<ParseFailure>& failure) {
    size_t taken = 0;
    while (taken < bytes.size() && !done() && !failure) {
      if (at_ == At::kData) {
        const size_t n = std::min<uint64_t>(left_, bytes.size() - taken);
        if (n > bytes_max_ - std::min<uint64_t>(body.size(), bytes_max_)) {
          failure = too_long();
          break;
        }
        body.append(bytes, taken, n);
        taken += n;
        left_ -= n;
        if (chunked_ && left_ == 0) at_ = At::kDataCr;
        continue;
      }
      step(bytes[taken++], body.size(), failure);
    }
    return taken;
  }

 private:
  enum class At : uint8_t { kData, kSize, kExtension, kSizeLf, kDataCr, kDataLf, kTrailerStart, kTrailer, kTrailerLf, kEndLf, kDone };

  ParseFailure too_long() const { return {413, fmt::format("the body is longer than {} bytes", bytes_max_)}; }

  void step(char c, size_t have, std::optional<ParseFailure>& failure) {
    const auto bad = [&] { failure = ParseFailure{400, "malformed chunked body"}; };
    switch (at_) {
      case At::kSize:
        if (const int digit = hex(c); digit >= 0) {
          if (++digits_ > 15) return bad();
          size_ = size_ * 16 + static_cast<uint64_t>(digit);
        } else if (digits_ > 0 && (c == ';' || c == '\r')) {
          at_ = c == ';' ? At::kExtension : At::kSizeLf;
          line_ = 0;
        } else {
          bad();
        }
        break;
      case At::kExtension:
        if (c == '\r') {
          at_ = At::kSizeLf;
        } else if (c == '\n' || ++line_ > limits::kHttpChunkExtensionBytesMax) {
          bad();
        }
        break;
      case At::kSizeLf:
        if (c != '\n') return bad();
        if (size_ > bytes_max_ - std::min<uint64_t>(have, bytes_max_)) {
          failure = too_long();
          return;
        }
        at_ = size_ == 0 ? At::kTrailerStart : At::kData;
        left_ = std::exchange(size_, 0);
        digits_ = 0;
        break;
      case At::kDataCr:
        if (c != '\r') return bad();
        at_ = At::kDataLf;
        break;
      case At::kDataLf:
        if (c != '\n') return bad();
        at_ = At::kSize;
        break;
      case At::kTrailerStart:
        at_ = c == '\r' ? At::kEndLf : At::kTrailer;
        if (c == '\n' || c == ' ' || c == '\t') bad();
        break;
      case At::kTrailer:  // read and dropped
        if (++trailers_ > limits::kHttpFieldBytesMax) failure = ParseFailure{431, "the trailers are too long"};
        if (c == '\n') return bad();
        if (c == '\r') at_ = At::kTrailerLf;
        break;
      case At::kTrailerLf:
        if (c != '\n') return bad();
        at_ = At::kTrailerStart;
        break;
      case At::kEndLf:
        if (c != '\n') return bad();
        at_ = At::kDone;
        break;
      case At::kData:
      case At::kDone: break;
    }
  }

  At at_ = At::kData;
  bool chunked_ = false;
  uint64_t bytes_max_ = 0, left_ = 0, size_ = 0;
  uint32_t digits_ = 0, line_ = 0, trailers_ = 0;
};

struct RequestParser::Impl {
  BodyReader body;
  std::unique_ptr<Reader> reader = std::make_unique<Reader>();
  State state = State::kStart;
  ParseFailure failure;
  // Of the header's bytes: the last one looked at, to find folded lines.
  size_t scanned = 0;
  char last = 0;
};

RequestParser::RequestParser() : impl_(std::make_unique<Impl>()) {}
RequestParser::~RequestParser() = default;

void RequestParser::reset() { *impl_ = Impl{}; }
RequestParser::State RequestParser::state() const { return impl_->state; }
const ParseFailure& RequestParser::failure() const { return impl_->failure; }
HttpRequest& RequestParser::request() { return impl_->reader->request; }
bool RequestParser::keep_alive() const { return impl_->reader->keep_alive(); }
bool RequestParser::version_1_0() const { return impl_->reader->version == 10; }
bool RequestParser::expects_continue() const { return impl_->reader->expects_continue; }
bool RequestParser::has_body() const { return impl_->reader->chunked || content_length().value_or(0) > 0; }

std::optional<uint64_t> RequestParser::content_length() const {
  const auto length = impl_->reader->content_length();
  return length ? std::optional<uint64_t>(*length) : std::nullopt;
}

void RequestParser::read_body(uint64_t body_bytes_max) {
  Impl& m = *impl_;
  m.body.begin(m.reader->chunked, content_length().value_or(0), body_bytes_max);
  m.state = m.body.done() ? State::kDone : State::kBody;
  if (const auto length = content_length(); length && *length > body_bytes_max) {
    m.state = State::kFailed;
    m.failure = {413, fmt::format("the body has {} bytes, the limit is {}", *length, body_bytes_max)};
  }
}

size_t RequestParser::feed(std::string_view bytes) {
  Impl& m = *impl_;
  size_t taken = 0;
  const auto fail = [&](ParseFailure failure) {
    m.state = State::kFailed;
    m.failure = std::move(failure);
    return taken;
  };
  if (m.state == State::kBody) {
    std::optional<ParseFailure> failure;
    taken = m.body.feed(bytes, m.reader->request.body, failure);
    if (failure) return fail(std::move(*failure));
    if (m.body.done()) m.state = State::kDone;
    return taken;
  }
  while (m.state == State::kStart || m.state == State::kHeader) {
    std::string_view rest = bytes.substr(taken);
    if (m.state == State::kStart) {
      // Empty lines before a request are to be ignored (RFC 9112, 2.2).
      while (rest.starts_with("\r\n")) {
        taken += 2;
        rest.remove_prefix(2);
      }
      if (rest.empty() || rest == "\r") return taken;
      m.state = State::kHeader;
    }
    if (rest.empty()) return taken;
    error_code ec;
    const size_t used = m.reader->put(boost::asio::const_buffer(rest.data(), rest.size()), ec);
    for (; m.scanned < rest.size(); ++m.scanned) {
      const char c = rest[m.scanned];
      if (m.reader->is_header_done() && m.scanned >= used) break;
      if (m.last == '\n' && (c == ' ' || c == '\t')) return fail({400, "folded header lines are not taken"});
      m.last = c;
    }
    m.scanned -= std::min(m.scanned, used);
    taken += used;
    if (m.reader->failure) return fail(*m.reader->failure);
    if (ec == http::error::need_more) {
      if (rest.size() - used >= limits::kHttpHeaderBytesMax) return fail(failure_of(http::error::header_limit));
      return taken;
    }
    if (ec) return fail(failure_of(ec));
    if (m.reader->is_header_done()) m.state = State::kHead;
    if (used == 0) return taken;
  }
  return taken;
}

}  // namespace sluice::server
