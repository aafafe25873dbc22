// The store against a model that always compares from nothing: random histories (extend, edit, branch, regenerate, return, pin) over a stub whose state is
// a hash of the tokens. Then the rules one by one: budget, leases, pins, reasons.
#include "engine/state_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/eviction.h"
#include "engine/placement.h"
#include "engine/sampler.h"

namespace sluice::engine {
namespace {

using Tokens = std::vector<int32_t>;

uint64_t state_of(std::span<const int32_t> tokens) {
  uint64_t hash = 1;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15ull + (hash >> 47);
  return hash;
}

std::unique_ptr<StateStore> make_store(uint64_t budget, uint64_t ttl_ms = 0) {
  StoreOptions options;
  options.budget_bytes = budget;
  options.page_bytes = 4096;
  options.state_bytes = 20'000;  // five blocks
  options.ttl_ms = ttl_ms;
  auto store = StateStore::create(options, learned_evictor());
  EXPECT_TRUE(store.ok());
  return std::move(store).value();
}

Lookup look(StateStore& store, const Tokens& tokens, uint32_t tenant = 0, uint64_t now_ms = 0) {
  Lookup out;
  store.lookup({.tenant = tenant, .program = 0, .now_ms = now_ms, .tokens = tokens, .message_starts = {}}, out);
  return out;
}

uint32_t keep(StateStore& store, std::span<const int32_t> tokens, Kind kind = Kind::kPromptEnd, uint32_t tenant = 0, uint64_t now_ms = 0) {
  return store.insert({.tenant = tenant, .now_ms = now_ms, .tokens = tokens, .kind = kind, .payload = state_of(tokens), .state = {}, .pages = {}});
}

Tokens text(uint64_t seed, size_t size) {
  Tokens out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(engine::uniform(seed, 2, i) * 5);  // few ids: chance agreements are common
  return out;
}

// One step of a history; how `a` and `b` are read depends on the step. Shrinking removes steps.
struct Step {
  uint32_t what, a, b;
};

// Empty if every lookup was right, otherwise what was wrong.
std::string run_history(const std::vector<Step>& steps) {
  const std::unique_ptr<StateStore> store = make_store(900'000);
  std::vector<Tokens> branches(1, text(1, 70));
  std::vector<Tokens> kept;  // every prefix ever inserted
  uint64_t number = 0, now_ms = 0;
  for (const Step& step : steps) {
    ++number;
    now_ms += step.a;
    Tokens tokens = branches[step.a % branches.size()];
    const auto extend = [&](size_t n) {
      const Tokens more = text(step.b + 10, n);
      tokens.insert(tokens.end(), more.begin(), more.end());
    };
    if (step.what == 0) extend(1 + step.b % 200);                                                    // go on
    if (step.what == 1) tokens[step.b % tokens.size()] ^= 1;                                         // edit one token
    if (step.what == 2) tokens.resize(1 + step.b % tokens.size()), extend(1 + step.a % 90);          // branch
    if (step.what == 4) tokens = text(step.b, 1 + step.b % 150);                                     // another conversation
    if (tokens.size() > 1500) tokens.resize(100);                                                    // what == 3: the same prompt again
    const Tokens prompt = tokens;
    Lookup found = look(*store, prompt, 0, now_ms);
    if (found.resume >= prompt.size()) return "resumes past the last token";
    if (found.resume > 0) {
      const std::span<const int32_t> prefix = std::span<const int32_t>(prompt).first(found.resume);
      if (found.payload != state_of(prefix)) return "the state is not that of the prompt's tokens";
      if (std::none_of(kept.begin(), kept.end(), [&](const Tokens& k) { return std::ranges::equal(k, prefix); })) return "never inserted";
      if (found.pages.size() != (found.resume + kPageTokens - 1) / kPageTokens) return "pages are missing";
    }
    if (found.differs_at && prompt[*found.differs_at] == found.stored_token) return "the token that differs does not";
    std::vector<Mark> marks;
    place_prompt({found.resume, found.matched, prompt.size(), 0, 0}, marks);
    extend(1 + step.b % 30);
    marks.push_back({tokens.size() - 1, Kind::kAnswerEnd});
    for (const Mark& mark : marks) {
      if (mark.position <= found.resume) continue;
      const std::span<const int32_t> prefix = std::span<const int32_t>(tokens).first(mark.position);
      const uint32_t id = keep(*store, prefix, mark.kind, 0, now_ms);
      if (id == kNoCheckpoint) continue;
      kept.emplace_back(prefix.begin(), prefix.end());
      if (store->checkpoint(id).payload != state_of(prefix)) return "insert answers with another state";
      if (step.what == 5) (void)store->pin(id, 50, now_ms);
    }
    store->release(found);
    store->check();
    if (branches.size() < 12) branches.push_back(tokens); else branches[number % 12] = tokens;
  }
  return "";
}

std::vector<Step> random_history(uint64_t seed) {
  std::vector<Step> steps(5 + static_cast<size_t>(engine::uniform(seed, 0, 0) * 40));
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto draw = [&](uint64_t k, double n) { return static_cast<uint32_t>(engine::uniform(seed, k, i) * n); };
    steps[i] = {draw(3, 6), draw(4, 1000), draw(5, 1000)};
  }
  return steps;
}

TEST(StateStore, RandomHistoriesReturnExactlyWhatWasInserted) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    std::vector<Step> steps = random_history(seed);
    std::string wrong = run_history(steps);
    if (wrong.empty()) continue;
    for (size_t i = 0; i < steps.size();) {  // shrink: drop whatever is not needed to fail
      std::vector<Step> fewer = steps;
      fewer.erase(fewer.begin() + static_cast<ptrdiff_t>(i));
      if (const std::string still = run_history(fewer); !still.empty()) {
        steps.swap(fewer);
        wrong = still;
      } else {
        ++i;
      }
    }
    std::string story;
    for (const Step& s : steps) story += "{" + std::to_string(s.what) + "," + std::to_string(s.a) + "," + std::to_string(s.b) + "} ";
    FAIL() << "seed " << seed << ": " << wrong << " after " << story;
  }
}

TEST(StateStore, AnIdenticalPromptResumesOneBeforeItsEnd) {
  const auto store = make_store(1 << 20);
  const Tokens prompt = text(3, 300);
  keep(*store, std::span(prompt).first(299));
  Lookup found = look(*store, prompt);
  EXPECT_EQ(found.resume, 299u);
  EXPECT_EQ(found.reason, MissReason::kNone);
  store->release(found);
}

TEST(StateStore, KvBehindTheLastCheckpointIsNotKept) {
  const auto store = make_store(1 << 20);
  const Tokens prompt = text(4, 640);
  const uint32_t empty = store->free_blocks();
  keep(*store, std::span(prompt).first(128));
  EXPECT_EQ(empty - store->free_blocks(), store->state_blocks() + 2);
  Lookup found = look(*store, prompt);
  EXPECT_EQ(found.resume, 128u);
  EXPECT_EQ(found.matched, 128u);
  EXPECT_EQ(found.pages.size(), 2u);
  store->release(found);
}

TEST(StateStore, SaysWhatDiffersAndHowFarTheCheckpointIs) {
  const auto store = make_store(1 << 20);
  Tokens prompt = text(5, 200);
  keep(*store, std::span(prompt).first(100));
  keep(*store, prompt);
  prompt[150] += 100;
  const std::vector<uint32_t> starts = {0, 120, 180};
  Lookup found;
  store->lookup({.tokens = prompt, .message_starts = starts}, found);
  EXPECT_EQ(found.resume, 100u);
  EXPECT_EQ(found.reason, MissReason::kNearestCheckpoint);
  EXPECT_EQ(found.distance, 50u);
  EXPECT_EQ(found.differs_at, 150u);
  EXPECT_EQ(found.stored_token, prompt[150] - 100);
  EXPECT_EQ(found.message, 1u);
  store->release(found);
}

TEST(StateStore, TenantsNeverShare) {
  const auto store = make_store(1 << 20);
  const Tokens prompt = text(6, 200);
  keep(*store, prompt, Kind::kPromptEnd, 1);
  Tokens longer = prompt;
  longer.push_back(1);
  const Lookup found = look(*store, longer, 2);
  EXPECT_EQ(found.resume, 0u);
  EXPECT_EQ(found.matched, 0u);
  EXPECT_EQ(found.reason, MissReason::kOtherTenant);
}

TEST(StateStore, AnotherProgramAndNothingStoredHaveNames) {
  const auto store = make_store(1 << 20);
  const Tokens prompt = text(7, 100);
  Lookup found;
  store->lookup({.program = 9, .tokens = prompt, .message_starts = {}}, found);
  EXPECT_EQ(found.reason, MissReason::kOtherProgram);
  EXPECT_EQ(look(*store, prompt).reason, MissReason::kNoSuchPrefix);
}

TEST(StateStore, WhatExpiredSaysSo) {
  const auto store = make_store(1 << 20, 1000);
  Tokens prompt = text(8, 200);
  keep(*store, prompt);
  prompt.push_back(1);
  const Lookup found = look(*store, prompt, 0, 5000);
  EXPECT_EQ(found.resume, 0u);
  EXPECT_EQ(found.reason, MissReason::kExpired);
  EXPECT_EQ(found.lost_position, 200u);
}

TEST(StateStore, PinsHoldUntilTheyLapseAndStayWithinTheirShare) {
  const auto store = make_store(2'000'000);
  const Tokens pinned = text(9, 256);
  const uint32_t id = keep(*store, pinned);
  ASSERT_TRUE(store->pin(id, 1000, 0).ok());
  const auto crowd = [&](uint64_t now_ms) {
    for (uint64_t i = 0; i < 200; ++i) {
      Lookup found = look(*store, text(100 + i + now_ms, 400), 0, now_ms);
      store->release(found);
      const Tokens other = text(100 + i + now_ms, 400);
      store->insert({.now_ms = now_ms, .tokens = other, .state = {}, .pages = {}, .always = true});
    }
  };
  crowd(500);
  EXPECT_EQ(store->checkpoint(id).position, 256u);
  Status refused = {};
  for (uint64_t i = 0; i < 40 && refused.ok(); ++i) {
    const Tokens other = text(1000 + i, 640);
    const uint32_t more = store->insert({.now_ms = 500, .tokens = other, .state = {}, .pages = {}, .always = true});
    if (more == kNoCheckpoint) break;
    refused = store->pin(more, 1000, 500);
  }
  EXPECT_FALSE(refused.ok());
  crowd(5000);
  Tokens longer = pinned;
  longer.push_back(1);
  EXPECT_LT(look(*store, longer, 0, 5000).resume, 256u);
  store->check();
}

TEST(StateStore, ForgettingFreesAPinnedStateAndLeavesWhatGoesOnFromIt) {
  const auto store = make_store(2'000'000);
  const uint64_t empty = store->stats().page_bytes;
  const Tokens base = text(9, 256);
  Tokens longer = base;
  longer.resize(400, 3);
  const uint32_t id = keep(*store, base);
  ASSERT_TRUE(store->pin(id, 1000, 0).ok());
  keep(*store, longer);
  store->forget(store->find(0, base));
  EXPECT_EQ(store->find(0, base), kNoCheckpoint);
  longer.push_back(1);
  EXPECT_EQ(store->resumable(0, longer), 400u);
  longer.pop_back();
  store->forget(store->find(0, longer));
  EXPECT_EQ(store->stats().page_bytes, empty);
  store->check();

  // While somebody goes on from it, it is only no longer pinned.
  const uint32_t used = keep(*store, base);
  ASSERT_TRUE(store->pin(used, 1000, 0).ok());
  Tokens asked = base;
  asked.push_back(1);
  Lookup found = look(*store, asked, 0, 0);
  store->forget(used);
  EXPECT_EQ(store->find(0, base), used);
  EXPECT_EQ(store->checkpoint(used).pin_until_ms, 0u);
  store->release(found);
  store->check();
}

TEST(StateStore, ABudgetTooSmallForOneStateIsRefusedWithNumbers) {
  StoreOptions options;
  options.budget_bytes = 10'000;
  options.page_bytes = 4096;
  options.state_bytes = 20'000;
  const auto store = StateStore::create(options, learned_evictor());
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.error().message.find("10000"), std::string::npos);
}

// What the learner sees of time.
struct Watch final : Evictor {
  explicit Watch(std::vector<uint64_t>& out) : ticks(out) {}
  void next_request(StoreView& store) override { ticks.push_back(store.tick()); }
  uint32_t choose(StoreView&, uint32_t, uint64_t) override { return kNoCheckpoint; }
  std::vector<uint64_t>& ticks;
};

TEST(StateStore, IdleTimesAreRequestsOrSecondsWhicheverAreMore) {
  std::vector<uint64_t> ticks;
  const auto store = StateStore::create({.budget_bytes = 1 << 20, .page_bytes = 4096, .state_bytes = 20'000}, std::make_unique<Watch>(ticks)).value();
  for (const uint64_t now_ms : {0, 0, 0, 10'000, 11'500, 12'000, 72'000}) (void)look(*store, text(1, 10), 0, now_ms);
  EXPECT_EQ(ticks, (std::vector<uint64_t>{1, 2, 3, 10, 11, 12, 72})) << "three at once, then seconds";
  ticks.clear();
  for (int i = 0; i < 1000; ++i) (void)look(*store, text(1, 10), 0, 72'000);
  (void)look(*store, text(1, 10), 0, 172'000);
  EXPECT_EQ(ticks[999], 1072u) << "a burst counts its requests";
  EXPECT_EQ(ticks[1000], 1072u + 100 - 64) << "the quiet after it pays for 64 of them at most";
}

}  // namespace
}  // namespace sluice::engine
