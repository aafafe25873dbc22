// A client for tests, on a raw socket: it can send what no decent client would.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::server::testing {

inline constexpr int kPatienceMs = 10'000;

struct Reply {
  int status = 0;
  std::string head, body;             // body as decoded from its chunks
  bool closed = false;                // the connection ended with it
  std::string header(std::string_view name) const;
};

// A blocking client on a raw socket; every wait ends after 10 s.
class Client {
 public:
  explicit Client(const std::string& address);  // "http://127.0.0.1:4711" or "unix:/path"
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return fd_ >= 0; }
  bool send(std::string_view bytes);
  // One whole answer; status 0 if the connection ends first.
  Reply read_reply(bool head_request = false);
  // Bytes until `mark` has come or the connection ends.
  std::string read_until(std::string_view mark);
  Reply request(std::string_view method, std::string_view path, std::string_view body = {}, std::string_view more_headers = {});
  // True once the server has closed its side.
  bool ended();
  void close();
  int fd() const { return fd_; }

 private:
  bool fill();
  int fd_ = -1;
  std::string host_;
  std::string buffer_;
};

// The payloads of "data: " lines.
std::vector<std::string> events_of(std::string_view body);

inline std::string Reply::header(std::string_view name) const {
  std::string lower_head = head;
  std::transform(lower_head.begin(), lower_head.end(), lower_head.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const std::string wanted = "\r\n" + std::string(name) + ": ";
  const size_t at = lower_head.find(wanted);
  if (at == std::string::npos) return {};
  const size_t begin = at + wanted.size();
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

inline Client::Client(const std::string& address) {
  if (address.starts_with("unix:")) {
    host_ = "localhost";
    fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    address.copy(to.sun_path, sizeof(to.sun_path) - 1, 5);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) close();
    return;
  }
  host_ = address.substr(address.find("//") + 2);
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(host_.substr(host_.rfind(':') + 1))));
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) close();
}

inline Client::~Client() { close(); }

inline void Client::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

inline bool Client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    pollfd wait{fd_, POLLOUT, 0};
    if (::poll(&wait, 1, kPatienceMs) <= 0) return false;
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

inline bool Client::fill() {
  pollfd wait{fd_, POLLIN, 0};
  if (fd_ < 0 || ::poll(&wait, 1, kPatienceMs) <= 0) return false;
  char bytes[16384];
  const ssize_t n = ::recv(fd_, bytes, sizeof(bytes), 0);
  if (n <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(n));
  return true;
}

inline std::string Client::read_until(std::string_view mark) {
  size_t found = buffer_.find(mark);
  while (found == std::string::npos && fill()) found = buffer_.find(mark);
  const size_t end = found == std::string::npos ? buffer_.size() : found + mark.size();
  std::string out = buffer_.substr(0, end);
  buffer_.erase(0, end);
  return out;
}

inline Reply Client::read_reply(bool head_request) {
  Reply reply;
  do {
    reply.head = read_until("\r\n\r\n");
  } while (reply.head.starts_with("HTTP/1.1 100"));
  if (!reply.head.ends_with("\r\n\r\n")) return {};
  reply.status = std::stoi(reply.head.substr(9, 3));
  const std::string length = reply.header("content-length");
  if (head_request || reply.status == 204) return reply;
  if (!length.empty()) {
    const size_t n = std::stoul(length);
    while (buffer_.size() < n && fill()) {
    }
    reply.body = buffer_.substr(0, n);
    buffer_.erase(0, n);
    if (reply.body.size() < n) reply.closed = true;
    return reply;
  }
  if (reply.header("transfer-encoding") != "chunked") {
    while (fill()) {
    }
    reply.body = std::exchange(buffer_, {});
    reply.closed = true;
    return reply;
  }
  while (true) {
    const std::string line = read_until("\r\n");
    size_t size = 0;
    if (!line.ends_with("\r\n") || std::from_chars(line.data(), line.data() + line.size(), size, 16).ec != std::errc()) {
      reply.closed = true;
      return reply;
    }
    while (buffer_.size() < size + 2 && fill()) {
    }
    reply.body += buffer_.substr(0, size);
    buffer_.erase(0, size + 2);
    if (size == 0) return reply;
  }
}

inline Reply Client::request(std::string_view method, std::string_view path, std::string_view body, std::string_view more_headers) {
  std::string head = fmt::format("{} {} HTTP/1.1\r\nHost: {}\r\n{}", method, path, host_, more_headers);
  if (!body.empty() || method == "POST") head += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  send(head + "\r\n" + std::string(body));  // in one piece, or the body waits for the header's acknowledgement
  return read_reply(method == "HEAD");
}

inline bool Client::ended() {
  while (fill()) {
  }
  char byte;
  return fd_ < 0 || ::recv(fd_, &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET;
}

inline std::vector<std::string> events_of(std::string_view body) {
  std::vector<std::string> out;
  while (!body.empty()) {
    const size_t end = std::min(body.find("\n\n"), body.size());
    std::string_view event = body.substr(0, end);
    body.remove_prefix(std::min(end + 2, body.size()));
    if (event.starts_with("data: ")) out.emplace_back(event.substr(6));
  }
  return out;
}

}  // namespace sluice::server::testing
