#include "server/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace sluice::server {
namespace {

constexpr size_t kConcurrentIndex = static_cast<size_t>(LimitKind::kConcurrent);

double amount_of(size_t kind, uint64_t price) { return kLimitFacts[kind].tokens ? static_cast<double>(price) : 1.0; }

}  // namespace

Result<uint64_t> parse_limit(std::string_view flag, std::string_view text) {
  if (text == "none") return uint64_t{0};
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > kLimitMax) {
    return Error{fmt::format("--{} {}: must be a whole number of at most {}, or none", flag, text, kLimitMax)};
  }
  return value;
}

TokenBucket::TokenBucket(uint64_t limit, uint64_t period_us, uint64_t now_us)
    : level_(static_cast<double>(limit)), limit_(level_), per_us_(level_ / static_cast<double>(period_us)), period_us_(period_us), at_us_(now_us) {}

void TokenBucket::advance(uint64_t now_us) {
  if (now_us <= at_us_) return;
  level_ = std::min(limit_, level_ + static_cast<double>(now_us - at_us_) * per_us_);
  at_us_ = now_us;
}

void TokenBucket::give_back(double amount) { level_ = std::min(limit_, level_ + amount); }

void TokenBucket::set_level(double level) { level_ = std::min(limit_, level); }

uint64_t TokenBucket::wait_us(double amount) const {
  if (has(amount) || per_us_ <= 0) return 0;
  return static_cast<uint64_t>(std::ceil((amount - level_) / per_us_));
}

uint64_t TokenBucket::full_in_us() const { return wait_us(limit_); }

void TokenBucket::set_limit(uint64_t limit) {
  const double used = limit_ - level_;
  limit_ = static_cast<double>(limit);
  per_us_ = limit_ / static_cast<double>(period_us_);
  level_ = limit_ - used;
}

Quota::Quota(const KeyLimits& limits, uint64_t now_us) : limits_(limits) {
  for (size_t kind = 0; kind < buckets_.size(); ++kind) buckets_[kind] = TokenBucket(limits.values[kind], kLimitFacts[kind].period_us, now_us);
}

void Quota::advance(uint64_t now_us) {
  for (TokenBucket& bucket : buckets_) bucket.advance(now_us);
}

QuotaVerdict Quota::admit(uint64_t price, uint64_t now_us) {
  advance(now_us);
  QuotaVerdict verdict;
  for (size_t kind = 0; kind < buckets_.size(); ++kind) {
    const uint64_t limit = limits_.values[kind];
    const double amount = amount_of(kind, price);
    if (limit == 0 || buckets_[kind].has(amount)) continue;
    const bool never = amount > static_cast<double>(limit);
    const uint64_t wait_us = never ? 0 : buckets_[kind].wait_us(amount);
    if (verdict.admitted || never || (!verdict.never && wait_us > verdict.retry_after_us)) verdict = {false, static_cast<LimitKind>(kind), never, wait_us};
    if (never) return verdict;
  }
  const uint64_t concurrent = limits_.values[kConcurrentIndex];
  if (verdict.admitted && concurrent != 0 && running_ >= concurrent) verdict = {false, LimitKind::kConcurrent, false, 0};
  if (!verdict.admitted) return verdict;
  for (size_t kind = 0; kind < buckets_.size(); ++kind) {
    if (limits_.values[kind] != 0) buckets_[kind].take(amount_of(kind, price));
  }
  ++running_;
  return verdict;
}

void Quota::settle(uint64_t price, uint64_t used, uint64_t now_us) {
  SLUICE_CHECK(running_ > 0);
  advance(now_us);
  --running_;
  for (size_t kind = 0; kind < buckets_.size(); ++kind) {
    if (limits_.values[kind] == 0 || !kLimitFacts[kind].tokens) continue;
    if (used <= price) buckets_[kind].give_back(static_cast<double>(price - used));
    else buckets_[kind].take(static_cast<double>(used - price));
  }
}

void Quota::undo(uint64_t price, uint64_t now_us) {
  SLUICE_CHECK(running_ > 0);
  advance(now_us);
  --running_;
  for (size_t kind = 0; kind < buckets_.size(); ++kind) {
    if (limits_.values[kind] != 0) buckets_[kind].give_back(amount_of(kind, price));
  }
}

QuotaStanding Quota::standing(LimitKind kind, uint64_t now_us) {
  const size_t index = static_cast<size_t>(kind);
  const uint64_t limit = limits_.values[index];
  if (limit == 0) return {};
  if (index == kConcurrentIndex) return {limit, limit - std::min(limit, running_), 0};
  advance(now_us);
  const TokenBucket& bucket = buckets_[index];
  return {limit, static_cast<uint64_t>(std::max(0.0, std::floor(bucket.level() + 1e-6))), bucket.full_in_us()};
}

void Quota::set_limits(const KeyLimits& limits, uint64_t now_us) {
  advance(now_us);
  for (size_t kind = 0; kind < buckets_.size(); ++kind) {
    if (limits_.values[kind] == 0) buckets_[kind] = TokenBucket(limits.values[kind], kLimitFacts[kind].period_us, now_us);
    else if (limits.values[kind] != limits_.values[kind]) buckets_[kind].set_limit(limits.values[kind]);
  }
  limits_ = limits;
}

Quota::DayUse Quota::day_use(uint64_t now_us) {
  advance(now_us);
  const auto used = [&](LimitKind kind) {
    return limits_[kind] == 0 ? 0.0 : static_cast<double>(limits_[kind]) - buckets_[static_cast<size_t>(kind)].level();
  };
  return {used(LimitKind::kRequestsPerDay), used(LimitKind::kTokensPerDay)};
}

void Quota::restore(const DayUse& use, uint64_t away_us) {
  const auto put = [&](LimitKind kind, double used) {
    const double limit = static_cast<double>(limits_[kind]);
    if (limit <= 0 || !(used > 0)) return;
    const double back = limit * (static_cast<double>(away_us) / static_cast<double>(kLimitFacts[static_cast<size_t>(kind)].period_us));
    buckets_[static_cast<size_t>(kind)].set_level(limit - std::max(0.0, used - back));
  };
  put(LimitKind::kRequestsPerDay, use.requests);
  put(LimitKind::kTokensPerDay, use.tokens);
}

}  // namespace sluice::server
