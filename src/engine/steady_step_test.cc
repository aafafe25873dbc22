// Promise 4 for the scheduler: once sequences decode, a step allocates nothing and locks nothing, penalties, stop
// strings and drafts included. malloc and pthread_mutex_lock are counted (interposed in this test program); the fake
// runtime's own allocations are not.
#include <gtest/gtest.h>

#include "engine/scheduler_testing.h"
#include "platform/allocation_testing.h"

namespace sluice::engine {
namespace {

class UncountedRunner final : public StepRunner {
 public:
  explicit UncountedRunner(FakeRunner& inner) : StepRunner(inner.sizes()), inner_(inner) {}
  Status step(std::span<const runtime::StepRow> rows, const runtime::Observer* observer) override {
    const bool was = counting.exchange(false);
    Status status = inner_.step(rows, observer);
    counting = was;
    return status;
  }
  std::span<const float> logits(size_t i) const override { return inner_.logits(i); }

 private:
  FakeRunner& inner_;
};

class CountingSink final : public ResponseSink {
 public:
  void token(const TokenOut& t) override { bytes += t.text.size(), ++tokens; }
  void done(const RequestDone&) override {}
  size_t bytes = 0, tokens = 0;
};

TEST(SteadyStep, ATokenAllocatesNothingAndLocksNothing) {
  if (!SLUICE_COUNTS) GTEST_SKIP() << "sanitizers bring their own malloc";
  FakeRunner fake(kFakeShapes[0]);
  UncountedRunner runner(fake);
  const text::Tokenizer tokenizer = fake_tokenizer(kFakeVocabulary);
  EngineOptions options{.context = 4096, .sequences_max = 4, .store_bytes = 1 << 22, .speculation = true, .now_us = [&] { return fake.now_us; }};
  auto scheduler = Scheduler::create(runner, tokenizer, 1, options).value();
  auto sink = std::make_shared<CountingSink>();
  for (uint64_t i = 0; i < 4; ++i) {
    Request request{.prompt = fake_prompt(i, 200), .max_tokens = 3000};
    request.stop = {.strings = {"never", "zzzzzzzzz"}, .ids = {}, .ignore_end = true, .min_tokens = 0};
    request.sampler.top_k = static_cast<uint32_t>(i % 2 * 20);
    request.sampler.repetition_penalty = 1.1f;
    request.sampler.frequency.scale = 0.1f;
    request.sampler.dry.multiplier = i == 1 ? 0.5f : 0.0f;
    request.sampler.typical_p = i == 2 ? 0.9f : 1.0f;
    request.top_logprobs = i == 3 ? 5 : -1;
    request.speculate = i == 0 ? 4 : 0;
    scheduler->add(i + 1, std::move(request), sink);
  }
  for (int i = 0; i < 100; ++i) scheduler->step();
  const size_t before = sink->tokens;
  counting = true;
  for (int i = 0; i < 500; ++i) scheduler->step();  // over page borders and grid points
  counting = false;
  EXPECT_GE(sink->tokens - before, 1500u);
  EXPECT_GT(sink->bytes, 500u);
  EXPECT_EQ(allocations.load(), 0u);
  EXPECT_EQ(locks.load(), 0u);
}

}  // namespace
}  // namespace sluice::engine
