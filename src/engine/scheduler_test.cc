// Whole runs of the engine's core with a fake runtime and a fake clock: what comes out, in which order, at what cost.
#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/fake_runner.h"
#include "engine/scheduler_testing.h"

namespace sluice::engine {
namespace {

TEST(Scheduler, AnswersAreThoseOfTheModelComputedFromNothing) {
  for (const StepSizes& sizes : kFakeShapes) {
    Bench bench(sizes, {.context = 512, .sequences_max = 4});
    const RequestId a = bench.ask(fake_prompt(1, 130), {.max_tokens = 40});
    const RequestId b = bench.ask(fake_prompt(2, 7), {.max_tokens = 70});
    bench.run();
    EXPECT_EQ(bench.answer(a).tokens, bench.expect(fake_prompt(1, 130), 40));
    EXPECT_EQ(bench.answer(b).tokens, bench.expect(fake_prompt(2, 7), 70));
    EXPECT_EQ(bench.answer(a).reason, FinishReason::kLength);
    bench.scheduler().store().check();
  }
}

TEST(Scheduler, AnIdenticalPromptComputesOneToken) {
  for (const StepSizes& sizes : kFakeShapes) {
    Bench bench(sizes, {.context = 512, .sequences_max = 4, .store_bytes = 1 << 22});
    const auto prompt = fake_prompt(1, 200);
    bench.ask(prompt, {.max_tokens = 5});
    bench.run();
    const RequestId again = bench.ask(prompt, {.max_tokens = 5});
    bench.run();
    EXPECT_EQ(bench.answer(again).done.cached_tokens, 199u);
    EXPECT_EQ(bench.answer(again).tokens, bench.expect(prompt, 5));
  }
}

TEST(Scheduler, PrefillAndDecodeShareAStepAndItsRows) {
  Bench bench(kFakeShapes[0], {.context = 4096, .sequences_max = 4, .prefill_rows_max = 16});
  const RequestId talker = bench.ask(fake_prompt(1, 20), {.max_tokens = 60});
  bench.step(5);
  const RequestId reader = bench.ask(fake_prompt(2, 900), {.max_tokens = 2});
  bench.run();
  EXPECT_LE(bench.runner().rows_most, bench.runner().sizes().rows_max);
  EXPECT_EQ(bench.answer(talker).tokens, bench.expect(fake_prompt(1, 20), 60));
  EXPECT_EQ(bench.answer(reader).tokens, bench.expect(fake_prompt(2, 900), 2));
}

TEST(Scheduler, ChoicesForkAtThePromptsEndAndDrawApart) {
  for (const StepSizes& sizes : kFakeShapes) {
    Bench bench(sizes, {.context = 512, .sequences_max = 4});
    const auto prompt = fake_prompt(3, 100);
    Ask ask{.max_tokens = 30, .choices = 3};
    ask.sampler.temperature = 1.5f;
    const RequestId id = bench.ask(prompt, ask);
    bench.run();
    EXPECT_EQ(bench.runner().rows_computed, 100u + 3 * 29u);
    std::map<uint32_t, std::vector<int32_t>> by_choice = bench.answer(id).by_choice;
    ASSERT_EQ(by_choice.size(), 3u);
    for (const auto& [choice, tokens] : by_choice) EXPECT_EQ(tokens, bench.expect(prompt, 30, ask.sampler, choice)) << choice;
    EXPECT_NE(by_choice[0], by_choice[1]);
    EXPECT_EQ(bench.answer(id).choices_done, 3);
  }
}

TEST(Scheduler, CancellingFreesEverythingWithinOneStep) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 2});
  const RequestId decoding = bench.ask(fake_prompt(1, 20), {.max_tokens = 400});
  const RequestId queued = bench.ask(fake_prompt(5, 20), {.max_tokens = 400});
  const RequestId third = bench.ask(fake_prompt(6, 20), {.max_tokens = 3});
  bench.step(6);
  EXPECT_EQ(bench.scheduler().statistics().running_sequences, 2u);
  bench.scheduler().cancel(decoding);
  bench.scheduler().cancel(queued);
  bench.step(1);
  EXPECT_EQ(bench.answer(decoding).reason, FinishReason::kCancelled);
  EXPECT_EQ(bench.answer(queued).reason, FinishReason::kCancelled);
  bench.run();
  EXPECT_EQ(bench.answer(third).tokens, bench.expect(fake_prompt(6, 20), 3));
  EXPECT_EQ(bench.scheduler().statistics().running_sequences, 0u);
  EXPECT_EQ(bench.scheduler().statistics().requests_cancelled, 2u);
}

TEST(Scheduler, OneRequestsFailureLeavesTheOthersBits) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 4});
  bench.runner().failing_token = 3;
  auto bad = fake_prompt(1, 40);
  bad[20] = 3;
  auto good = fake_prompt(2, 90);
  std::replace(good.begin(), good.end(), 3, 4);
  Ask ask{.max_tokens = 1};
  const RequestId fails = bench.ask(bad, ask), works = bench.ask(good, ask);
  bench.run();
  EXPECT_EQ(bench.answer(fails).reason, FinishReason::kError);
  EXPECT_NE(bench.answer(fails).error.find("does not like"), std::string::npos);
  EXPECT_EQ(bench.answer(works).tokens, bench.expect(good, 1));
}

TEST(Scheduler, DeadlinesEndWhatIsLate) {
  Bench bench(kFakeShapes[0], {.context = 4096, .sequences_max = 1});
  const RequestId runs = bench.ask(fake_prompt(1, 20), {.max_tokens = 3000, .total_deadline_ms = 100});
  const RequestId waits = bench.ask(fake_prompt(2, 20), {.max_tokens = 5, .queue_deadline_ms = 20});
  const RequestId slow = bench.ask(fake_prompt(3, 3000), {.max_tokens = 5, .first_token_deadline_ms = 120});
  bench.run();
  EXPECT_EQ(bench.answer(runs).reason, FinishReason::kDeadline);
  EXPECT_GT(bench.answer(runs).tokens.size(), 20u);
  EXPECT_EQ(bench.answer(waits).reason, FinishReason::kDeadline);
  EXPECT_EQ(bench.answer(waits).done.prompt_us, 0u);
  EXPECT_EQ(bench.answer(slow).reason, FinishReason::kDeadline);
  EXPECT_TRUE(bench.answer(slow).tokens.empty());
}

TEST(Scheduler, StopStringsAreFoundAcrossTokensAndHeldBack) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 2});
  const auto prompt = fake_prompt(1, 20);
  const RequestId free = bench.ask(prompt, {.max_tokens = 30});
  bench.run();
  const std::string text = bench.answer(free).text;
  ASSERT_GT(text.size(), 20u);
  const std::string stop = text.substr(9, 4);
  const RequestId stopped = bench.ask(prompt, {.max_tokens = 30, .stops = {stop, "never there"}});
  bench.run();
  EXPECT_EQ(bench.answer(stopped).reason, FinishReason::kStop);
  EXPECT_EQ(bench.answer(stopped).text, text.substr(0, text.find(stop)));
  EXPECT_EQ(bench.answer(stopped).stop_string, stop);
}

TEST(Scheduler, EndTokensAndStopIdsWaitForMinTokens) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 2});
  const auto prompt = fake_prompt(4, 20);
  const RequestId free = bench.ask(prompt, {.max_tokens = 30});
  bench.run();
  const int32_t fifth = bench.answer(free).tokens[4];
  Ask ask{.max_tokens = 30};
  ask.stop_ids = {fifth};
  const RequestId stopped = bench.ask(prompt, ask);
  ask.min_tokens = 12;
  const RequestId later = bench.ask(prompt, ask);
  bench.run();
  EXPECT_EQ(bench.answer(stopped).reason, FinishReason::kStop);
  EXPECT_EQ(bench.answer(stopped).stop_id, fifth);
  EXPECT_LT(bench.answer(stopped).tokens.size(), 5u);
  EXPECT_GE(bench.answer(later).tokens.size(), 12u);
  EXPECT_EQ(std::count(bench.answer(later).tokens.begin(), bench.answer(later).tokens.begin() + 12, fifth), 0);
}

TEST(Scheduler, PromptsThatShareAPrefixWaitForItsOneComputation) {
  for (const StepSizes& sizes : kFakeShapes) {
    Bench bench(sizes, {.context = 4096, .sequences_max = 8, .store_bytes = 1 << 22});
    const auto system = fake_prompt(9, 1000);
    std::vector<RequestId> ids;
    std::vector<std::vector<int32_t>> prompts;
    for (uint64_t i = 0; i < 8; ++i) {
      auto prompt = system;
      const auto user = fake_prompt(20 + i, 30);
      prompt.insert(prompt.end(), user.begin(), user.end());
      ids.push_back(bench.ask(prompt, {.max_tokens = 10}));
      prompts.push_back(prompt);
    }
    bench.run();
    uint64_t computed = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(bench.answer(ids[i]).tokens, bench.expect(prompts[i], 10));
      computed += prompts[i].size() - bench.answer(ids[i]).done.cached_tokens;
    }
    EXPECT_LE(computed, 1000u + 8 * (30 + kNearTokens));
  }
}

TEST(Scheduler, KeysShareFairlyWhateverEachQueues) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 1});
  std::vector<RequestId> greedy;
  for (uint64_t i = 0; i < 12; ++i) greedy.push_back(bench.ask(fake_prompt(40 + i, 100), {.max_tokens = 2, .key = 1}));
  const RequestId modest = bench.ask(fake_prompt(99, 100), {.max_tokens = 2, .key = 2});
  bench.run();
  uint64_t earlier = 0;
  for (const RequestId id : greedy) earlier += bench.answer(id).done_at_us < bench.answer(modest).done_at_us ? 1 : 0;
  EXPECT_LE(earlier, 2u);
}

// Costs as of Jamba 3B on two cores: a row of a prompt takes a quarter of a decode step.
uint64_t first_token_us(Bench& bench, uint64_t seed) {
  const uint64_t asked = bench.runner().now_us;
  const RequestId id = bench.ask(fake_prompt(seed, 50), {.max_tokens = 4, .key = 2});
  while (!bench.answer(id).is_done) bench.step(1);
  return bench.answer(id).at_us.at(0) - asked;
}

TEST(Scheduler, AFloodDoesNotDoubleTheTimeToAnotherKeysFirstToken) {
  const EngineOptions options = {.context = 512, .sequences_max = 8};
  const FakeRunner::Cost cost = {.step_us = 40'000, .row_us = 11'600};
  Bench idle(kFakeShapes[0], options, cost), flooded(kFakeShapes[0], options, cost);
  for (uint64_t i = 0; i < 40; ++i) first_token_us(flooded, 2000 + i);  // much was asked while nobody else was there
  for (uint64_t i = 0; i < 100; ++i) flooded.ask(fake_prompt(200 + i, 50), {.max_tokens = 60, .key = 1});
  flooded.step(2);
  for (uint64_t i = 0; i < 20; ++i) {
    const uint64_t alone = first_token_us(idle, 1000 + i);
    EXPECT_LE(first_token_us(flooded, 1000 + i), 2 * alone) << i;
  }
  EXPECT_GT(flooded.scheduler().statistics().queued_requests, 20u);  // it still floods
}

TEST(Scheduler, AKeyLeavesTheLastSlotToOthersWhereThereAreKeys) {
  for (const uint32_t key : {0u, 1u}) {
    Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 4});
    for (uint64_t i = 0; i < 10; ++i) bench.ask(fake_prompt(i, 20), {.max_tokens = 40, .key = key});
    bench.step(5);
    EXPECT_EQ(bench.scheduler().statistics().running_sequences, key == 0 ? 4u : 3u);
    bench.run();
  }
}

TEST(Scheduler, WhatIsHeldBackForItsChoicesIsNotOvertakenByItsOwnKey) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 4});
  for (uint64_t i = 0; i < 3; ++i) bench.ask(fake_prompt(i, 20), {.max_tokens = 10 + 10 * i, .key = 1});
  const RequestId wide = bench.ask(fake_prompt(50, 20), {.max_tokens = 5, .choices = 3, .key = 1});
  std::vector<RequestId> later;
  for (uint64_t i = 0; i < 5; ++i) later.push_back(bench.ask(fake_prompt(60 + i, 20), {.max_tokens = 5, .key = 1}));
  bench.run();
  for (const RequestId id : later) EXPECT_LT(bench.answer(wide).done_at_us, bench.answer(id).done_at_us);
}

TEST(Scheduler, AHigherTierGoesFirst) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 1});
  const RequestId batch = bench.ask(fake_prompt(1, 50), {.max_tokens = 2, .tier = Tier::kBatch});
  const RequestId fast = bench.ask(fake_prompt(2, 50), {.max_tokens = 2, .tier = Tier::kPerformance});
  bench.run();
  EXPECT_LT(bench.answer(fast).done_at_us, bench.answer(batch).done_at_us);
}

TEST(Scheduler, ALongPromptDoesNotSlowDecodingMoreThanTwofold) {
  Bench bench(kFakeShapes[0], {.context = 8192, .sequences_max = 8});
  std::vector<RequestId> talkers;
  for (uint64_t i = 0; i < 7; ++i) talkers.push_back(bench.ask(fake_prompt(1 + i, 20), {.max_tokens = 300}));
  bench.step(60);
  const uint64_t before = bench.longest_gap_us(talkers[0], 20);
  bench.ask(fake_prompt(50, 6000), {.max_tokens = 2});
  bench.run();
  EXPECT_LE(bench.longest_gap_us(talkers[0], 20), 2 * before);
}

TEST(Scheduler, RefusesWhatCanNeverRun) {
  Bench bench(kFakeShapes[0], {.context = 128, .sequences_max = 2});
  const auto refusal = [&](Request request) { return bench.scheduler().check(request); };
  EXPECT_EQ(refusal({}).refusal, Refusal::kInvalid);
  EXPECT_EQ(refusal({.prompt = fake_prompt(1, 128), .max_tokens = 1}).refusal, Refusal::kTooLong);
  EXPECT_EQ(refusal({.prompt = fake_prompt(1, 128)}).refusal, Refusal::kNone);
  EXPECT_EQ(refusal({.prompt = {100000}, .max_tokens = 1}).refusal, Refusal::kInvalid);
  EXPECT_EQ(refusal({.prompt = {1}, .max_tokens = 1, .choices = 3}).refusal, Refusal::kInvalid);
  EXPECT_NE(refusal({.prompt = {1}, .max_tokens = 1, .choices = 3}).message.find("limit is 2"), std::string::npos);
}

TEST(Scheduler, TheContextEndsAnAnswer) {
  Bench bench(kFakeShapes[0], {.context = 100, .sequences_max = 2});
  const RequestId id = bench.ask(fake_prompt(1, 90), {.max_tokens = 50});
  bench.run();
  EXPECT_EQ(bench.answer(id).tokens.size(), 10u);
  EXPECT_EQ(bench.answer(id).reason, FinishReason::kLength);
}

TEST(Scheduler, ReadingWithoutAnswerKeepsThePrompt) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 2, .store_bytes = 1 << 22});
  auto prompt = fake_prompt(1, 300);
  const RequestId id = bench.ask(prompt, {.max_tokens = 0});
  bench.run();
  EXPECT_EQ(bench.answer(id).reason, FinishReason::kLength);
  prompt.push_back(1);
  const RequestId next = bench.ask(prompt, {.max_tokens = 3});
  bench.run();
  EXPECT_GE(bench.answer(next).done.cached_tokens, 299u);
}

TEST(Scheduler, LogprobsOfAnswerAndPrompt) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 2});
  const auto prompt = fake_prompt(1, 30);
  const RequestId id = bench.ask(prompt, {.max_tokens = 4, .top_logprobs = 3, .echo_logprobs = true});
  bench.run();
  const Answer& answer = bench.answer(id);
  ASSERT_EQ(answer.prompt_logprobs.size(), 29u);
  ASSERT_EQ(answer.logprobs.size(), 4u);
  const std::vector<float> logits = bench.runner().expected(std::span(prompt).first(10));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  EXPECT_NEAR(answer.prompt_logprobs[9].raw_logprob, static_cast<double>(logits[static_cast<size_t>(prompt[10])]) - std::log(sum), 1e-4);
  EXPECT_EQ(answer.logprobs[0].id, answer.tokens[0]);
  EXPECT_FLOAT_EQ(answer.logprobs[0].logprob, 0.0f);  // temperature 0: the only candidate
  EXPECT_EQ(answer.tops[0].size(), 3u);
  EXPECT_EQ(answer.tops[0][0].id, answer.tokens[0]);
}

TEST(Scheduler, AnEmbeddingIsTheMeanOverAllPromptRows) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 2});
  const auto prompt = fake_prompt(1, 77);
  const RequestId id = bench.ask(prompt, {.max_tokens = 0, .embed = true});
  bench.run();
  double mean = 0;
  for (const int32_t token : prompt) mean += token / 77.0;
  ASSERT_EQ(bench.answer(id).embedding.size(), 1u);
  EXPECT_NEAR(bench.answer(id).embedding[0], mean, 1e-4);
}

// The fake model's greedy answer has no repetitions; with a bias towards few tokens drafts are often right, and often wrong.
TEST(Scheduler, SpeculationChangesNoToken) {
  for (const StepSizes& sizes : kFakeShapes) {
    uint64_t drafted = 0, accepted = 0;
    for (uint64_t seed = 1; seed <= 12; ++seed) {
      Bench bench(sizes, {.context = 1024, .sequences_max = 4, .store_bytes = 1 << 20, .speculation = true});
      Ask ask{.max_tokens = 120, .choices = 1 + static_cast<uint32_t>(seed % 2)};
      for (int32_t id = 4; id < kFakeVocabulary; ++id) ask.sampler.logit_bias.push_back({id, -100});
      ask.sampler.temperature = seed % 3 == 0 ? 0.5f : 0.0f;
      ask.sampler.seed = seed;
      const auto prompt = fake_prompt(seed, 10);
      ask.speculate = 1 + static_cast<uint32_t>(seed % 6);
      const RequestId id = bench.ask(prompt, ask);
      bench.run();
      for (const auto& [choice, tokens] : bench.answer(id).by_choice) EXPECT_EQ(tokens, bench.expect(prompt, 120, ask.sampler, choice));
      drafted += bench.answer(id).done.drafted_tokens;
      accepted += bench.answer(id).done.accepted_tokens;
      bench.scheduler().store().check();
    }
    EXPECT_GT(drafted, accepted);
    EXPECT_GT(accepted, 0u);
  }
}

// A model that repeats its prompt for ever: a copy task.
TEST(Scheduler, SpeculationIsFasterWhereTheTextWasThereBefore) {
  const auto tokens_per_step = [](uint32_t speculate) {
    Bench bench(kFakeShapes[0], {.context = 4096, .sequences_max = 1, .speculation = true});
    Ask ask{.max_tokens = 400, .speculate = speculate};
    ask.sampler.logit_bias = {{7, 100}};  // one token again and again
    const RequestId id = bench.ask(fake_prompt(1, 10), ask);
    bench.run();
    EXPECT_EQ(bench.answer(id).tokens, bench.expect(fake_prompt(1, 10), 400, ask.sampler));
    return 400.0 / static_cast<double>(bench.runner().now_us);
  };
  EXPECT_GT(tokens_per_step(7), 1.5 * tokens_per_step(0));
}

TEST(Scheduler, SpeculationThatNeverHitsCostsNextToNothing) {
  const auto time = [](uint32_t speculate) {
    Bench bench(kFakeShapes[0], {.context = 4096, .sequences_max = 1, .speculation = true});
    Ask ask{.max_tokens = 600, .speculate = speculate};
    ask.sampler = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0};
    for (int32_t id = 6; id < kFakeVocabulary; ++id) ask.sampler.logit_bias.push_back({id, -100});  // many repetitions, all by chance
    bench.ask(fake_prompt(1, 10), ask);
    bench.run();
    return static_cast<double>(bench.runner().now_us);
  };
  EXPECT_LT(time(7), time(0) / 0.97);
}

// Token 28 prints c1, 29 d1. The model would not say 28.
TEST(Scheduler, ThoughtsEndAtTheirBudgetWhateverTheModelSays) {
  for (const uint32_t speculate : {0u, 5u}) {
    for (const uint64_t budget : {0u, 1u, 7u}) {
      Bench bench(kFakeShapes[0], {.context = 1024, .sequences_max = 2, .store_bytes = 1 << 20, .speculation = true});
      Ask ask{.max_tokens = 40, .choices = 2, .top_logprobs = speculate == 0 ? 0 : -1};
      ask.sampler.logit_bias = {{28, -100}};
      if (speculate > 0) {
        for (int32_t id = 6; id < kFakeVocabulary; ++id) ask.sampler.logit_bias.push_back({id, -100});
      }
      ask.speculate = speculate;
      ask.thinking = ThinkingLimit{.tokens_max = budget, .open = "b1", .close = "c1", .end = {29, 28, 29}, .begun = true};
      const auto prompt = fake_prompt(3, 20);
      const RequestId id = bench.ask(prompt, ask);
      bench.run();
      for (const auto& [choice, tokens] : bench.answer(id).by_choice) {
        std::vector<int32_t> said = bench.expect(prompt, budget, ask.sampler, choice);
        said.insert(said.end(), {29, 28, 29});
        std::vector<int32_t> all = prompt;
        all.insert(all.end(), said.begin(), said.end());
        const std::vector<int32_t> rest = bench.expect(all, 40 - said.size(), ask.sampler, choice);
        said.insert(said.end(), rest.begin(), rest.end());
        EXPECT_EQ(tokens, said) << budget;
      }
      if (speculate == 0) {
        EXPECT_LT(bench.answer(id).logprobs.at(budget + 1).raw_logprob, 0.0f);
      }
    }
  }
}

TEST(Scheduler, ThoughtsWithinTheirBudgetAreLeftAlone) {
  const auto prompt = fake_prompt(3, 20);
  const auto tokens = [&](std::optional<ThinkingLimit> thinking) {
    Bench bench(kFakeShapes[0], {.context = 1024, .sequences_max = 1});
    Ask ask{.max_tokens = 30};
    ask.thinking = std::move(thinking);
    const RequestId id = bench.ask(prompt, ask);
    bench.run();
    return bench.answer(id).tokens;
  };
  const std::vector<int32_t> free = tokens({});
  const text::Tokenizer tokenizer = fake_tokenizer(kFakeVocabulary);
  const auto printed = [&](size_t i) { return std::string(tokenizer.token_bytes(free[i])); };
  // They end by themselves at the fourth token; they never begin; they begin with the first token and are cut after two more.
  EXPECT_EQ(tokens(ThinkingLimit{.tokens_max = 9, .open = "b1", .close = printed(2) + printed(3), .end = {28}, .begun = true}), free);
  EXPECT_EQ(tokens(ThinkingLimit{.tokens_max = 0, .open = printed(0) + "?", .close = "c1", .end = {28}}), free);
  std::vector<int32_t> cut(free.begin(), free.begin() + 3);
  cut.push_back(28);
  const std::vector<int32_t> begun = tokens(ThinkingLimit{.tokens_max = 2, .open = printed(0), .close = "c1", .end = {28}});
  EXPECT_EQ(std::vector<int32_t>(begun.begin(), begun.begin() + 4), cut);
}

TEST(Scheduler, PinsHoldWhilePromptsCrowdTheStore) {
  Bench bench(kFakeShapes[0], {.context = 1024, .sequences_max = 1, .store_bytes = 100'000});
  const auto pinned = fake_prompt(1, 300);
  bench.ask(pinned, {.max_tokens = 1, .pin_ttl_ms = 1'000'000, .pins = {{128, 1'000'000}}});
  bench.run();
  for (uint64_t i = 0; i < 40; ++i) {
    bench.ask(fake_prompt(100 + i, 400), {.max_tokens = 2});
    bench.run();
  }
  const RequestId again = bench.ask(pinned, {.max_tokens = 1});
  auto other = fake_prompt(2, 300);
  std::copy(pinned.begin(), pinned.begin() + 128, other.begin());
  const RequestId branch = bench.ask(other, {.max_tokens = 1});
  bench.run();
  EXPECT_EQ(bench.answer(again).done.cached_tokens, 299u);
  EXPECT_GE(bench.answer(branch).done.cached_tokens, 128u);
}

}  // namespace
}  // namespace sluice::engine
