#include "server/log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>
#include <memory>

namespace sluice::server {
namespace {

constexpr std::string_view kLevelNames[] = {"debug", "info", "warning", "error", "off"};

// JSON's escapes; bytes that are not UTF-8 become '?', for a log line must be read by anything.
void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') out += {'\\', static_cast<char>(c)};
    else if (c < 0x20 || c == 0x7f) out += fmt::format("\\u{:04x}", c);
    else if (c < 0x80) out += static_cast<char>(c);
    else out += '?';
  }
  out += '"';
}

std::string time_text() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  std::tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                     now.tv_nsec / 1'000'000);
}

int open_log(const std::string& path) { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640); }

// All of it, or as much as the descriptor takes until `give_up`; what was not written.
std::string_view write_all(int descriptor, std::string_view text, const std::function<bool()>& give_up) {
  while (!text.empty()) {
    pollfd ready{descriptor, POLLOUT, 0};
    if (poll(&ready, 1, 100) == 0) {
      if (give_up()) return text;
      continue;
    }
    const ssize_t done = ::write(descriptor, text.data(), std::min<size_t>(text.size(), 4096));  // a pipe takes a page or says that it cannot
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return text;  // a full disk or a closed pipe: these lines are lost, the server goes on
    text.remove_prefix(static_cast<size_t>(done));
  }
  return text;
}

}  // namespace

Result<LogLevel> log_level_from_name(std::string_view name) {
  for (size_t i = 0; i < std::size(kLevelNames); ++i) {
    if (kLevelNames[i] == name) return static_cast<LogLevel>(i);
  }
  return Error{fmt::format("log level '{}': one of debug, info, warning, error, off", name)};
}

std::string_view log_level_name(LogLevel level) { return kLevelNames[static_cast<size_t>(level)]; }

Fields& Fields::add(std::string_view name, std::string_view text) {
  text_ += fmt::format(",\"{}\":", name);
  append_quoted(text_, text);
  return *this;
}

Fields& Fields::add(std::string_view name, uint64_t number) {
  text_ += fmt::format(",\"{}\":{}", name, number);
  return *this;
}

Fields& Fields::add(std::string_view name, double number) {
  text_ += fmt::format(",\"{}\":{}", name, std::isfinite(number) ? number : 0.0);
  return *this;
}

Fields& Fields::add(std::string_view name, bool value) {
  text_ += fmt::format(",\"{}\":{}", name, value);
  return *this;
}

Result<std::unique_ptr<Log>> Log::open(const std::string& path, LogLevel level) {
  const int descriptor = path.empty() ? ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3) : open_log(path);
  if (descriptor < 0) return Error{fmt::format("cannot write the log {}: {}", path.empty() ? "to standard error" : path, std::strerror(errno))};
  return std::unique_ptr<Log>(new Log(path, descriptor, level));
}

Log::Log(std::string path, int descriptor, LogLevel level) : path_(std::move(path)), level_(level), descriptor_(descriptor) {
  thread_ = std::thread([this] { run(); });
}

Log::~Log() {
  {
    const std::lock_guard lock(lock_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  ::close(descriptor_);
}

void Log::write(LogLevel level, std::string_view event, const Fields& fields) {
  if (!wants(level)) return;
  std::string line = fmt::format("{{\"time\":\"{}\",\"level\":\"{}\",\"event\":\"{}\"{}}}\n", time_text(), log_level_name(level), event, fields.text());
  {
    const std::lock_guard lock(lock_);
    if (pending_.size() + line.size() > kPendingBytesMax) {
      dropped_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    pending_ += line;
  }
  wake_.notify_one();
}

void Log::say(LogLevel level, std::string_view event, std::string_view message) { write(level, event, Fields().add("message", message)); }

Status Log::reopen() {
  if (path_.empty()) return {};
  const int fresh = open_log(path_);
  if (fresh < 0) return Error{fmt::format("cannot write the log {}: {}; the old file stays in use", path_, std::strerror(errno))};
  const std::lock_guard lock(lock_);
  // The writer may be in the middle of a write to this number: dup2 changes what it means in one step.
  const bool changed = ::dup3(fresh, descriptor_, O_CLOEXEC) >= 0;
  const int code = errno;
  ::close(fresh);
  if (!changed) return Error{fmt::format("cannot write the log {}: {}; the old file stays in use", path_, std::strerror(code))};
  return {};
}

void Log::run() {
  std::unique_lock lock(lock_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !pending_.empty(); });
    if (pending_.empty()) return;
    std::string lines = std::exchange(pending_, {});
    const uint64_t dropped = dropped_.load(std::memory_order_relaxed);
    if (dropped != dropped_told_) {
      lines += fmt::format("{{\"time\":\"{}\",\"level\":\"warning\",\"event\":\"log_dropped\",\"lines\":{}}}\n", time_text(), dropped - dropped_told_);
      dropped_told_ = dropped;
    }
    lock.unlock();
    std::chrono::steady_clock::time_point stop_at{};
    const std::string_view lost = write_all(descriptor_, lines, [&] {
      const std::lock_guard again(lock_);
      if (!stopping_) return false;
      if (stop_at == std::chrono::steady_clock::time_point{}) stop_at = std::chrono::steady_clock::now() + std::chrono::seconds(1);
      return std::chrono::steady_clock::now() >= stop_at;
    });
    dropped_.fetch_add(static_cast<uint64_t>(std::count(lost.begin(), lost.end(), '\n')), std::memory_order_relaxed);
    lock.lock();
  }
}

}  // namespace sluice::server
