// Admission on a clock of our own: who may, what is refused with which status and how long to wait, and that nothing that was taken is lost. Rows A2, H2.
#include "server/key_gate.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>

namespace sluice::server {
namespace {

namespace fs = std::filesystem;
using engine::Tier;

class GateTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("sluice-gate-" + std::to_string(getpid()) + "-" + std::to_string(++count_));
    fs::remove_all(folder_);
    options_.now_us = [this] { return now_us_; };
    options_.unix_s = [this] { return unix_s_; };
    options_.say = [this](const std::string& sentence) { said_.push_back(sentence); };
    options_.requests_max = 10;
    options_.tokens_max = 10'000;
    options_.bytes_max = 1'000'000;
  }
  void TearDown() override {
    gate_.reset();
    fs::remove_all(folder_);
  }

  KeyGate& gate() {
    if (!gate_) gate_.emplace(folder_ / "keys.db", options_);
    return *gate_;
  }
  std::string create(const std::string& name, const KeyLimits& limits = {}, KeyTier tier = KeyTier::kPerformance, bool admin = false) {
    const Result<CreatedKey> created = gate().ring().create({name, limits, tier, admin}, unix_s_);
    EXPECT_TRUE(created.ok());
    gate().tick();
    return created->text;
  }
  Identity identity(const std::string& key) {
    const Authenticated who = gate().authenticate({.secret = key, .peer = "10.0.0.1:1", .loopback = false}, false);
    EXPECT_FALSE(who.refusal.refused()) << who.refusal.message;
    return who.identity;
  }
  static Price price(uint64_t prompt, uint64_t completion, Tier tier = Tier::kOnDemand) {
    return {.prompt_tokens = prompt, .completion_tokens_max = completion, .bytes = 100, .tier = tier};
  }
  std::map<std::string, std::string> headers(const Identity& who) {
    std::map<std::string, std::string> out;
    for (const Header& header : gate().headers(who)) out[header.name] = header.value;
    return out;
  }

  static inline int count_ = 0;
  uint64_t now_us_ = 1'000'000'000;
  int64_t unix_s_ = 1'800'000'000;
  fs::path folder_;
  GateOptions options_;
  std::vector<std::string> said_;
  std::optional<KeyGate> gate_;
};

TEST_F(GateTest, A2WithoutKeysEverybodyMayAndAdminRoutesOnlyFromThisMachine) {
  EXPECT_FALSE(gate().closed());
  EXPECT_FALSE(gate().authenticate({}, false).refusal.refused());
  EXPECT_EQ(gate().authenticate({.secret = "", .peer = "10.0.0.1:5", .loopback = false}, true).refusal.status, 401);
  const Authenticated local = gate().authenticate({.secret = "", .peer = "127.0.0.1:5", .loopback = true}, true);
  EXPECT_FALSE(local.refusal.refused());
  EXPECT_TRUE(local.identity.admin);
}

TEST_F(GateTest, A2OnceAKeyExistsNobodyPassesWithoutOne) {
  const std::string key = create("a"), admin = create("root", {}, KeyTier::kOnDemand, true);
  EXPECT_TRUE(gate().closed());
  for (const bool loopback : {false, true}) {
    for (const bool admin_route : {false, true}) {
      EXPECT_EQ(gate().authenticate({.secret = "", .peer = "", .loopback = loopback}, admin_route).refusal.status, 401);
      EXPECT_EQ(gate().authenticate({.secret = "sk-wrong", .peer = "", .loopback = loopback}, admin_route).refusal.status, 401);
    }
  }
  EXPECT_FALSE(gate().authenticate({.secret = key}, false).refusal.refused());
  EXPECT_EQ(gate().authenticate({.secret = key}, true).refusal.status, 403);
  EXPECT_FALSE(gate().authenticate({.secret = admin}, true).refusal.refused());
  for (const std::string& sentence : said_) EXPECT_EQ(sentence.find(key), std::string::npos);
}

TEST_F(GateTest, RevokedAndChangedKeysTakeEffectWithoutARestart) {
  const std::string key = create("a");
  const Identity who = identity(key);
  const Admission running = gate().admit(who, price(10, 10));
  ASSERT_FALSE(running.refusal.refused());
  KeyFile::Change change;
  change.limits[static_cast<size_t>(LimitKind::kRequestsPerMinute)] = 1;
  {
    Result<KeyFile> file = KeyFile::open(folder_ / "keys.db", KeyFile::Access::kWrite);
    ASSERT_TRUE(file.ok() && file->change("a", change).ok());
  }
  gate().tick();
  ASSERT_FALSE(gate().admit(identity(key), price(1, 1)).refusal.refused());
  EXPECT_EQ(gate().admit(identity(key), price(1, 1)).refusal.status, 429);
  {
    Result<KeyFile> file = KeyFile::open(folder_ / "keys.db", KeyFile::Access::kWrite);
    ASSERT_TRUE(file.ok() && file->revoke("a", 5).ok());
  }
  gate().tick();
  EXPECT_EQ(gate().authenticate({.secret = key}, false).refusal.status, 401);
  gate().finished(who, running.ticket, {});  // what ran when the key went is still accounted for
  EXPECT_EQ(gate().statistics().requests, 1u);
}

TEST_F(GateTest, AQuotaIs429WithTheSecondsToWait) {
  const Identity who = identity(create("a", {{0, 0, 600, 0, 0}}));
  ASSERT_FALSE(gate().admit(who, price(100, 400)).refusal.refused());
  const Refusal refusal = gate().admit(who, price(100, 100)).refusal;
  EXPECT_EQ(refusal.status, 429);
  EXPECT_EQ(refusal.code, "rate_limit_exceeded");
  EXPECT_EQ(refusal.retry_after_s, 10u);  // 100 tokens are missing, ten come in a second
  EXPECT_NE(refusal.message.find("600 tokens per minute (TPM)"), std::string::npos) << refusal.message;
  now_us_ += 10'000'000;
  EXPECT_FALSE(gate().admit(who, price(100, 100)).refusal.refused());
}

TEST_F(GateTest, H2ThePriceOfAllChoicesIsKnownBeforeAnythingIsComputed) {
  const Identity who = identity(create("a", {{0, 0, 5000, 0, 0}}));
  const Refusal choices = gate().admit(who, price(10, 1'000'000ull * 4096)).refusal;  // n = 10^6
  EXPECT_EQ(choices.status, 413);
  EXPECT_EQ(choices.retry_after_s, 0u);
  EXPECT_NE(choices.message.find("4096000010 tokens"), std::string::npos) << choices.message;
  EXPECT_EQ(gate().admit(who, price(UINT64_MAX, UINT64_MAX)).refusal.status, 413);
  const Identity rich = identity(create("b"));
  EXPECT_EQ(gate().admit(rich, price(10, 20'000)).refusal.status, 413);
  EXPECT_EQ(gate().statistics().requests, 0u);
  EXPECT_EQ(headers(who)["x-ratelimit-remaining-tokens"], "5000");
}

TEST_F(GateTest, UnusedAndCachedTokensGoBack) {
  const Identity who = identity(create("a", {{0, 0, 1000, 0, 0}}));
  const Admission admission = gate().admit(who, price(500, 500));
  EXPECT_EQ(headers(who)["x-ratelimit-remaining-tokens"], "0");
  gate().finished(who, admission.ticket, {.prompt_tokens = 500, .cached_tokens = 400, .completion_tokens = 50});
  EXPECT_EQ(headers(who)["x-ratelimit-remaining-tokens"], "850");
  EXPECT_EQ(headers(who)["x-ratelimit-reset-tokens"], "9s");
}

TEST_F(GateTest, HeadersOfTheDayAndOfTheMinute) {
  const Identity who = identity(create("a", {{0, 1000, 6000, 0, 0}}));
  ASSERT_FALSE(gate().admit(who, price(1000, 0)).refusal.refused());
  std::map<std::string, std::string> seen = headers(who);
  EXPECT_EQ(seen["x-ratelimit-limit-requests"], "1000");
  EXPECT_EQ(seen["x-ratelimit-remaining-requests"], "999");
  EXPECT_EQ(seen["x-ratelimit-reset-requests"], "1m26.4s");
  EXPECT_EQ(seen["x-ratelimit-limit-tokens"], "6000");
  EXPECT_EQ(seen["x-ratelimit-remaining-tokens"], "5000");
  EXPECT_EQ(seen["x-ratelimit-reset-tokens"], "10s");
  const Identity free = identity(create("free"));
  seen = headers(free);
  EXPECT_EQ(seen["x-ratelimit-limit-requests"], "10");  // the room of the server
  EXPECT_EQ(seen["x-ratelimit-remaining-requests"], "9");
  EXPECT_EQ(seen["x-ratelimit-remaining-tokens"], "9000");
}

TEST_F(GateTest, NoRoomIs503AndForFlex498) {
  std::vector<Admission> running;
  for (int i = 0; i < 5; ++i) running.push_back(gate().admit({}, price(100, 100)));
  EXPECT_EQ(gate().admit({}, price(100, 100, Tier::kFlex)).refusal.status, 498);  // half is full
  for (int i = 0; i < 4; ++i) running.push_back(gate().admit({}, price(100, 100)));
  const Refusal refusal = gate().admit({}, price(100, 100)).refusal;
  EXPECT_EQ(refusal.status, 503);
  EXPECT_EQ(refusal.code, "capacity_exceeded");
  EXPECT_GE(refusal.retry_after_s, 1u);
  running.push_back(gate().admit({}, price(100, 100, Tier::kPerformance)));
  for (const Admission& one : running) ASSERT_FALSE(one.refusal.refused());
  EXPECT_EQ(gate().admit({}, price(100, 100, Tier::kPerformance)).refusal.status, 503);
  EXPECT_EQ(gate().statistics().requests, 10u);
  for (const Admission& one : running) gate().finished({}, one.ticket, {});
  const GateStatistics after = gate().statistics();
  EXPECT_EQ(after.requests + after.tokens + after.bytes, 0u);
  EXPECT_EQ(after.refused[4], 1u);
  EXPECT_EQ(after.refused[5], 2u);
}

TEST_F(GateTest, TokensAndBytesAreBoundedToo) {
  ASSERT_FALSE(gate().admit({}, price(4000, 4000)).refusal.refused());
  EXPECT_EQ(gate().admit({}, price(1000, 500)).refusal.status, 503);
  EXPECT_FALSE(gate().admit({}, price(400, 500)).refusal.refused());
  Price large = price(1, 1);
  large.bytes = 899'000;
  EXPECT_FALSE(gate().admit({}, large).refusal.refused());
  EXPECT_EQ(gate().admit({}, large).refusal.status, 503);
  large.bytes = 1'000'001;
  EXPECT_EQ(gate().admit({}, large).refusal.status, 413);
  EXPECT_EQ(gate().admit({}, price(10'000, 10'000)).refusal.status, 413);
  gate().set_tokens_max(100'000);
  EXPECT_FALSE(gate().admit({}, price(10'000, 10'000)).refusal.refused());
}

// A steady server ends five requests a second. The n-th client that is sent away is told about n/5 seconds: none is told a time at which all come.
TEST_F(GateTest, RetryAfterIsHowFastRoomHasBecomeFree) {
  std::vector<uint64_t> tickets;
  for (int i = 0; i < 9; ++i) tickets.push_back(gate().admit({}, price(10, 10)).ticket);
  for (int i = 0; i < 500; ++i) {
    now_us_ += 200'000;
    gate().finished({}, tickets.front(), {});
    tickets.erase(tickets.begin());
    tickets.push_back(gate().admit({}, price(10, 10)).ticket);
  }
  std::vector<uint64_t> waits;
  for (int i = 0; i < 100; ++i) waits.push_back(gate().admit({}, price(10, 10)).refusal.retry_after_s);
  EXPECT_EQ(waits[0], 1u);
  EXPECT_NEAR(static_cast<double>(waits[49]), 10, 2);
  EXPECT_NEAR(static_cast<double>(waits[99]), 20, 3);
  EXPECT_TRUE(std::is_sorted(waits.begin(), waits.end()));
  for (int i = 0; i < 100'000; ++i) ASSERT_LE(gate().admit({}, price(10, 10)).refusal.retry_after_s, options_.retry_after_s_max);
}

TEST_F(GateTest, AKeyThatFloodsLeavesRoomForTheOthers) {
  const Identity heavy = identity(create("heavy")), light = identity(create("light"));
  int admitted = 0;
  for (int i = 0; i < 100; ++i) admitted += !gate().admit(heavy, price(10, 10)).refusal.refused();
  EXPECT_EQ(admitted, 8);
  EXPECT_FALSE(gate().admit(light, price(10, 10)).refusal.refused());
  EXPECT_EQ(gate().admit(heavy, price(10, 10)).refusal.status, 503);
}

TEST_F(GateTest, TiersAreBoundedByTheKey) {
  const Identity flex = identity(create("f", {}, KeyTier::kFlex)), plain = identity(create("o", {}, KeyTier::kOnDemand)), best = identity(create("p"));
  const auto granted = [&](const Identity& who, Tier asked, bool automatic) {
    Price wanted = price(1, 1, asked);
    wanted.tier_auto = automatic;
    const Admission admission = gate().admit(who, wanted);
    if (!admission.refusal.refused()) gate().finished(who, admission.ticket, {});
    return admission;
  };
  EXPECT_EQ(granted(flex, Tier::kOnDemand, false).tier, Tier::kFlex);
  EXPECT_EQ(granted(flex, Tier::kPerformance, false).refusal.status, 403);
  EXPECT_EQ(granted(plain, Tier::kPerformance, false).refusal.status, 403);
  EXPECT_EQ(granted(plain, Tier::kOnDemand, true).tier, Tier::kOnDemand);
  EXPECT_EQ(granted(best, Tier::kOnDemand, true).tier, Tier::kPerformance);
  EXPECT_EQ(granted(best, Tier::kFlex, false).queue_deadline_ms, 10'000u);
  EXPECT_EQ(granted(best, Tier::kOnDemand, false).queue_deadline_ms, 0u);
}

TEST_F(GateTest, ALineOfABatchTakesNoQuota) {
  const Identity who = identity(create("a", {{1, 0, 10, 0, 0}}));
  Price line = price(100, 100);
  line.batch = true;
  for (int i = 0; i < 2; ++i) {
    const Admission admission = gate().admit(who, line);
    ASSERT_FALSE(admission.refusal.refused());
    EXPECT_EQ(admission.tier, Tier::kBatch);
  }
  EXPECT_EQ(gate().admit(who, line).refusal.status, 503);  // a quarter of the room
  EXPECT_FALSE(gate().admit(who, price(5, 5)).refusal.refused());
}

TEST_F(GateTest, ARestartRemembersTheDay) {
  const std::string key = create("a", {{0, 10, 0, 0, 0}});
  Identity who = identity(key);
  for (int i = 0; i < 10; ++i) {
    const Admission admission = gate().admit(who, price(1, 1));
    ASSERT_FALSE(admission.refusal.refused());
    gate().finished(who, admission.ticket, {.prompt_tokens = 3, .completion_tokens = 4});
  }
  gate_.reset();
  now_us_ = 5;  // another boot's clock
  unix_s_ += 8640;
  who = identity(key);
  EXPECT_FALSE(gate().admit(who, price(1, 1)).refusal.refused());  // a tenth of a day is one of ten
  const Refusal refusal = gate().admit(who, price(1, 1)).refusal;
  EXPECT_EQ(refusal.status, 429);
  EXPECT_NEAR(static_cast<double>(refusal.retry_after_s), 8640, 1);
  const std::vector<KeyStanding> standings = gate().standings();
  ASSERT_EQ(standings.size(), 1u);
  EXPECT_EQ(standings[0].use.requests, 10u);
  EXPECT_EQ(standings[0].use.prompt_tokens, 30u);
}

TEST_F(GateTest, AWallClockThatJumpsChangesNothingWhileItRuns) {
  const Identity who = identity(create("a", {{2, 0, 0, 0, 0}}));
  ASSERT_FALSE(gate().admit(who, price(1, 1)).refusal.refused());
  ASSERT_FALSE(gate().admit(who, price(1, 1)).refusal.refused());
  for (const int64_t jump : {+100'000'000, -200'000'000}) {
    unix_s_ += jump;
    gate().tick();
    EXPECT_EQ(gate().admit(who, price(1, 1)).refusal.retry_after_s, 30u);
  }
}

TEST_F(GateTest, AnUnreadableKeyFileRefusesEverybodyAndSaysSo) {
  fs::create_directories(folder_);
  std::FILE* file = std::fopen((folder_ / "keys.db").c_str(), "wb");
  std::fputs("not a database but long enough to look at, byte after byte after byte, until the hundredth byte is reached.....", file);
  std::fclose(file);
  const Refusal refusal = gate().authenticate({.secret = "x", .peer = "", .loopback = true}, false).refusal;
  EXPECT_EQ(refusal.status, 503);
  EXPECT_EQ(refusal.code, "keys_unavailable");
  ASSERT_EQ(said_.size(), 1u);
  EXPECT_NE(said_[0].find("is damaged"), std::string::npos) << said_[0];
  for (int i = 0; i < 5; ++i) gate().tick();
  EXPECT_EQ(said_.size(), 1u);  // once, not every tick
}

// A day of ten keys with random traffic, refusals and cancellations: what is let in stays within the bounds, and ends at nothing.
TEST_F(GateTest, TheBooksBalance) {
  options_.requests_max = 40;
  std::vector<Identity> keys;
  for (uint64_t i = 0; i < 10; ++i) keys.push_back(identity(create("k" + std::to_string(i), {{i * 10, 0, i * 3000, 0, 5}})));
  std::mt19937_64 random(11);
  struct Running {
    size_t key;
    uint64_t ticket, prompt, completion;
  };
  std::vector<Running> running;
  uint64_t served = 0, refused = 0;
  for (int step = 0; step < 60'000; ++step) {
    now_us_ += random() % 100'000;
    if (!running.empty() && random() % 2 == 0) {
      const size_t at = random() % running.size();
      const Running done = running[at];
      running.erase(running.begin() + static_cast<ptrdiff_t>(at));
      Usage usage;
      if (random() % 8 == 0) usage.cancelled = true;
      else usage = {.prompt_tokens = done.prompt, .cached_tokens = random() % (done.prompt + 1), .completion_tokens = random() % (done.completion + 1)};
      gate().finished(keys[done.key], done.ticket, usage);
      ++served;
    }
    const size_t key = random() % keys.size();
    const Price wanted = price(1 + random() % 300, random() % 300, static_cast<Tier>(random() % 3));
    const Admission admission = gate().admit(keys[key], wanted);
    if (admission.refusal.refused()) {
      ++refused;
      const int status = admission.refusal.status;
      if (status == 429 || status == 498 || status == 503) {
        ASSERT_GE(admission.refusal.retry_after_s, 1u);
      }
    } else {
      running.push_back({key, admission.ticket, wanted.prompt_tokens, wanted.completion_tokens_max});
    }
    const GateStatistics now = gate().statistics();
    ASSERT_LE(now.requests, 40u);
    ASSERT_LE(now.tokens, 10'000u);
    ASSERT_EQ(now.requests, running.size());
  }
  for (const Running& one : running) gate().finished(keys[one.key], one.ticket, {});
  const GateStatistics end = gate().statistics();
  EXPECT_EQ(end.requests + end.tokens + end.bytes, 0u);
  for (const KeyStanding& standing : gate().standings()) EXPECT_EQ(standing.running, 0u);
  EXPECT_GT(served, 1000u);
  EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace sluice::server
