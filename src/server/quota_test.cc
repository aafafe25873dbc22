// Quotas over simulated time: what a key may use in any span, what it is told to wait, and clocks that misbehave.
#include "server/quota.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace sluice::server {
namespace {

constexpr uint64_t kMinuteUs = 60'000'000, kDayUs = 86'400'000'000;

KeyLimits limits(uint64_t rpm, uint64_t rpd, uint64_t tpm, uint64_t tpd, uint64_t concurrent) { return {{rpm, rpd, tpm, tpd, concurrent}}; }

TEST(Quota, RequestsPerMinuteComeBackOneByOne) {
  Quota quota(limits(60, 0, 0, 0, 0), 1000);
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(quota.admit(10, 1000).admitted);
  const QuotaVerdict refused = quota.admit(10, 1000);
  EXPECT_FALSE(refused.admitted);
  EXPECT_EQ(refused.kind, LimitKind::kRequestsPerMinute);
  EXPECT_EQ(refused.retry_after_us, 1'000'000u);
  EXPECT_FALSE(quota.admit(10, 1000 + 999'000).admitted);
  EXPECT_TRUE(quota.admit(10, 1000 + 1'000'000).admitted);
  EXPECT_FALSE(quota.admit(10, 1000 + 1'000'000).admitted);
}

TEST(Quota, TheLongestWaitIsTold) {
  Quota quota(limits(60, 2, 0, 0, 0), 0);
  ASSERT_TRUE(quota.admit(1, 0).admitted);
  ASSERT_TRUE(quota.admit(1, 0).admitted);
  const QuotaVerdict refused = quota.admit(1, 0);
  EXPECT_EQ(refused.kind, LimitKind::kRequestsPerDay);
  EXPECT_EQ(refused.retry_after_us, kDayUs / 2);
}

TEST(Quota, NothingIsTakenWhenOneLimitRefuses) {
  Quota quota(limits(10, 0, 100, 0, 0), 0);
  ASSERT_TRUE(quota.admit(100, 0).admitted);
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(quota.admit(50, 0).admitted);
  EXPECT_EQ(quota.standing(LimitKind::kRequestsPerMinute, 0).remaining, 9u);
}

TEST(Quota, APriceAboveTheLimitIsNeverAdmittedAndSaysSo) {
  Quota quota(limits(0, 0, 100, 0, 0), 0);
  const QuotaVerdict refused = quota.admit(101, 0);
  EXPECT_FALSE(refused.admitted);
  EXPECT_TRUE(refused.never);
  EXPECT_TRUE(quota.admit(100, 0).admitted);
}

TEST(Quota, WhatWasNotUsedGoesBackAndDebtIsPaid) {
  Quota quota(limits(0, 0, 1000, 0, 0), 0);
  ASSERT_TRUE(quota.admit(800, 0).admitted);
  quota.settle(800, 100, 0);
  EXPECT_EQ(quota.standing(LimitKind::kTokensPerMinute, 0).remaining, 900u);
  ASSERT_TRUE(quota.admit(100, 0).admitted);
  quota.settle(100, 1500, 0);
  EXPECT_EQ(quota.standing(LimitKind::kTokensPerMinute, 0).remaining, 0u);
  const QuotaVerdict refused = quota.admit(1, 0);
  EXPECT_FALSE(refused.admitted);
  EXPECT_NEAR(static_cast<double>(refused.retry_after_us), 601.0 / 1000 * 60e6, 2);
}

TEST(Quota, RequestsAtOnce) {
  Quota quota(limits(0, 0, 0, 0, 2), 0);
  ASSERT_TRUE(quota.admit(1, 0).admitted);
  ASSERT_TRUE(quota.admit(1, 0).admitted);
  EXPECT_EQ(quota.admit(1, 0).kind, LimitKind::kConcurrent);
  quota.settle(1, 1, 5);
  EXPECT_TRUE(quota.admit(1, 5).admitted);
  quota.undo(1, 5);
  EXPECT_EQ(quota.running(), 1u);
}

TEST(Quota, UndoGivesTheRequestBackToo) {
  Quota quota(limits(2, 0, 10, 0, 0), 0);
  ASSERT_TRUE(quota.admit(10, 0).admitted);
  quota.undo(10, 0);
  EXPECT_EQ(quota.standing(LimitKind::kRequestsPerMinute, 0).remaining, 2u);
  EXPECT_EQ(quota.standing(LimitKind::kTokensPerMinute, 0).remaining, 10u);
}

TEST(Quota, AClockThatGoesBackGivesNothing) {
  Quota quota(limits(1, 0, 0, 0, 0), 10 * kMinuteUs);
  ASSERT_TRUE(quota.admit(1, 10 * kMinuteUs).admitted);
  EXPECT_FALSE(quota.admit(1, 0).admitted);
  EXPECT_FALSE(quota.admit(1, 10 * kMinuteUs).admitted);
  EXPECT_TRUE(quota.admit(1, 11 * kMinuteUs).admitted);
}

TEST(Quota, ALeapForwardGivesOneFullBucketNotMore) {
  Quota quota(limits(3, 0, 0, 0, 0), 0);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(quota.admit(1, UINT64_MAX / 2).admitted);
  EXPECT_FALSE(quota.admit(1, UINT64_MAX / 2).admitted);
}

TEST(Quota, ChangedLimitsKeepWhatIsUsed) {
  Quota quota(limits(0, 0, 1000, 0, 0), 0);
  ASSERT_TRUE(quota.admit(600, 0).admitted);
  quota.set_limits(limits(0, 0, 700, 0, 0), 0);
  EXPECT_EQ(quota.standing(LimitKind::kTokensPerMinute, 0).remaining, 100u);
  quota.set_limits(limits(0, 0, 500, 0, 1), 0);
  EXPECT_EQ(quota.standing(LimitKind::kTokensPerMinute, 0).remaining, 0u);
  quota.settle(600, 600, 0);
  quota.set_limits(limits(5, 0, 0, 0, 1), 0);
  EXPECT_EQ(quota.standing(LimitKind::kTokensPerMinute, 0).limit, 0u);
  EXPECT_EQ(quota.standing(LimitKind::kRequestsPerMinute, 0).remaining, 5u);
}

TEST(Quota, ARestartForgetsNeitherTheDayNorTheTimeAway) {
  Quota before(limits(0, 100, 0, 1000, 0), 0);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(before.admit(20, 0).admitted);
  const Quota::DayUse use = before.day_use(0);
  EXPECT_DOUBLE_EQ(use.requests, 50);
  EXPECT_DOUBLE_EQ(use.tokens, 1000);
  Quota after(limits(0, 100, 0, 1000, 0), 77);
  after.restore(use, kDayUs / 4);
  EXPECT_EQ(after.standing(LimitKind::kRequestsPerDay, 77).remaining, 75u);
  EXPECT_EQ(after.standing(LimitKind::kTokensPerDay, 77).remaining, 250u);
}

// Three days of random traffic at four times what is allowed: no window ever holds more than the limit and its refill, every wait that was told is enough
// and not a millisecond too long, and the key gets what it was promised.
TEST(Quota, ThreeSimulatedDaysHoldTheLimits) {
  const KeyLimits wanted = limits(30, 10'000, 6000, 2'000'000, 0);
  Quota quota(wanted, 0);
  std::mt19937_64 random(1);
  std::deque<std::pair<uint64_t, uint64_t>> minute, day;  // time, tokens
  uint64_t minute_tokens = 0, day_tokens = 0, admitted = 0, checked_waits = 0;
  for (uint64_t now = 0; now < 3 * kDayUs; now += 1 + random() % 1'000'000) {
    const uint64_t price = 1 + random() % 400;
    const QuotaVerdict verdict = quota.admit(price, now);
    if (!verdict.admitted) {
      ASSERT_GT(verdict.retry_after_us, 0u);
      if (random() % 64 == 0) {
        Quota early = quota;
        if (verdict.retry_after_us > 1000) {
          EXPECT_FALSE(early.admit(price, now + verdict.retry_after_us - 1000).admitted);
        }
        EXPECT_TRUE(early.admit(price, now + verdict.retry_after_us).admitted);
        ++checked_waits;
      }
      continue;
    }
    quota.settle(price, price, now);
    ++admitted;
    for (auto* window : {&minute, &day}) window->push_back({now, price});
    minute_tokens += price;
    day_tokens += price;
    for (; now - minute.front().first > kMinuteUs; minute.pop_front()) minute_tokens -= minute.front().second;
    for (; now - day.front().first > kDayUs; day.pop_front()) day_tokens -= day.front().second;
    ASSERT_LE(minute.size(), 2 * 30u);
    ASSERT_LE(day.size(), 2 * 10'000u);
    ASSERT_LE(minute_tokens, 2 * 6000u);
    ASSERT_LE(day_tokens, 2 * 2'000'000u);
  }
  EXPECT_GT(checked_waits, 1000u);
  EXPECT_NEAR(static_cast<double>(admitted), 10'000.0 * 4, 100);  // a full day at the start and three that came in
}

TEST(Quota, LimitsFromText) {
  EXPECT_EQ(*parse_limit("rpm", "120"), 120u);
  EXPECT_EQ(*parse_limit("rpm", "none"), 0u);
  for (const char* bad : {"", "-1", "1.5", "1e3", " 1", "99999999999999", "18446744073709551616", "many"}) {
    const Result<uint64_t> parsed = parse_limit("rpm", bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_NE(parsed.error().message.find("--rpm"), std::string::npos);
  }
}

}  // namespace
}  // namespace sluice::server
