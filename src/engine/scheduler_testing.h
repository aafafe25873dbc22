// For tests of the scheduler: requests in one line, answers collected, runs driven step by step under the fake runner's clock.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/fake_runner.h"
#include "engine/scheduler.h"

namespace sluice::engine {

inline constexpr int64_t kFakeVocabulary = 48;
// With attention and recurrence, attention alone, recurrence alone.
inline const StepSizes kFakeShapes[] = {
    {.rows_max = 64, .logit_rows_max = 8, .vocabulary = kFakeVocabulary, .page_bytes = 512, .state_bytes = 4000, .last_norm = 3, .flops_per_token = 1000},
    {.rows_max = 64, .logit_rows_max = 8, .vocabulary = kFakeVocabulary, .page_bytes = 512, .state_bytes = 0, .flops_per_token = 1000},
    {.rows_max = 64, .logit_rows_max = 8, .vocabulary = kFakeVocabulary, .page_bytes = 0, .state_bytes = 4000, .flops_per_token = 1000}};

inline std::vector<int32_t> fake_prompt(uint64_t seed, size_t size) {
  std::vector<int32_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(uniform(seed, 7, i) * static_cast<double>(kFakeVocabulary - 1));
  return out;
}

struct Answer {
  std::vector<int32_t> tokens;  // of choice 0
  std::map<uint32_t, std::vector<int32_t>> by_choice;
  std::string text;             // of choice 0
  std::vector<TokenLogprob> logprobs, prompt_logprobs;
  std::vector<std::vector<TokenLogprob>> tops;
  std::vector<uint64_t> at_us;
  FinishReason reason = FinishReason::kStop;
  std::string stop_string, error;
  int32_t stop_id = -1;
  int choices_done = 0;
  bool is_done = false;
  uint64_t done_at_us = 0;
  RequestDone done;
  std::vector<float> embedding;
  MissReason miss = MissReason::kNone;
};

class Collector final : public ResponseSink {
 public:
  Collector(Answer& answer, const uint64_t& now_us) : answer_(answer), now_us_(now_us) {}
  void started(const Started& s) override {
    if (s.lookup != nullptr) answer_.miss = s.lookup->reason;
  }
  void token(const TokenOut& t) override {
    answer_.by_choice[t.choice].push_back(t.id);
    if (t.choice != 0) return;
    answer_.tokens.push_back(t.id);
    answer_.text += t.text;
    answer_.logprobs.push_back(t.logprob);
    answer_.tops.emplace_back(t.top.begin(), t.top.end());
    answer_.at_us.push_back(now_us_);
  }
  void prompt_token(uint32_t, const TokenLogprob& logprob, std::span<const TokenLogprob>) override { answer_.prompt_logprobs.push_back(logprob); }
  void choice_done(const ChoiceDone& c) override {
    ++answer_.choices_done;
    if (c.choice != 0) return;
    answer_.text += c.text;
    answer_.reason = c.reason;
    answer_.stop_string = c.stop_string;
    answer_.stop_id = c.stop_id;
  }
  void done(const RequestDone& d) override {
    answer_.is_done = true;
    answer_.done = d;
    answer_.error = d.error;
    answer_.embedding.assign(d.embedding.begin(), d.embedding.end());
    answer_.done_at_us = now_us_;
  }

 private:
  Answer& answer_;
  const uint64_t& now_us_;
};

struct Ask {
  uint64_t max_tokens = 10;
  uint32_t choices = 1;
  uint32_t key = 0;
  Tier tier = Tier::kOnDemand;
  uint64_t queue_deadline_ms = 0, first_token_deadline_ms = 0, total_deadline_ms = 0;
  std::vector<std::string> stops;
  int32_t top_logprobs = -1;
  bool echo_logprobs = false;
  bool embed = false;
  SamplerOptions sampler = {.temperature = 0};
  std::vector<int32_t> stop_ids;
  uint32_t min_tokens = 0;
  uint32_t tenant = 0;
  uint32_t system_end = 0;
  uint32_t speculate = 0;
  std::vector<uint32_t> message_starts;
  uint64_t pin_ttl_ms = 0;
  std::vector<Pin> pins;
  std::optional<ThinkingLimit> thinking;
};

class Bench {
 public:
  Bench(const StepSizes& sizes, EngineOptions options, FakeRunner::Cost cost = {})
      : runner_(sizes, cost), tokenizer_(fake_tokenizer(kFakeVocabulary)), over_disk_(!options.disk_folder.empty()) {
    options.now_us = [this] { return runner_.now_us; };
    scheduler_ = std::move(Scheduler::create(runner_, tokenizer_, 1, options)).value();
  }

  RequestId ask(std::vector<int32_t> prompt, const Ask& ask) {
    const RequestId id = ++last_id_;
    answers_[id] = std::make_unique<Answer>();
    Request r;
    r.tenant = ask.tenant;
    r.key = ask.key;
    r.tier = ask.tier;
    r.prompt = std::move(prompt);
    r.system_end = ask.system_end;
    r.message_starts = ask.message_starts;
    r.max_tokens = ask.max_tokens;
    r.choices = ask.choices;
    r.sampler = ask.sampler;
    r.stop.strings = ask.stops;
    r.stop.ids = ask.stop_ids;
    r.stop.min_tokens = ask.min_tokens;
    r.stop.ignore_end = ask.min_tokens == 0;  // chance makes end tokens; most tests count tokens
    r.top_logprobs = ask.top_logprobs;
    r.echo_logprobs = ask.echo_logprobs;
    r.embed = ask.embed;
    r.speculate = ask.speculate;
    r.pin_ttl_ms = ask.pin_ttl_ms;
    r.pins = ask.pins;
    r.thinking = ask.thinking;
    r.queue_deadline_ms = ask.queue_deadline_ms;
    r.first_token_deadline_ms = ask.first_token_deadline_ms;
    r.total_deadline_ms = ask.total_deadline_ms;
    const Submitted checked = scheduler_->check(r);
    SLUICE_CHECK(checked.refusal == Refusal::kNone);
    scheduler_->add(id, std::move(r), std::make_shared<Collector>(*answers_[id], runner_.now_us));
    return id;
  }

  void step(int steps) {
    while (steps-- > 0) scheduler_->step();
  }
  void run() {
    int idle = 0;
    while (!scheduler_->idle() && idle < (over_disk_ ? 100'000 : 100)) {
      if (scheduler_->step()) {
        idle = 0;
        continue;
      }
      ++idle;
      runner_.now_us += over_disk_ ? 10 : 1000;
      if (over_disk_) std::this_thread::sleep_for(std::chrono::microseconds(100));  // the disk's thread needs real time
    }
    SLUICE_CHECK(scheduler_->idle());
  }

  // What a model that computes everything from nothing would answer.
  std::vector<int32_t> expect(std::vector<int32_t> tokens, size_t count, const SamplerOptions& options = {.temperature = 0}, uint64_t choice = 0) {
    const TokenClasses classes(tokenizer_);
    Sampler sampler(kFakeVocabulary, &classes, 8192);
    TokenCounts counts(kFakeVocabulary, 8192);
    counts.add_prompt(tokens);
    std::vector<int32_t> out;
    while (out.size() < count) {
      const std::vector<float> logits = runner_.expected(tokens);
      out.push_back(sampler.draw(options, {.logits = logits, .choice = choice, .position = tokens.size(), .counts = &counts, .tokens = tokens}).id);
      tokens.push_back(out.back());
      counts.add(out.back());
    }
    return out;
  }

  uint64_t longest_gap_us(RequestId id, size_t from) const {
    const std::vector<uint64_t>& at = answers_.at(id)->at_us;
    uint64_t longest = 0;
    for (size_t i = std::max<size_t>(from, 1); i < at.size(); ++i) longest = std::max(longest, at[i] - at[i - 1]);
    return longest;
  }
  const Answer& answer(RequestId id) const { return *answers_.at(id); }
  FakeRunner& runner() { return runner_; }
  Scheduler& scheduler() { return *scheduler_; }

 private:
  FakeRunner runner_;
  text::Tokenizer tokenizer_;
  const bool over_disk_;
  std::map<RequestId, std::unique_ptr<Answer>> answers_;
  std::unique_ptr<Scheduler> scheduler_;
  RequestId last_id_ = 0;
};

}  // namespace sluice::engine
