// Replays of a short generated trace: every hit is the right state, no policy uses more than its budget or saves more than the bound, the same run gives the
// same numbers, and ours leaves less avoidable than what it is compared with.
#include "engine/replay.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/replay_generator.h"

namespace sluice::engine {
namespace {

struct Played {
  Trace trace;
  History history;
  std::vector<ReplayResult> results;
};

Played play(std::vector<ReplayCase> cases, uint64_t seed = 5) {
  Played out{generate_trace(seed, 1500), {}, {}};
  out.history = study(out.trace);
  auto results = replay(out.trace, out.history, ReplayShape(), cases);
  EXPECT_TRUE(results.ok());
  out.results = std::move(results).value();
  return out;
}

constexpr uint64_t kBudget = 600'000'000;

TEST(Replay, EveryPolicyFindsRightStatesWithinBudgetAndBound) {
  const Played played = play({{kBudget, "ours"}, {kBudget, "lru-blocks:512"}, {kBudget, "align:768"}, {kBudget, "leaf-lru"}, {kBudget, "marconi:0.1"},
                              {kBudget, "llama"}, {kBudget, "clairvoyant"}});
  for (const ReplayResult& r : played.results) {
    EXPECT_EQ(r.wrong_states, 0u) << r.policy;
    EXPECT_LE(r.store.bytes_max, kBudget) << r.policy;
    EXPECT_LE(r.cost_saved, r.cost_bound) << r.policy;
    EXPECT_GT(r.store.hits, 500u) << r.policy;
    EXPECT_EQ(r.resumed_tokens + r.new_tokens + r.lost_tokens + r.distance_tokens, r.prompt_tokens) << r.policy;
  }
  const auto saved = [&](size_t i) { return played.results[i].cost_saved; };
  for (size_t i = 1; i < 6; ++i) EXPECT_GT(saved(0), saved(i)) << played.results[i].policy;
  EXPECT_GT(saved(6), saved(0));
  EXPECT_GT(saved(6), 0.97 * played.results[6].cost_bound) << "bound and clairvoyant bracket the optimum";
}

TEST(Replay, TheSameRunGivesTheSameNumbers) {
  const Played a = play({{kBudget, "ours"}}), b = play({{kBudget / 2, "marconi:0.2"}, {kBudget, "ours"}});
  EXPECT_EQ(a.results[0].cost_saved, b.results[1].cost_saved) << "whoever plays beside";
  EXPECT_EQ(a.results[0].store.evicted, b.results[1].store.evicted);
}

TEST(Replay, WhatCannotBeKeptIsNotSaved) {
  const Played played = play({{kBudget, "ours"}});
  std::vector<ReplayCase> none = {{20'000, "ours"}};
  EXPECT_FALSE(replay(played.trace, played.history, ReplayShape(), none).ok());
  none = {{kBudget, "mine"}};
  EXPECT_FALSE(replay(played.trace, played.history, ReplayShape(), none).ok());
}

}  // namespace
}  // namespace sluice::engine
