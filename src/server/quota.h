// The limits of one key and how much of them is left: requests and tokens a minute and a day as token buckets, and requests at once.
// Contract: time is a number of microseconds that the caller takes from a monotonic clock, so a jump of the wall clock changes nothing; a number that
// goes back counts as no time passed. A bucket never gives more than its limit at once, and never more than limit x (1 + t / period) within any time t.
// Not thread-safe: admission (key_gate.h) holds one lock around it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::server {

enum class LimitKind : uint8_t { kRequestsPerMinute, kRequestsPerDay, kTokensPerMinute, kTokensPerDay, kConcurrent };
inline constexpr size_t kLimitKinds = 5;

struct LimitFacts {
  std::string_view name;   // of the flag, the column and the JSON field
  std::string_view words;  // in sentences
  uint64_t period_us;      // 0: not a rate
  bool tokens;             // counts tokens, not requests
};
inline constexpr std::array<LimitFacts, kLimitKinds> kLimitFacts = {{
    {"rpm", "requests per minute (RPM)", 60'000'000, false},
    {"rpd", "requests per day (RPD)", 86'400'000'000, false},
    {"tpm", "tokens per minute (TPM)", 60'000'000, true},
    {"tpd", "tokens per day (TPD)", 86'400'000'000, true},
    {"concurrent", "requests at once", 0, false},
}};
inline constexpr uint64_t kLimitMax = 1'000'000'000'000;  // of any limit: well inside the exact integers of a double

// 0: no limit.
struct KeyLimits {
  std::array<uint64_t, kLimitKinds> values{};
  uint64_t operator[](LimitKind kind) const { return values[static_cast<size_t>(kind)]; }
  uint64_t& operator[](LimitKind kind) { return values[static_cast<size_t>(kind)]; }
  bool operator==(const KeyLimits&) const = default;
};

// "120" to a limit, "none" or "0" to no limit; errors name the limit's flag and the bound.
Result<uint64_t> parse_limit(std::string_view flag, std::string_view text);

class TokenBucket {
 public:
  TokenBucket() = default;
  TokenBucket(uint64_t limit, uint64_t period_us, uint64_t now_us);

  void advance(uint64_t now_us);
  double level() const { return level_; }
  bool has(double amount) const { return level_ + 1e-6 >= amount; }  // a wait that was computed is enough, whatever the rounding
  void take(double amount) { level_ -= amount; }   // may go below zero: use that turned out higher than its price is a debt
  void give_back(double amount);
  void set_level(double level);
  uint64_t wait_us(double amount) const;           // until `amount` (at most the limit) is there; 0: now
  uint64_t full_in_us() const;
  void set_limit(uint64_t limit);                  // what is used stays used

 private:
  double level_ = 0;
  double limit_ = 0;
  double per_us_ = 0;
  uint64_t period_us_ = 1;
  uint64_t at_us_ = 0;
};

struct QuotaVerdict {
  bool admitted = true;
  LimitKind kind = LimitKind::kRequestsPerMinute;  // which limit refused it: the one to wait for longest
  bool never = false;                              // the price alone is above the limit: waiting does not help
  uint64_t retry_after_us = 0;                     // 0 with kConcurrent: when one of the key's own requests ends
};

struct QuotaStanding {
  uint64_t limit = 0;      // 0: no limit
  uint64_t remaining = 0;
  uint64_t reset_us = 0;   // until all of the limit is there again
};

class Quota {
 public:
  Quota(const KeyLimits& limits, uint64_t now_us);

  // Takes one request and `price` tokens from every limit, or nothing from any.
  QuotaVerdict admit(uint64_t price, uint64_t now_us);
  // The request is over and has used `used` tokens of the `price` that was taken; the rest goes back.
  void settle(uint64_t price, uint64_t used, uint64_t now_us);
  // It was never started (the queue was full): the request itself goes back too.
  void undo(uint64_t price, uint64_t now_us);

  QuotaStanding standing(LimitKind kind, uint64_t now_us);
  void set_limits(const KeyLimits& limits, uint64_t now_us);
  const KeyLimits& limits() const { return limits_; }
  uint64_t running() const { return running_; }

  // What a restart must not forget: used requests and tokens of the day's limits, and putting them back after `away_us`.
  struct DayUse {
    double requests = 0, tokens = 0;
  };
  DayUse day_use(uint64_t now_us);
  void restore(const DayUse& use, uint64_t away_us);

 private:
  void advance(uint64_t now_us);

  KeyLimits limits_;
  std::array<TokenBucket, kLimitKinds - 1> buckets_;
  uint64_t running_ = 0;
};

}  // namespace sluice::server
