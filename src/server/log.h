// The log: one JSON object a line, to standard error or a file, written by a thread of its own so that a slow pipe or disk holds nobody up.
// Contract: write() may be called from any thread and never waits: when kPendingBytesMax bytes are not yet written, a line is dropped and counted, and the
// count is told as soon as there is room. No line holds the text of a prompt or an answer, or a key: nothing in RequestRecord has a place for one, and
// Fields takes numbers, our own words and what a file or a socket said. Next: operations.h (what is logged of a request).
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"

namespace sluice::server {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError, kOff };
Result<LogLevel> log_level_from_name(std::string_view name);
std::string_view log_level_name(LogLevel level);

// The fields of one line, in order.
class Fields {
 public:
  Fields& add(std::string_view name, std::string_view text);
  Fields& add(std::string_view name, const char* text) { return add(name, std::string_view(text)); }
  Fields& add(std::string_view name, uint64_t number);
  Fields& add(std::string_view name, int number) { return number < 0 ? add(name, std::to_string(number)) : add(name, static_cast<uint64_t>(number)); }
  Fields& add(std::string_view name, double number);
  Fields& add(std::string_view name, bool value);
  const std::string& text() const { return text_; }  // `,"name":value` of each

 private:
  std::string text_;
};

class Log {
 public:
  static constexpr size_t kPendingBytesMax = 4u << 20;

  // `path` empty: standard error. Errors name the path.
  static Result<std::unique_ptr<Log>> open(const std::string& path, LogLevel level);
  ~Log();  // writes what is pending, for a second at most

  void write(LogLevel level, std::string_view event, const Fields& fields);
  void say(LogLevel level, std::string_view event, std::string_view message);
  bool wants(LogLevel level) const { return level >= level_.load(std::memory_order_relaxed); }
  void set_level(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  // The file by its name again, for log rotation: the old one stays in use when that fails.
  Status reopen();
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  Log(std::string path, int descriptor, LogLevel level);
  void run();

  std::string path_;
  std::atomic<LogLevel> level_;
  std::atomic<uint64_t> dropped_{0};
  std::mutex lock_;
  std::condition_variable wake_;
  std::string pending_;
  uint64_t dropped_told_ = 0;
  int descriptor_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::server
