// The engine over real models: its answers are those of one session that computes everything from nothing, whatever the store, companions, forks and drafts do.
#include <gtest/gtest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "cli/golden_support.h"
#include "cli/model_loading.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "platform/clock.h"
#include "platform/cpu.h"

namespace sluice::cli {
namespace {

using engine::ChoiceDone;
using engine::FinishReason;
using engine::RequestDone;

struct Answer final : engine::ResponseSink {
  std::map<uint32_t, std::vector<int32_t>> tokens;
  std::vector<engine::TokenLogprob> logprobs;
  std::string text, error;
  RequestDone result;
  FinishReason reason = FinishReason::kError;
  bool is_done = false;
  std::mutex mutex;
  std::condition_variable wake;

  void token(const engine::TokenOut& t) override {
    tokens[t.choice].push_back(t.id);
    if (t.choice != 0) return;
    text += t.text;
    logprobs.push_back(t.logprob);
  }
  void choice_done(const ChoiceDone& c) override {
    if (c.choice != 0) return;
    text += c.text;
    reason = c.reason;
  }
  void done(const RequestDone& d) override {
    const std::lock_guard lock(mutex);
    result = d;
    error = d.error;
    is_done = true;
    wake.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return is_done; });
  }
};

std::vector<int32_t> random_tokens(uint64_t seed, size_t size, int32_t vocabulary) {
  std::vector<int32_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(engine::uniform(seed, 5, i) * vocabulary);
  return out;
}

// Greedy, one token at a time.
std::vector<int32_t> answer_of_session(engine::Session& session, const std::vector<int32_t>& prompt, size_t count) {
  session.reset();
  EXPECT_TRUE(session.feed(prompt, {}).ok());
  std::vector<int32_t> out;
  while (true) {
    out.push_back(engine::argmax(session.logits()));
    if (out.size() == count) return out;
    EXPECT_TRUE(session.feed(std::span(out).last(1), {}).ok());
  }
}

TEST(EngineModel, TheEmbeddedModelServesManyConversations) {
  ModelOptions options;
  options.users = 4;
  options.context = 512;
  options.rows = 64;
  Result<LoadedModel> model = load_model(options);
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_TRUE(model->tokenizer.ok());
  const std::vector<int32_t> story = model->tokenizer->encode("Once upon a time there was a fox who found a lantern in the snow.", {}).value();
  auto longer = story;
  longer.insert(longer.end(), story.rbegin(), story.rend());
  std::vector<std::vector<int32_t>> expected;
  {
    auto session = engine::Session::create(*model->runtime, 512).value();
    for (const auto& prompt : {story, longer}) expected.push_back(answer_of_session(*session, prompt, 24));
  }
  engine::EngineOptions engine_options{.context = 512, .sequences_max = 4, .store_bytes = 8 << 20, .speculation = true};
  auto engine = engine::Engine::create(*model->runtime, *model->tokenizer, model->fingerprint, engine_options);
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  const auto ask = [&](const std::vector<int32_t>& prompt, auto set) {
    engine::Request request;
    request.prompt = prompt;
    request.max_tokens = 24;
    request.sampler.temperature = 0;
    request.stop.ignore_end = true;
    set(request);
    auto answer = std::make_shared<Answer>();
    EXPECT_EQ((*engine)->submit(std::move(request), answer).message, "");
    return answer;
  };
  const auto first = ask(story, [](auto&) {}), second = ask(longer, [](auto&) {}), third = ask(story, [](auto& r) { r.choices = 2; });
  const auto drafted = ask(longer, [](auto& r) { r.speculate = 5; });
  for (const auto& answer : {first, second, third, drafted}) answer->wait();
  EXPECT_EQ(first->tokens[0], expected[0]);
  EXPECT_EQ(second->tokens[0], expected[1]);
  EXPECT_EQ(third->tokens[0], expected[0]);
  EXPECT_EQ(third->tokens[1], expected[0]);
  EXPECT_EQ(drafted->tokens[0], expected[1]);
  EXPECT_FALSE(first->text.empty());
  const auto again = ask(longer, [](auto&) {});
  again->wait();
  EXPECT_EQ(again->result.cached_tokens, longer.size() - 1);
  EXPECT_EQ(again->tokens[0], expected[1]);
  const auto cancelled_id = std::make_shared<Answer>();
  engine::Request endless{.prompt = story, .max_tokens = 400};
  endless.stop.ignore_end = true;
  const auto submitted = (*engine)->submit(endless, cancelled_id);
  (*engine)->cancel(submitted.id);
  cancelled_id->wait();
  EXPECT_EQ(cancelled_id->reason, FinishReason::kCancelled);
  (*engine)->with_store([](engine::StateStore& store) { store.check(); });
  (*engine)->drain();
  EXPECT_EQ((*engine)->submit({.prompt = story}, first).refusal, engine::Refusal::kDraining);
  EXPECT_EQ((*engine)->statistics().running_sequences, 0u);
}

TEST(EngineModel, AnEmbeddingIsTheMeanOfTheLastNormOfACompiledModel) {
  ModelOptions options;
  options.users = 3;
  options.context = 256;
  Result<LoadedModel> model = load_model(options);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const std::vector<int32_t> prompt = random_tokens(4, 50, 300);
  struct Seen {
    int64_t last_norm;
    size_t rows = 0;
    std::vector<double> sum;
  } seen{static_cast<int64_t>(model->runtime->program().facts.layers) + 1};
  const runtime::Observer observer{[](void* context, int64_t index, const float* rows, size_t count, size_t width, size_t stride) {
                                     Seen& s = *static_cast<Seen*>(context);
                                     if (index != s.last_norm) return;
                                     s.sum.resize(width);
                                     s.rows += count;
                                     for (size_t r = 0; r < count; ++r) {
                                       for (size_t i = 0; i < width; ++i) s.sum[i] += static_cast<double>(rows[r * stride + i]);
                                     }
                                   },
                                   &seen};
  {
    auto session = engine::Session::create(*model->runtime, 256).value();
    engine::Session::FeedOptions feed;
    feed.all_logits = true;
    feed.observer = &observer;
    ASSERT_TRUE(session->feed(prompt, feed).ok());
    ASSERT_EQ(seen.rows, prompt.size());
  }
  struct Embedding final : engine::ResponseSink {
    std::vector<float> values;
    Answer inner;
    void done(const RequestDone& d) override {
      values.assign(d.embedding.begin(), d.embedding.end());
      inner.done(d);
    }
  };
  auto engine = engine::Engine::create(*model->runtime, *model->tokenizer, model->fingerprint, {.context = 256, .sequences_max = 3});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  auto sink = std::make_shared<Embedding>();
  engine::Request request{.prompt = prompt};
  request.embed = true;
  ASSERT_EQ((*engine)->submit(request, sink).message, "");
  sink->inner.wait();
  ASSERT_EQ(sink->values.size(), seen.sum.size());
  for (size_t i = 0; i < seen.sum.size(); ++i) ASSERT_EQ(sink->values[i], static_cast<float>(seen.sum[i] / 50.0));
}

// Histories as in engine/engine_history_test.cc, on tiny real models: hybrid, attention alone, recurrence alone.
TEST(EngineModel, RandomHistoriesOnGoldenModelsChangeNoBit) {
  text::TokenizerSpec spec;
  spec.kind = text::ModelKind::kCharacterBpe;
  spec.tokens = {"a"};
  spec.types = {text::TokenType::kNormal};
  const text::Tokenizer tokenizer = text::Tokenizer::create(spec).value();
  for (const char* name : {"jamba-dense", "llama", "mamba"}) {
    const std::filesystem::path folder = std::filesystem::path(SLUICE_SHARED_DIR) / "golden" / name;
    if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs " << folder;
    Result<TestModel> model = TestModel::open(folder, {.isa = platform::best_isa(), .kv_type = kernels::KvType::kQ8, .rows_max = 24});
    ASSERT_TRUE(model.ok()) << model.error().message;
    engine::RuntimeRunner runner(model->runtime());
    engine::EngineOptions options{.context = 300, .sequences_max = 3, .store_bytes = 400'000, .speculation = true, .now_us = [] { return 0; }};
    auto scheduler = engine::Scheduler::create(runner, tokenizer, 1, options).value();
    auto session = model->session(300);
    const int32_t vocabulary = static_cast<int32_t>(runner.sizes().vocabulary);
    std::vector<std::vector<int32_t>> branches = {random_tokens(1, 100, vocabulary)};
    for (uint64_t i = 0; i < 30; ++i) {
      std::vector<int32_t> prompt = branches[static_cast<size_t>(engine::uniform(1, 1, i) * static_cast<double>(branches.size()))];
      if (i % 3 == 0) prompt.resize(1 + static_cast<size_t>(engine::uniform(2, 1, i) * static_cast<double>(prompt.size())));
      if (i % 4 != 1) {
        const auto more = random_tokens(i + 10, 1 + i, vocabulary);
        prompt.insert(prompt.end(), more.begin(), more.end());
      }
      if (prompt.size() > 270) prompt.resize(120);
      engine::Request request{.prompt = prompt, .max_tokens = 8, .choices = i % 5 == 0 ? 2u : 1u, .top_logprobs = 2, .speculate = i % 2 == 0 ? 4u : 0u};
      request.sampler.temperature = 0;
      request.stop.ignore_end = true;
      auto answer = std::make_shared<Answer>();
      scheduler->add(i + 1, request, answer);
      if (i % 6 == 5) continue;  // in company
      while (!scheduler->idle()) scheduler->step();
      ASSERT_EQ(answer->error, "");
      const std::vector<int32_t> expected = answer_of_session(*session, prompt, 8);
      for (const auto& [choice, tokens] : answer->tokens) ASSERT_EQ(tokens, expected) << name << " " << i << " choice " << choice;
      engine::Sampler sampler(runner.sizes().vocabulary, nullptr, 0);
      const auto last = sampler.explain({.logits = session->logits(), .top_logprobs = 0}, expected.back());
      ASSERT_EQ(last.logprob.raw_logprob, answer->logprobs.back().raw_logprob) << name << " " << i;
      scheduler->store().check();
      std::vector<int32_t> told = prompt;
      told.insert(told.end(), expected.begin(), expected.end());
      branches.push_back(told);
    }
    EXPECT_GT(scheduler->statistics().cached_tokens, 500u) << name;
  }
}

// Times below are this process's CPU time, with one thread: other programs do not count.
uint64_t cpu_us() { return platform::process_cpu_ns() / 1000; }

struct Served {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> at_us;
  bool is_done = false;
};
struct ServedSink final : engine::ResponseSink {
  explicit ServedSink(Served& served) : out(served) {}
  void token(const engine::TokenOut& t) override {
    out.tokens.push_back(t.id);
    out.at_us.push_back(cpu_us());
  }
  void done(const RequestDone&) override { out.is_done = true; }
  Served& out;
};

class Measured {
 public:
  explicit Measured(uint32_t sequences) {
    ModelOptions options;
    options.threads = 1;
    options.users = sequences;
    options.logit_rows = 16;
    options.context = 8192;
    model_.emplace(load_model(options).value());
    runner_.emplace(*model_->runtime);
    engine::EngineOptions engine{.context = 8192, .sequences_max = sequences, .speculation = true, .now_us = cpu_us};
    scheduler_ = engine::Scheduler::create(*runner_, *model_->tokenizer, 1, engine).value();
  }
  void ask(Served& out, const std::vector<int32_t>& prompt, uint64_t max_tokens, uint32_t speculate) {
    engine::Request request{.prompt = prompt, .max_tokens = max_tokens, .keep = false, .use_store = false, .speculate = speculate};
    request.sampler.temperature = 0;
    request.stop.ignore_end = true;
    scheduler_->add(++last_id_, request, std::make_shared<ServedSink>(out));
  }
  void run() {
    while (!scheduler_->idle()) scheduler_->step();
  }
  engine::Scheduler& scheduler() { return *scheduler_; }

 private:
  std::optional<LoadedModel> model_;
  std::optional<engine::RuntimeRunner> runner_;
  std::unique_ptr<engine::Scheduler> scheduler_;
  engine::RequestId last_id_ = 0;
};

TEST(EngineModel, SpeculationIsNeverMuchSlowerAndChangesNothing) {
  if (std::getenv("SLUICE_SLOW_TESTS") == nullptr) GTEST_SKIP() << "slow: SLUICE_SLOW_TESTS=1";
  Measured measured(1);
  double with = 0, without = 0;
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const std::vector<int32_t> prompt = random_tokens(seed, 40, 2000);
    Served plain, drafted;
    uint64_t begin = cpu_us();
    measured.ask(plain, prompt, 300, 0);
    measured.run();
    without += static_cast<double>(cpu_us() - begin);
    begin = cpu_us();
    measured.ask(drafted, prompt, 300, 6);
    measured.run();
    with += static_cast<double>(cpu_us() - begin);
    EXPECT_EQ(plain.tokens, drafted.tokens);
  }
  std::printf("with speculation: %.2f times as fast\n", without / with);
  EXPECT_LT(with, without / 0.97);
}

TEST(EngineModel, ALongPromptBesideEightDecodingSequences) {
  if (std::getenv("SLUICE_SLOW_TESTS") == nullptr) GTEST_SKIP() << "slow: SLUICE_SLOW_TESTS=1";
  Measured measured(9);
  std::vector<Served> talkers(8);
  for (size_t i = 0; i < talkers.size(); ++i) measured.ask(talkers[i], random_tokens(i, 30, 2000), 900, 0);
  for (int i = 0; i < 300; ++i) measured.scheduler().step();
  const size_t alone = talkers[0].at_us.size();
  Served reader;
  measured.ask(reader, random_tokens(99, 7000, 2000), 2, 0);
  while (!reader.is_done && talkers[0].at_us.size() < 890) measured.scheduler().step();
  const size_t beside = talkers[0].at_us.size();
  const auto p99 = [&](size_t from, size_t to) {
    std::vector<uint64_t> gaps;
    for (size_t i = from + 1; i < to; ++i) gaps.push_back(talkers[0].at_us[i] - talkers[0].at_us[i - 1]);
    std::sort(gaps.begin(), gaps.end());
    return static_cast<double>(gaps[gaps.size() * 99 / 100]);
  };
  const double before = p99(50, alone), during = p99(alone, beside);
  std::printf("between tokens, p99: %.0f us alone, %.0f us beside a prompt of 7000 tokens (%.2f times), over %zu tokens\n", before, during, during / before,
              beside - alone);
  EXPECT_LE(during, 2 * before);
  measured.scheduler().cancel_all();
}

}  // namespace
}  // namespace sluice::cli
