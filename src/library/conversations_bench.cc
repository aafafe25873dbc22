// What companions and drafts do to the time between tokens, on real models, in this process's CPU time with one thread: other programs do not count.
// SLUICE_SMOLLM2_GGUF names SmolLM2-135M-Instruct for the copy-edit (./dev test fetches it); the embedded model cannot copy. Figures: docs/state.md.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

#include "engine/scheduler.h"
#include "library/loading.h"
#include "platform/clock.h"

namespace sluice::library {
namespace {

constexpr uint32_t kDrafts = 8;

uint64_t cpu_us() { return platform::process_cpu_ns() / 1000; }

struct Served {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> at_us;
  engine::RequestDone result;
  bool is_done = false;
};

struct Sink final : engine::ResponseSink {
  explicit Sink(Served& served) : out(served) {}
  void token(const engine::TokenOut& t) override {
    out.tokens.push_back(t.id);
    out.at_us.push_back(cpu_us());
  }
  void done(const engine::RequestDone& d) override {
    out.result = d;
    out.is_done = true;
  }
  Served& out;
};

class Measured {
 public:
  static std::unique_ptr<Measured> open(const std::string& path, uint32_t sequences, uint64_t context) {
    ModelOptions options{.path = path, .context = context, .threads = 1, .users = sequences, .logit_rows = 16};
    Result<LoadedModel> model = load(options);
    if (!model.ok() || !model->tokenizer.ok()) return nullptr;
    return std::unique_ptr<Measured>(new Measured(std::move(*model), sequences, context));
  }
  void ask(Served& out, const std::vector<int32_t>& prompt, uint64_t max_tokens, uint32_t speculate, bool ignore_end) {
    engine::Request request{.prompt = prompt, .max_tokens = max_tokens, .keep = false, .use_store = false, .speculate = speculate};
    request.sampler.temperature = 0;
    request.stop.ignore_end = ignore_end;
    scheduler_->add(++last_id_, request, std::make_shared<Sink>(out));
  }
  void run() {
    while (!scheduler_->idle()) scheduler_->step();
  }
  engine::Scheduler& scheduler() { return *scheduler_; }
  const text::Tokenizer& tokenizer() const { return *model_.tokenizer; }

 private:
  Measured(LoadedModel model, uint32_t sequences, uint64_t context) : model_(std::move(model)), runner_(*model_.runtime) {
    const engine::EngineOptions options{.context = context, .sequences_max = sequences, .speculation = true, .now_us = cpu_us};
    scheduler_ = engine::Scheduler::create(runner_, *model_.tokenizer, 1, options).value();
  }
  LoadedModel model_;
  engine::RuntimeRunner runner_;
  std::unique_ptr<engine::Scheduler> scheduler_;
  engine::RequestId last_id_ = 0;
};

std::vector<int32_t> random_tokens(uint64_t seed, size_t size) {
  std::vector<int32_t> out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(engine::uniform(seed, 5, i) * 2000);
  return out;
}

double quantile(std::vector<double> values, size_t percent) {
  std::sort(values.begin(), values.end());
  return values[values.size() * percent / 100];
}

// Eight sequences decode beside a prompt of this many tokens, and the same eight without it in a second engine, step by step by turns: a token waits for a
// step, and both have read as much. How much longer is the wait?
void BM_LongPromptBesideEight(benchmark::State& bench) {
  constexpr int kBefore = 200;  // steps in which both find out what steps cost
  const size_t prompt = static_cast<size_t>(bench.range(0));
  const auto alone = Measured::open("", 9, prompt + 1024), beside = Measured::open("", 9, prompt + 1024);
  const auto timed = [](Measured& measured) {
    const uint64_t begin = cpu_us();
    measured.scheduler().step();
    return static_cast<double>(cpu_us() - begin);
  };
  for (auto _ : bench) {
    std::vector<Served> talkers(16);
    for (size_t i = 0; i < talkers.size(); ++i) (i < 8 ? alone : beside)->ask(talkers[i], random_tokens(i % 8, 30), prompt + 900, 0, true);
    for (int i = 0; i < kBefore; ++i) timed(*alone), timed(*beside);
    Served reader;
    beside->ask(reader, random_tokens(99, prompt), 2, 0, true);
    std::vector<double> without, with;
    while (!reader.is_done && !talkers[0].is_done) {
      without.push_back(timed(*alone));
      with.push_back(timed(*beside));
    }
    if (!reader.is_done) bench.SkipWithError("the talkers ended first");
    for (size_t i = 0; i < 8; ++i) {
      const size_t common = std::min(talkers[i].tokens.size(), talkers[i + 8].tokens.size());
      if (!std::equal(talkers[i].tokens.begin(), talkers[i].tokens.begin() + static_cast<ptrdiff_t>(common), talkers[i + 8].tokens.begin())) {
        bench.SkipWithError("the prompt changed an answer");
      }
    }
    bench.counters["p99_without_us"] = quantile(without, 99);
    bench.counters["p99_with_us"] = quantile(with, 99);
    bench.counters["p99_ratio"] = quantile(with, 99) / quantile(without, 99);
    bench.counters["p50_ratio"] = quantile(with, 50) / quantile(without, 50);
    bench.counters["steps"] = static_cast<double>(with.size());
    alone->scheduler().cancel_all();
    beside->scheduler().cancel_all();
  }
}

constexpr const char* kText =
    "The old lighthouse stood on the cliff above the village. Every evening, the keeper climbed the stairs and lit the lamp. Ships far out at sea saw the "
    "light and knew where the rocks were. One night, a storm blew out the lamp, and the keeper had to climb the stairs again in the dark. The wind was loud, "
    "and the stairs were wet. When the lamp was burning again, a small boat came into the harbour, and its captain thanked the keeper with a basket of fish.";
constexpr const char* kTasks[] = {"Copy the following text exactly, word for word, but write \"lantern\" instead of \"lamp\".\n\n",
                                  "Repeat this text and change only the word \"keeper\" to \"woman\".\n\n",
                                  "Correct the spelling of this text and return the whole text:\n\n"};

void compare(benchmark::State& bench, Measured& measured, const std::vector<std::vector<int32_t>>& prompts, uint64_t max_tokens, bool ignore_end) {
  double plain_us = 0, drafted_us = 0, tokens = 0, drafted = 0, accepted = 0, differ = 0;
  for (const auto& prompt : prompts) {
    Served plain, with;
    for (const bool speculate : {false, true}) {
      Served& served = speculate ? with : plain;
      const uint64_t begin = cpu_us();
      measured.ask(served, prompt, max_tokens, speculate ? kDrafts : 0, ignore_end);
      measured.run();
      if (served.at_us.empty()) continue;
      const uint64_t first = served.at_us.front();  // the prompt is the same in both
      (speculate ? drafted_us : plain_us) += static_cast<double>(cpu_us() - std::max(begin, first));
    }
    tokens += static_cast<double>(plain.tokens.size());
    drafted += static_cast<double>(with.result.drafted_tokens);
    accepted += static_cast<double>(with.result.accepted_tokens);
    differ += plain.tokens == with.tokens ? 0 : 1;
  }
  bench.counters["times_as_fast"] = plain_us / drafted_us;
  bench.counters["answers"] = static_cast<double>(prompts.size());
  bench.counters["tokens"] = tokens;
  bench.counters["drafted"] = drafted;
  bench.counters["accepted"] = accepted;
  bench.counters["answers_that_differ"] = differ;
  if (differ > 0) bench.SkipWithError("speculation changed an answer");
}

void BM_SpeculationCopyEdit(benchmark::State& bench) {
  const char* path = std::getenv("SLUICE_SMOLLM2_GGUF");
  if (path == nullptr) return bench.SkipWithError("SLUICE_SMOLLM2_GGUF names no model");
  const auto measured = Measured::open(path, 1, 2048);
  if (measured == nullptr) return bench.SkipWithError("the model cannot be opened");
  std::vector<std::vector<int32_t>> prompts;
  for (const char* task : kTasks) {
    const std::string text = std::string("<|im_start|>user\n") + task + kText + "<|im_end|>\n<|im_start|>assistant\n";
    prompts.push_back(measured->tokenizer().encode(text, {.parse_special = true}).value());
  }
  for (auto _ : bench) compare(bench, *measured, prompts, 200, false);
}

// Greedy answers of a small hybrid model to random prompts: some run into repetitions, most do not.
void BM_SpeculationAnyText(benchmark::State& bench) {
  const auto measured = Measured::open("", 1, 1024);
  std::vector<std::vector<int32_t>> prompts;
  for (uint64_t seed = 1; seed <= 12; ++seed) prompts.push_back(random_tokens(seed, 40));
  for (auto _ : bench) compare(bench, *measured, prompts, 300, true);
}

BENCHMARK(BM_LongPromptBesideEight)->Arg(7000)->Arg(32768)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_SpeculationCopyEdit)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_SpeculationAnyText)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::library
