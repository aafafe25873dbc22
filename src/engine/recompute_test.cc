// How many tokens the next turn of a 4K-token conversation computes again, by what the user did; and the failures of other engines that must not be ours
// (reference numbers in the names: S1, S3, S4, S5 of the reliability list; the others are issues of the projects named). S2 is in scheduler_disk_test.cc.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "engine/scheduler_testing.h"
#include "platform/memory.h"

namespace sluice::engine {
namespace {

// The ratios that decide: bytes of a state to bytes of a page. The embedded model's and Jamba Reasoning 3B's.
struct Shape {
  const char* name;
  StepSizes sizes;
};
const Shape kShapes[] = {
    {"embedded", {.rows_max = 512, .logit_rows_max = 16, .vocabulary = kFakeVocabulary, .page_bytes = 512, .state_bytes = 16'000, .flops_per_token = 1000}},
    {"jamba 3b", {.rows_max = 512, .logit_rows_max = 16, .vocabulary = kFakeVocabulary, .page_bytes = 512, .state_bytes = 79'040, .flops_per_token = 1000}},
};
constexpr uint64_t kHistory = 4096;

class Talk {
 public:
  // Room for `states` checkpoints of a conversation, with its pages.
  Talk(const StepSizes& sizes, uint64_t states, uint32_t sequences = 9)
      : bench_(sizes, {.context = 3 * kHistory, .sequences_max = sequences,
                       .store_bytes = states * (sizes.state_bytes + sizes.state_bytes / sizes.page_bytes * 450 + 1000) + 4 * 64 * (sizes.page_bytes + 450)}) {}

  // Computed tokens of the prompt.
  uint64_t computes(const std::vector<int32_t>& prompt, const Ask& ask = {.max_tokens = 4}) {
    last_ = bench_.ask(prompt, ask);
    bench_.run();
    EXPECT_EQ(bench_.answer(last_).tokens, bench_.expect(prompt, ask.max_tokens));
    return prompt.size() - bench_.answer(last_).done.cached_tokens;
  }
  std::vector<int32_t> answered(std::vector<int32_t> prompt) const {
    const auto& tokens = bench_.answer(last_).tokens;
    prompt.insert(prompt.end(), tokens.begin(), tokens.end());
    return prompt;
  }
  Bench& bench() { return bench_; }

 private:
  Bench bench_;
  RequestId last_ = 0;
};

std::vector<int32_t> plus(std::vector<int32_t> text, uint64_t seed, size_t size) {
  const auto more = fake_prompt(seed, size);
  text.insert(text.end(), more.begin(), more.end());
  return text;
}

TEST(Recompute, ExtendingAndRegeneratingCostAtMost16Tokens) {
  for (const Shape& shape : kShapes) {
    Talk talk(shape.sizes, 16);
    auto prompt = fake_prompt(1, kHistory);
    EXPECT_EQ(talk.computes(prompt, {.max_tokens = 100}), kHistory);
    EXPECT_LE(talk.computes(prompt, {.max_tokens = 100}), 16u) << shape.name << ": regenerate";
    const auto next = plus(talk.answered(prompt), 2, 60);
    EXPECT_LE(talk.computes(next), 60 + 16u) << shape.name << ": extend";
    EXPECT_LE(talk.computes(next), 16u) << shape.name << ": identical";
    EXPECT_LE(talk.computes(prompt), 16u) << shape.name << ": back to the first turn";
  }
}

TEST(Recompute, EditsCostAtMost256TokensWhereThereIsRoomFor16States) {
  for (const Shape& shape : kShapes) {
    for (const uint64_t at : {40u, 700u, 1500u, 2047u, 3000u, 3700u, 4000u}) {
      Talk talk(shape.sizes, 34);  // the dense grid takes half of what is empty
      auto prompt = fake_prompt(1, kHistory);
      talk.computes(prompt);
      prompt[at] ^= 1;
      EXPECT_LE(talk.computes(prompt), kHistory - at + 256) << shape.name << " at " << at;
    }
  }
}

TEST(Recompute, EditsCostAtMostHalfTheDistanceToTheEndWithFewStates) {
  for (const Shape& shape : kShapes) {
    for (const uint64_t at : {300u, 1500u, 2500u, 3300u, 3900u}) {
      Talk talk(shape.sizes, 13);
      auto prompt = fake_prompt(1, kHistory);
      talk.computes(prompt);
      prompt[at] ^= 1;
      const uint64_t beyond = std::max<uint64_t>(256, (kHistory - at) / 2);
      EXPECT_LE(talk.computes(prompt), kHistory - at + beyond) << shape.name << " at " << at;
    }
  }
}

TEST(Recompute, AReplacedLastQuarterAndTheWayBackToAnOldBranch) {
  for (const Shape& shape : kShapes) {
    Talk talk(shape.sizes, 40);
    const auto document = fake_prompt(1, kHistory);
    talk.computes(document);
    auto replaced = document;
    replaced.resize(kHistory * 3 / 4);
    replaced = plus(replaced, 2, kHistory / 4);
    EXPECT_LE(talk.computes(replaced), kHistory / 4 + 256) << shape.name;
    EXPECT_LE(talk.computes(plus(document, 3, 30)), 30 + 16u) << shape.name;
    EXPECT_LE(talk.computes(plus(replaced, 4, 30)), 30 + 16u) << shape.name;
  }
}

TEST(Recompute, ASharedSystemPromptIsComputedOnceTogetherAndWhileTheFirstDecodes) {
  for (const Shape& shape : kShapes) {
    for (const bool together : {true, false}) {
      Talk talk(shape.sizes, 20);
      Bench& bench = talk.bench();
      const auto system = fake_prompt(1, kHistory);
      std::vector<RequestId> ids;
      uint64_t total = 0;
      for (uint64_t i = 0; i < 8; ++i) {
        const auto prompt = plus(system, 10 + i, 50);
        ids.push_back(bench.ask(prompt, {.max_tokens = 60, .system_end = static_cast<uint32_t>(kHistory)}));
        if (!together && i == 0) bench.step(20);  // it decodes now
      }
      bench.run();
      for (const RequestId id : ids) total += bench.answer(id).done.prompt_tokens - bench.answer(id).done.cached_tokens;
      EXPECT_LE(total, kHistory + 8 * (50 + 16)) << shape.name << (together ? ", together" : ", while the first decodes");
    }
  }
}

// The same without a word about where the system prompt ends: the junction is found by comparing.
TEST(Recompute, AJunctionIsKeptInTheRequestThatShowsIt) {
  Talk talk(kShapes[1].sizes, 20);
  const auto system = fake_prompt(1, 3000);
  talk.computes(plus(system, 2, 1000));
  talk.computes(plus(system, 3, 1000));
  EXPECT_LE(talk.computes(plus(system, 4, 1000)), 1000 + 16u);
}

// --- Failures of others.

// S1 (llama.cpp 27148, 27422): another conversation's text in the answer after eviction under concurrency. A canary per tenant: its tokens are only ever
// its own. SLUICE_SLOW_TESTS=1 asks 1,000,000 times.
TEST(Failures, S1NoOtherTenantsTextUnderEviction) {
  const bool slow = std::getenv("SLUICE_SLOW_TESTS") != nullptr;
  const uint64_t rounds = slow ? 200 : 1, requests = slow ? 5000 : 400;  // a round is one process: answers are kept until it ends
  std::map<std::vector<int32_t>, std::vector<int32_t>> expected;
  uint64_t hits = 0, evicted = 0, leaks = 0;
  for (uint64_t round = 0; round < rounds; ++round) {
    Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 4, .store_bytes = 60'000});
    std::vector<std::pair<RequestId, std::vector<int32_t>>> asked;
    for (uint64_t i = 0; i < requests; ++i) {
      const uint32_t tenant = static_cast<uint32_t>((i * 7 + round) % 5);
      auto prompt = fake_prompt(1, 100 + (i + round) % 90);                       // everybody begins alike ...
      prompt[70] = static_cast<int32_t>(tenant);                                   // ... with a canary
      asked.emplace_back(bench.ask(prompt, {.max_tokens = 4, .tenant = tenant}), prompt);
      if (i % 3 == 0) bench.step(3);
      if (i % 40 != 39) continue;
      bench.run();
      for (const auto& [id, what] : asked) {
        auto known = expected.find(what);
        if (known == expected.end()) known = expected.emplace(what, bench.expect(what, 4)).first;
        leaks += bench.answer(id).tokens == known->second ? 0 : 1;
        hits += bench.answer(id).done.cached_tokens > 0 ? 1 : 0;
      }
      asked.clear();
      if (!slow || i % 1000 == 999) bench.scheduler().store().check();
    }
    evicted += bench.scheduler().statistics().store.evicted;
  }
  std::printf("%llu requests, %llu of them hits, %llu evictions\n", static_cast<unsigned long long>(rounds * requests), static_cast<unsigned long long>(hits),
              static_cast<unsigned long long>(evicted));
  EXPECT_EQ(leaks, 0u);
  EXPECT_GT(hits, rounds * requests / 8);
  EXPECT_GT(evicted, rounds * 20);
}

// S3 (CVE-2025-25183): a hash collision of the cache. Hashes only find the place; here every page begins with the token that picks the bucket.
TEST(Failures, S3TokensAreComparedNotHashes) {
  Bench bench(kFakeShapes[0], {.context = 512, .sequences_max = 1, .store_bytes = 1 << 22});
  for (uint64_t i = 0; i < 60; ++i) {
    auto prompt = fake_prompt(1, 200);
    for (size_t p = 1; p < prompt.size(); ++p) {
      if (p % kPageTokens == 1 + i) prompt[p] ^= 1;
    }
    const RequestId id = bench.ask(prompt, {.max_tokens = 3});
    bench.run();
    EXPECT_EQ(bench.answer(id).tokens, bench.expect(prompt, 3)) << i;
  }
}

// S4 (GHSA-wqq9-25mr-rw76): stale memory visible as logits. Slots and pages that others left full give a short conversation nothing.
TEST(Failures, S4NothingStaleInReusedSlotsAndPages) {
  for (const StepSizes& sizes : kFakeShapes) {
    Bench bench(sizes, {.context = 512, .sequences_max = 1});
    for (uint64_t i = 0; i < 20; ++i) {
      const auto prompt = fake_prompt(50 + i, i % 2 == 0 ? 500 : 1 + i);
      const RequestId id = bench.ask(prompt, {.max_tokens = 5});
      bench.run();
      EXPECT_EQ(bench.answer(id).tokens, bench.expect(prompt, 5));
    }
  }
}

#if defined(__SANITIZE_THREAD__)
constexpr uint64_t kResident = 5;  // the thread sanitizer keeps four bytes of shadow for each
#else
constexpr uint64_t kResident = 1;
#endif

// S5 (llama.cpp 22629): a cache limit that is not enforced, until the machine kills the process. What traffic of any kind leaves resident stays under the
// budget that was planned, and so does the store's own sum at its highest.
TEST(Failures, S5TheBudgetHoldsInTheStoresSumAndInTheProcess) {
  StepSizes sizes = kFakeShapes[0];
  sizes.page_bytes = 16 << 10;
  sizes.state_bytes = 256 << 10;
  EngineOptions options{.context = 1024, .sequences_max = 4, .store_bytes = 32 << 20};
  Bench bench(sizes, options);
  const uint64_t planned = Scheduler::bytes(sizes, options) + options.store_bytes, resident = platform::process_memory().resident_bytes;
  uint64_t asked_bytes = 0;
  for (uint64_t i = 0; i < 120; ++i) {
    const auto prompt = fake_prompt(i % 90, 200 + i * 13 % 700);
    asked_bytes += sizes.state_bytes + prompt.size() / kPageTokens * sizes.page_bytes;
    bench.ask(prompt, {.max_tokens = 3, .choices = 1 + static_cast<uint32_t>(i % 3), .tenant = static_cast<uint32_t>(i % 3), .pin_ttl_ms = i % 5 * 100});
    bench.step(static_cast<int>(i % 7));
    if (i % 20 == 19) bench.run();
    const StoreStats stats = bench.scheduler().statistics().store;
    ASSERT_LE(std::max(stats.state_bytes + stats.page_bytes + stats.tree_bytes, stats.bytes_max), planned);
  }
  bench.run();
  ASSERT_GT(asked_bytes, 1.2 * static_cast<double>(planned)) << "the traffic must not fit";
  EXPECT_GT(bench.scheduler().statistics().store.evicted + bench.scheduler().statistics().store.refused, 10u);
  const uint64_t grown = platform::process_memory().resident_bytes - std::min(resident, platform::process_memory().resident_bytes);
  EXPECT_LE(grown, kResident * (planned + planned / 4)) << "a quarter for the test's own answers and the address sanitizer's shadow";
}

// A fork into slots that nobody has used waits for no memory: what is planned for them is there from the start, and no more than that.
TEST(Memory, TheSlotsAreResidentFromTheStartAndWithinThePlan) {
  StepSizes sizes = kFakeShapes[0];
  sizes.state_bytes = 1'000'000;
  sizes.logit_rows_max = 32;
  const EngineOptions options{.context = 1024, .sequences_max = 32, .store_bytes = 1 << 20};
  const uint64_t before = platform::process_memory().resident_bytes;
  Bench bench(sizes, options);
  const uint64_t grown = platform::process_memory().resident_bytes - before;
  EXPECT_GE(grown, 32 * sizes.state_bytes);
  EXPECT_LE(grown, kResident * (Scheduler::bytes(sizes, options) + options.store_bytes));
}

// vLLM 55601: units mixed up, so that a short hit restores the wrong state and a long one reads out of bounds. Here every length around the edges of pages
// goes on from every earlier one.
TEST(Failures, Vllm55601EveryLengthRestoresItsOwnState) {
  const auto text = fake_prompt(1, 400);
  for (const StepSizes& sizes : kFakeShapes) {
    Bench bench(sizes, {.context = 512, .sequences_max = 1, .store_bytes = 1 << 22});
    uint64_t reused = 0;
    for (const size_t size : {2u, 63u, 64u, 65u, 66u, 127u, 128u, 129u, 191u, 192u, 193u, 320u, 400u}) {
      for (const size_t again : {size, size - 1, size / 2 + 1}) {
        const std::vector<int32_t> prompt(text.begin(), text.begin() + static_cast<ptrdiff_t>(again));
        const RequestId id = bench.ask(prompt, {.max_tokens = 2});
        bench.run();
        EXPECT_EQ(bench.answer(id).tokens, bench.expect(prompt, 2)) << size << " " << again;
        EXPECT_LT(bench.answer(id).done.cached_tokens, again);
        reused += bench.answer(id).done.cached_tokens;
      }
    }
    EXPECT_GT(reused, 1500u);
  }
}

// SGLang 33450: chunks of the request against a grid of the engine. A prompt that resumes at an odd place is cut as the rows of that run allow.
TEST(Failures, Sglang33450ChunksBeginWhereTheRequestResumes) {
  const auto text = fake_prompt(1, 500);
  for (const uint64_t rows : {3u, 7u, 33u, 64u, 65u}) {
    StepSizes sizes = kFakeShapes[0];
    sizes.rows_max = rows;
    Bench bench(sizes, {.context = 512, .sequences_max = 2, .store_bytes = 1 << 22});
    for (const size_t end : {37u, 101u, 230u, 231u, 499u}) {
      const std::vector<int32_t> prompt(text.begin(), text.begin() + static_cast<ptrdiff_t>(end));
      const RequestId id = bench.ask(prompt, {.max_tokens = 3});
      const RequestId beside = bench.ask(fake_prompt(end, 90), {.max_tokens = 3});
      bench.run();
      EXPECT_EQ(bench.answer(id).tokens, bench.expect(prompt, 3)) << rows << " " << end;
      EXPECT_EQ(bench.answer(beside).tokens, bench.expect(fake_prompt(end, 90), 3));
      EXPECT_EQ(bench.answer(id).done.cached_tokens > 0, end > 37u);
    }
  }
}

// vLLM 43090, 47491: KV hits, the state misses, and the layer starts from an empty state.
TEST(Failures, Vllm43090KvWithoutItsStateIsNoHit) {
  Bench bench(kFakeShapes[0], {.context = 1024, .sequences_max = 2, .store_bytes = 1 << 22});
  auto prompt = fake_prompt(1, 700);
  bench.ask(prompt, {.max_tokens = 2});
  bench.run();
  prompt[650] ^= 1;  // 650 tokens of KV agree
  const RequestId id = bench.ask(prompt, {.max_tokens = 5});
  bench.run();
  EXPECT_LT(bench.answer(id).done.cached_tokens, 651u);
  EXPECT_EQ(bench.answer(id).tokens, bench.expect(prompt, 5));
}

// vLLM 53912: prefix cache with speculation gives wrong text on hybrids.
TEST(Failures, Vllm53912SpeculationOverACachedPrefix) {
  Bench bench(kFakeShapes[0], {.context = 1024, .sequences_max = 2, .store_bytes = 1 << 22, .speculation = true});
  std::vector<int32_t> prompt(200);
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<int32_t>(i % 5);
  for (int turn = 0; turn < 6; ++turn) {
    Ask ask{.max_tokens = 40, .speculate = 6};
    for (int32_t token = 5; token < kFakeVocabulary; ++token) ask.sampler.logit_bias.push_back({token, -50});
    const RequestId id = bench.ask(prompt, ask);
    bench.run();
    EXPECT_EQ(bench.answer(id).tokens, bench.expect(prompt, 40, ask.sampler));
    EXPECT_GE(bench.answer(id).done.cached_tokens, turn == 0 ? 0u : 150u);
    prompt.insert(prompt.end(), bench.answer(id).tokens.begin(), bench.answer(id).tokens.end());
  }
}

// vLLM 45238: shifting the prompt by 100 tokens turned hits into misses, unsaid. Here the miss has a name.
TEST(Failures, Vllm45238AShiftedPromptMissesWithAName) {
  Bench bench(kFakeShapes[0], {.context = 1024, .sequences_max = 2, .store_bytes = 1 << 22});
  const auto prompt = fake_prompt(1, 600);
  bench.ask(prompt, {.max_tokens = 2});
  bench.run();
  const RequestId shifted = bench.ask({prompt.begin() + 100, prompt.end()}, {.max_tokens = 2});
  bench.run();
  EXPECT_NE(bench.answer(shifted).miss, MissReason::kNone);
}

// vLLM 40696, 48401, 51250: prompts under a block of 528 tokens never hit. SGLang 22935, 38625: an identical prompt matches nothing.
TEST(Failures, Vllm40696Sglang22935ShortAndIdenticalPromptsHit) {
  Bench bench(kFakeShapes[0], {.context = 1024, .sequences_max = 2, .store_bytes = 1 << 22});
  for (const size_t size : {40u, 64u, 65u, 128u, 527u}) {
    const auto prompt = fake_prompt(size, size);
    bench.ask(prompt, {.max_tokens = 2});
    bench.run();
    const RequestId id = bench.ask(prompt, {.max_tokens = 2});
    bench.run();
    EXPECT_EQ(bench.answer(id).done.cached_tokens, size - 1);
  }
}

// llama.cpp 24055, 28302: the checkpoint is erased by the spacing rule on the next turn. syv-ai 52: the only state falls inside a speculation margin.
TEST(Failures, LlamaCpp24055EveryTurnOfALongTalkResumes) {
  Bench bench(kFakeShapes[0], {.context = 8192, .sequences_max = 2, .store_bytes = 400'000, .speculation = true});
  auto prompt = fake_prompt(1, 100);
  for (uint64_t turn = 0; turn < 40; ++turn) {
    const RequestId id = bench.ask(prompt, {.max_tokens = 50, .speculate = turn % 2 == 0 ? 5u : 0u});
    bench.run();
    EXPECT_LE(prompt.size() - bench.answer(id).done.cached_tokens, turn == 0 ? 100u : 60 + 16u) << turn;
    prompt.insert(prompt.end(), bench.answer(id).tokens.begin(), bench.answer(id).tokens.end());
    prompt = plus(prompt, turn + 5, 60);
  }
}

// SGLang 24121: the first request of a hybrid crashes the host tier. SGLang 33713, 40680: an inner state that goes orphans KV.
TEST(Failures, Sglang24121And33713TheTinyStoreServesAndKeepsItsAccounts) {
  for (const StepSizes& sizes : kFakeShapes) {
    Bench bench(sizes, {.context = 640, .sequences_max = 1, .store_bytes = 0});
    for (uint64_t i = 0; i < 30; ++i) {
      const auto prompt = fake_prompt(i % 4, 30 + i * 19);
      const RequestId id = bench.ask(prompt, {.max_tokens = 3});
      bench.run();
      EXPECT_EQ(bench.answer(id).tokens, bench.expect(prompt, 3));
      bench.scheduler().store().check();
    }
  }
}

// mlx-swift-lm 629: 1.53 GB and 1.94 s for each copy of a conversation. A fork shares its pages.
TEST(Failures, MlxSwift629ForksShareTheirPages) {
  Bench bench(kFakeShapes[0], {.context = 4096, .sequences_max = 8, .store_bytes = 0});
  const uint32_t empty = bench.scheduler().store().free_blocks();
  bench.ask(fake_prompt(1, 2048 + 10), {.max_tokens = 30, .choices = 8});
  bench.step(60);
  EXPECT_EQ(bench.scheduler().statistics().running_sequences, 8u);
  const uint32_t used = empty - bench.scheduler().store().free_blocks();
  const uint32_t kept = static_cast<uint32_t>(bench.scheduler().statistics().store.held) * bench.scheduler().store().state_blocks();
  EXPECT_LE(used - kept, 33u + 8u + 2u);
  bench.run();
}

}  // namespace
}  // namespace sluice::engine
