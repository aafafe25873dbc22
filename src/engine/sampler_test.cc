// Each stage of the chain by itself, against the definition.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "engine/fake_runner.h"
#include "engine/ngram_draft.h"

namespace sluice::engine {
namespace {

const SamplerOptions kPlain = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0};

// How often each token came in `draws` draws, as a share.
std::map<int32_t, double> shares(const SamplerOptions& options, DrawInput input, int draws = 4000) {
  Sampler sampler(input.logits.size(), nullptr, 64);
  std::map<int32_t, double> out;
  for (int i = 0; i < draws; ++i) {
    input.position = static_cast<uint64_t>(i);
    out[sampler.draw(options, input).id] += 1.0 / draws;
  }
  return out;
}

std::vector<float> logs(std::initializer_list<double> probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

TEST(Sampler, DrawsAsOftenAsTheDistributionSays) {
  const std::vector<float> logits = logs({0.5, 0.3, 0.15, 0.05});
  const auto drawn = shares(kPlain, {.logits = logits});
  EXPECT_NEAR(drawn.at(0), 0.5, 0.03);
  EXPECT_NEAR(drawn.at(1), 0.3, 0.03);
  EXPECT_NEAR(drawn.at(3), 0.05, 0.02);
}

TEST(Sampler, CutsWhatEachOptionSays) {
  const std::vector<float> logits = logs({0.05, 0.5, 0.3, 0.15});
  const auto kept = [&](auto set) {
    SamplerOptions options = kPlain;
    set(options);
    return shares(options, {.logits = logits}).size();
  };
  EXPECT_EQ(kept([](auto&) {}), 4u);
  EXPECT_EQ(kept([](auto& o) { o.top_k = 2; }), 2u);
  EXPECT_EQ(kept([](auto& o) { o.top_k = 1; }), 1u);
  EXPECT_EQ(kept([](auto& o) { o.top_p = 0.79f; }), 2u);
  EXPECT_EQ(kept([](auto& o) { o.top_p = 0.81f; }), 3u);
  EXPECT_EQ(kept([](auto& o) { o.top_p = 0; }), 1u);
  EXPECT_EQ(kept([](auto& o) { o.min_p = 0.25f; }), 3u);
  EXPECT_EQ(kept([](auto& o) { o.temperature = 0; }), 1u);
  // The entropy is 1.14: 0.3 (surprise 1.20) is the most typical, then 0.5 (0.69), which together have 0.8.
  EXPECT_EQ(kept([](auto& o) { o.typical_p = 0.29f; }), 1u);
  EXPECT_EQ(kept([](auto& o) { o.typical_p = 0.7f; }), 2u);
  SamplerOptions typical = kPlain;
  typical.typical_p = 0.29f;
  EXPECT_EQ(shares(typical, {.logits = logits}).begin()->first, 2);
}

// A big vocabulary takes the paths that do not sort everything: the same as sorting all of it.
TEST(Sampler, ShortcutsAgreeWithTheDefinition) {
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(uniform(3, 1, i) * 12);
  std::vector<std::pair<double, int32_t>> sorted;
  for (size_t i = 0; i < logits.size(); ++i) sorted.push_back({static_cast<double>(-logits[i]), static_cast<int32_t>(i)});
  std::sort(sorted.begin(), sorted.end());
  Sampler sampler(logits.size(), nullptr, 64);
  for (const uint32_t top_k : {0u, 40u, 2000u}) {
    for (const float top_p : {0.3f, 0.95f}) {
      double total = 0, sum = 0;
      const size_t most = top_k == 0 ? sorted.size() : top_k;
      for (size_t i = 0; i < most; ++i) total += std::exp(-sorted[i].first);
      std::vector<int32_t> kept;
      for (size_t i = 0; i < most && sum < static_cast<double>(top_p) * total; ++i) sum += std::exp(-sorted[i].first), kept.push_back(sorted[i].second);
      for (uint64_t position = 0; position < 200; ++position) {
        double point = uniform(9, 0, position) * sum;
        size_t want = 0;
        while (want + 1 < kept.size() && (point -= std::exp(-sorted[want].first)) >= 0) ++want;
        const Drawn drawn = sampler.draw({.temperature = 1, .top_k = top_k, .top_p = top_p, .min_p = 0, .seed = 9}, {.logits = logits, .position = position});
        EXPECT_EQ(drawn.id, kept[want]) << top_k << " " << top_p << " " << position;
      }
    }
  }
}

TEST(Sampler, PenaltiesCountWhatWasThere) {
  const std::vector<float> logits = {2, 2, 2, -2};
  TokenCounts counts(4, 64);
  const int32_t prompt[] = {0, 3};
  counts.add_prompt(prompt);
  for (const int32_t id : {1, 1, 2}) counts.add(id);
  Sampler sampler(4, nullptr, 64);
  const auto best = [&](auto set) {
    SamplerOptions options{.temperature = 0};
    set(options);
    return sampler.draw(options, {.logits = logits, .counts = &counts}).id;
  };
  EXPECT_EQ(best([](auto&) {}), 0);
  EXPECT_EQ(best([](auto& o) { o.repetition_penalty = 2; }), 0);         // all halved alike
  EXPECT_EQ(best([](auto& o) { o.presence.scale = 1; }), 0);             // only the answer's tokens lose
  EXPECT_EQ(best([](auto& o) { o.presence = {.scale = -1}; }), 1);
  EXPECT_EQ(best([](auto& o) { o.presence.scale = 5, o.penalize_prompt = true; }), 0);
  EXPECT_EQ(best([](auto& o) { o.frequency.scale = -1; }), 1);           // twice
  EXPECT_EQ(best([](auto& o) { o.share.scale = -1; }), 1);               // two thirds
  EXPECT_EQ(best([](auto& o) { o.logit_bias = {{2, 0.5f}}; }), 2);
  EXPECT_EQ(best([](auto& o) { o.logit_bias = {{3, 100.0f}}; }), 3);
}

TEST(Sampler, SwitchesSpareClassesOfTokens) {
  EXPECT_EQ(token_class("  \n"), kWhitespace);
  EXPECT_EQ(token_class(" ..."), kPunctuation);
  EXPECT_EQ(token_class("1984"), kNumber);
  EXPECT_EQ(token_class(" The"), kStopword);
  EXPECT_EQ(token_class("\xF0\x9F\x98\x80"), kEmoji);
  EXPECT_EQ(token_class("\xE2\x80\x94"), kPunctuation);
  EXPECT_EQ(token_class("fox"), 0);
  EXPECT_EQ(token_class("1a"), 0);
  const text::Tokenizer tokenizer = fake_tokenizer(30);  // token 0 prints as "a", a stopword; token 1 as "b"
  const TokenClasses classes(tokenizer);
  Sampler sampler(30, &classes, 64);
  TokenCounts counts(30, 64);
  counts.add(0);
  counts.add(1);
  std::vector<float> logits(30, 0.0f);
  logits[0] = 2;
  logits[1] = 3;
  SamplerOptions options{.temperature = 0};
  options.frequency = {.scale = 2};
  EXPECT_EQ(sampler.draw(options, {.logits = logits, .counts = &counts}).id, 1);
  options.frequency.stopwords = false;
  EXPECT_EQ(sampler.draw(options, {.logits = logits, .counts = &counts}).id, 0);
}

TEST(Sampler, DryStopsALoopAndRespectsBreakers) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 9, 1, 2, 3};  // 4 would repeat four tokens
  std::vector<float> logits(10, 0.0f);
  logits[4] = 5;
  logits[5] = 4;
  SamplerOptions options{.temperature = 0};
  Sampler sampler(10, nullptr, 64);
  const auto best = [&] { return sampler.draw(options, {.logits = logits, .tokens = tokens}).id; };
  EXPECT_EQ(best(), 4);
  options.dry.multiplier = 0.8f;  // 0.8 x 1.75 ^ (3 - 2) = 1.4
  EXPECT_EQ(best(), 5);
  options.dry.multiplier = 0.5f;  // 0.875
  EXPECT_EQ(best(), 4);
  options.dry = {.multiplier = 0.8f, .allowed_length = 4};
  EXPECT_EQ(best(), 4);
  options.dry = {.multiplier = 0.8f, .breakers = {2}};  // only "3" repeats: shorter than what is allowed
  EXPECT_EQ(best(), 4);
  options.dry = {.multiplier = 0.8f, .window = 4};  // 9 1 2 3
  EXPECT_EQ(best(), 4);
}

// The linear-time matches are those of comparing every place with the end.
TEST(Sampler, DryMatchesTheDefinition) {
  Sampler sampler(6, nullptr, 64);
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    std::vector<int32_t> tokens(3 + seed % 40);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(uniform(seed, 0, i) * 3);
    std::map<int32_t, size_t> longest;
    for (size_t end = 1; end < tokens.size(); ++end) {
      size_t same = 0;
      while (same < end && tokens[end - 1 - same] == tokens[tokens.size() - 1 - same]) ++same;
      if (same >= 2) longest[tokens[end]] = std::max(longest[tokens[end]], same);
    }
    const std::vector<float> logits(6, 0.0f);
    SamplerOptions options{.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0};
    options.dry.multiplier = 1;
    const Drawn drawn = sampler.draw(options, {.logits = logits, .top_logprobs = 6, .tokens = tokens});
    std::map<int32_t, double> logprob;
    for (const TokenLogprob& t : drawn.top) logprob[t.id] = static_cast<double>(t.logprob);
    for (int32_t id = 0; id < 3; ++id) {
      const double penalty = longest.count(id) ? std::min(std::pow(1.75, static_cast<double>(longest[id] - 2)), 44.0) : 0.0;
      if (penalty < 40) {
        EXPECT_NEAR(logprob[5] - logprob[id], penalty, 1e-3) << seed << " " << id;
      }
    }
  }
}

TEST(Sampler, OnlyWhatTheMaskAllowsIsEverDrawn) {
  const std::vector<float> logits(130, 1.0f);
  std::vector<uint64_t> mask(3, 0);
  mask[0] = 1ull << 7;
  mask[2] = 1ull << 1;
  const auto drawn = shares(kPlain, {.logits = logits, .mask = mask});
  EXPECT_EQ(drawn.size(), 2u);
  EXPECT_TRUE(drawn.contains(7) && drawn.contains(129));
  const int32_t banned[] = {7};
  EXPECT_EQ(shares(kPlain, {.logits = logits, .mask = mask, .banned = banned}).size(), 1u);
  mask.assign(3, 0);
  EXPECT_EQ(shares(kPlain, {.logits = logits, .mask = mask}).begin()->first, -1);
}

// With any mask, dense or sparse, the draw is that from logits in which what is forbidden is -infinity; also where penalties make a copy.
TEST(Sampler, AMaskIsMinusInfinityInTheLogits) {
  for (const size_t size : {1u, 63u, 64u, 65u, 777u, 4096u}) {
    Sampler sampler(size, nullptr, 0);
    for (uint64_t trial = 0; trial < 60; ++trial) {
      const double density = std::array{0.002, 0.1, 0.5, 0.97, 1.0}[trial % 5];
      std::vector<float> logits(size), forbidden(size);
      std::vector<uint64_t> mask((size + 63) / 64 + trial % 2);
      for (size_t i = 0; i < size; ++i) {
        logits[i] = forbidden[i] = std::floor(static_cast<float>(uniform(trial, 1, i) * 40)) / 4;  // with ties
        if (uniform(trial, 2, i) < 0.02) logits[i] = forbidden[i] = NAN;
        if (uniform(trial, 3, i) < density) {
          mask[i / 64] |= uint64_t{1} << (i % 64);
        } else {
          forbidden[i] = -INFINITY;
        }
      }
      const auto best = std::max_element(forbidden.begin(), forbidden.end(), [](float a, float b) { return !(a >= b) && !std::isnan(b); });
      const bool none = !(*best > -INFINITY);
      for (SamplerOptions options : {SamplerOptions{.temperature = 0}, SamplerOptions{}, kPlain, SamplerOptions{.top_k = 3, .top_p = 1, .min_p = 0},
                                     SamplerOptions{.temperature = 2, .top_k = 2000, .typical_p = 0.9f}}) {
        options.seed = trial;
        const int32_t id = sampler.draw(options, {.logits = logits, .mask = mask}).id;
        EXPECT_EQ(id, none ? -1 : sampler.draw(options, {.logits = forbidden}).id) << size << " " << trial;
        options.logit_bias = {{0, 0.0f}};
        EXPECT_EQ(id, sampler.draw(options, {.logits = logits, .mask = mask}).id) << size << " " << trial;
      }
    }
  }
}

TEST(Sampler, TheDrawDependsOnSeedChoiceAndPositionAlone) {
  std::vector<float> logits(50);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7);
  Sampler one(50, nullptr, 0), other(50, nullptr, 0);
  SamplerOptions options = kPlain;
  options.seed = 5;
  for (uint64_t p = 0; p < 20; ++p) other.draw(options, {.logits = logits, .position = p});
  int differ = 0;
  for (uint64_t p = 0; p < 50; ++p) {
    const int32_t id = one.draw(options, {.logits = logits, .choice = 2, .position = p}).id;
    EXPECT_EQ(id, other.draw(options, {.logits = logits, .choice = 2, .position = p}).id);
    differ += id != one.draw(options, {.logits = logits, .choice = 3, .position = p}).id ? 1 : 0;
  }
  EXPECT_GT(differ, 10);
}

TEST(Sampler, LogprobsBeforeAndAfterTheChain) {
  const std::vector<float> logits = logs({0.5, 0.3, 0.15, 0.05});
  SamplerOptions options = kPlain;
  options.top_k = 2;
  Sampler sampler(4, nullptr, 0);
  const Drawn drawn = sampler.draw(options, {.logits = logits, .top_logprobs = 3});
  ASSERT_EQ(drawn.top.size(), 3u);
  EXPECT_NEAR(drawn.top[0].raw_logprob, std::log(0.5), 1e-5);
  EXPECT_NEAR(drawn.top[0].logprob, std::log(0.625), 1e-5);
  EXPECT_NEAR(drawn.top[1].logprob, std::log(0.375), 1e-5);
  EXPECT_EQ(drawn.top[2].logprob, -INFINITY);
  EXPECT_EQ(drawn.logprob.logprob, drawn.top[static_cast<size_t>(drawn.id)].logprob);
}

TEST(Sampler, NanIsNeverChosen) {
  std::vector<float> logits(40, NAN);
  EXPECT_EQ(argmax(logits), 0);
  logits[33] = -5;
  EXPECT_EQ(argmax(logits), 33);
  EXPECT_EQ(shares(kPlain, {.logits = logits}, 10).begin()->first, 33);
  logits[38] = -5;
  EXPECT_EQ(argmax(logits), 33);  // ties: the lower id
}

TEST(NgramDraft, GoesOnAsTheTextDidBefore) {
  std::vector<int32_t> draft;
  draft_by_ngram(std::vector<int32_t>{5, 1, 2, 3, 7, 8, 9, 1, 2, 3}, 3, draft);
  EXPECT_EQ(draft, (std::vector<int32_t>{7, 8, 9}));
  draft_by_ngram(std::vector<int32_t>{1, 2, 3, 4, 0, 1, 2, 3, 6, 9, 1, 2, 3}, 2, draft);
  EXPECT_EQ(draft, (std::vector<int32_t>{6, 9}));  // the latest of equals
  draft_by_ngram(std::vector<int32_t>{0, 1, 2, 3, 4, 7, 1, 2, 3, 6, 0, 1, 2, 3}, 2, draft);
  EXPECT_EQ(draft, (std::vector<int32_t>{4, 7}));  // the longest match
  draft_by_ngram(std::vector<int32_t>{1, 2, 3, 4, 5}, 2, draft);
  EXPECT_TRUE(draft.empty());
}

}  // namespace
}  // namespace sluice::engine
