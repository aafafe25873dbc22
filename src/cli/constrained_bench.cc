// Constrained decoding through the engine: outputs of a random model for a judge (tools/constraints/judge.py), and the cost of a constraint as a ratio of
// interleaved runs. Environment: SLUICE_CONSTRAINED_JOBS names a JSON file {"schemas": [...], "runs", "temperature", "max_tokens", "seed"}; one line of
// JSON for each run goes to that name with ".out". For the ratios: SLUICE_CONSTRAINED_MODEL is a model instead of the embedded one, _TOKENS and _ROUNDS how
// many, _CASE the only case, and _ARM "free" or "held" the only arm, without figures: what tools/constraints/cost.py counts instructions of.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "engine/engine.h"
#include "engine/scheduler.h"
#include "library/loading.h"
#include "platform/clock.h"
#include "text/constraint.h"

namespace sluice::cli {
namespace {

double cpu_seconds() { return static_cast<double>(platform::process_cpu_ns()) * 1e-9; }

// Bytes, some words that cut across JSON's punctuation, and an end token.
text::Tokenizer byte_tokenizer() {
  text::TokenizerSpec spec;
  spec.kind = text::ModelKind::kCharacterBpe;
  for (int b = 0; b < 256; ++b) {
    spec.tokens.emplace_back(1, static_cast<char>(b));
    spec.types.push_back(text::TokenType::kByte);
  }
  for (const char* word : {"\":", "\",\"", "\"}", "\"]", "{\"", "},{", "]]", "}}", "12", "0.5", "e+", "true", "null", "na", "me\"", "the ", "abc", "\\u00",
                           "\\n", "é"}) {
    spec.tokens.emplace_back(word);
    spec.types.push_back(text::TokenType::kNormal);
  }
  spec.tokens.emplace_back("<end>");
  spec.types.push_back(text::TokenType::kControl);
  spec.eos_id = static_cast<int32_t>(spec.tokens.size()) - 1;
  Result<text::Tokenizer> tokenizer = text::Tokenizer::create(std::move(spec));
  SLUICE_CHECK(tokenizer.ok());
  return std::move(tokenizer).value();
}

// Logits are random numbers from 0 to 8; tokens that close something get as much more as makes them come now and then at the temperature.
class RandomModel final : public engine::StepRunner {
 public:
  RandomModel(const text::Tokenizer& tokenizer, float temperature)
      : StepRunner({.rows_max = 64, .logit_rows_max = 8, .vocabulary = tokenizer.vocabulary_size(), .page_bytes = 0, .state_bytes = 64}),
        logits_(8 * sizes().vocabulary), more_(sizes().vocabulary, 0) {
    // exp(logit / T) is temperature / 8 * (exp(8 / T) - 1) on average; a closing token's share is then about one in twenty.
    const float more = temperature * static_cast<float>(std::log(0.05 * static_cast<double>(more_.size())));
    for (size_t i = 0; i < more_.size(); ++i) {
      const std::string_view bytes = tokenizer.token_bytes(static_cast<int32_t>(i));
      if (bytes == "\"" || bytes == "}" || bytes == "]" || tokenizer.ends_generation(static_cast<int32_t>(i))) more_[i] = more;
    }
  }
  Status step(std::span<const runtime::StepRow> rows, const runtime::Observer*) override {
    size_t wanted = 0;
    for (const runtime::StepRow& row : rows) {
      uint64_t state = 0;
      std::memcpy(&state, row.sequence->state, 8);
      state = mixed(state + 0x9e3779b97f4a7c15ull * (static_cast<uint64_t>(row.token) + 1));
      std::memcpy(row.sequence->state, &state, 8);
      if (!row.wants_logits) continue;
      float* out = logits_.data() + wanted++ * sizes().vocabulary;
      for (size_t i = 0; i < sizes().vocabulary; ++i) out[i] = static_cast<float>(mixed(state + i) >> 40) * (8.0f / (1 << 24)) + more_[i];
    }
    return {};
  }
  std::span<const float> logits(size_t i) const override { return std::span(logits_).subspan(i * sizes().vocabulary, sizes().vocabulary); }

 private:
  static uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }
  std::vector<float> logits_, more_;
};

struct Answer {
  std::string text;
  engine::FinishReason reason = engine::FinishReason::kError;
  uint64_t tokens = 0;
  std::string error;
};

class Collector final : public engine::ResponseSink {
 public:
  void token(const engine::TokenOut& t) override { answer_.text += t.text; }
  void choice_done(const engine::ChoiceDone& c) override {
    answer_.text += c.text;
    answer_.reason = c.reason;
    answer_.tokens = c.tokens;
  }
  void done(const engine::RequestDone& d) override {
    const std::lock_guard lock(mutex_);
    answer_.error = d.error;
    done_ = true;
    changed_.notify_all();
  }
  Answer wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_; });
    return answer_;
  }

 private:
  Answer answer_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

Result<std::shared_ptr<const text::Constraint>> compiled(const std::string& schema, const std::shared_ptr<const text::ConstraintVocabulary>& vocabulary) {
  text::ConstraintSpec spec;
  spec.kind = schema.starts_with("{") ? text::ConstraintKind::kJsonSchema : text::ConstraintKind::kRegex;
  spec.text = schema;
  return text::Constraint::compile(spec, vocabulary, {});
}

void run_random(benchmark::State& bench) {
  const char* path = std::getenv("SLUICE_CONSTRAINED_JOBS");
  if (path == nullptr) {
    bench.SkipWithError("set SLUICE_CONSTRAINED_JOBS");
    return;
  }
  std::ifstream file(path);
  const nlohmann::json jobs = nlohmann::json::parse(file, nullptr, false);
  const float temperature = jobs.value("temperature", 1.0f);
  const text::Tokenizer tokenizer = byte_tokenizer();
  RandomModel model(tokenizer, temperature);
  const auto vocabulary = text::ConstraintVocabulary::of(tokenizer, tokenizer.vocabulary_size());
  SLUICE_CHECK(vocabulary.ok());
  std::vector<std::shared_ptr<const text::Constraint>> constraints;
  for (const auto& schema : jobs["schemas"]) {
    auto constraint = compiled(schema.get<std::string>(), *vocabulary);
    constraints.push_back(constraint.ok() ? *constraint : nullptr);
  }
  const auto scheduler = engine::Scheduler::create(
      model, tokenizer, 1, {.context = 2048, .sequences_max = 8, .queue_requests_max = 1u << 16, .now_us = [] { return uint64_t{1}; }});
  SLUICE_CHECK(scheduler.ok());
  std::ofstream out(std::string(path) + ".out");
  for (auto _ : bench) {
    const uint64_t runs = jobs.value("runs", 100), seed = jobs.value("seed", 1);
    for (uint64_t first = 0; first < runs; first += 64) {
      std::vector<std::pair<size_t, std::shared_ptr<Collector>>> batch;
      for (uint64_t run = first; run < std::min(runs, first + 64); ++run) {
        const size_t which = run % constraints.size();
        if (constraints[which] == nullptr) continue;
        engine::Request request;
        request.prompt = {static_cast<int32_t>(run % 97), static_cast<int32_t>(run / 97 % 97)};
        request.max_tokens = jobs.value("max_tokens", 400);
        request.sampler = {.temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed * 1'000'003 + run};
        request.constraint = constraints[which];
        request.keep = request.use_store = false;
        batch.emplace_back(which, std::make_shared<Collector>());
        (*scheduler)->add(run + 1, std::move(request), batch.back().second);
      }
      while (!(*scheduler)->idle()) (*scheduler)->step();
      for (const auto& [which, sink] : batch) {
        const Answer answer = sink->wait();
        const char* reason = answer.reason == engine::FinishReason::kStop ? "stop" : answer.reason == engine::FinishReason::kLength ? "length" : "error";
        out << nlohmann::json({{"schema", which}, {"text", answer.text}, {"finish_reason", reason}, {"error", answer.error}})
                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
            << "\n";
      }
    }
  }
}
BENCHMARK(run_random)->Name("constrained/random_model")->Iterations(1)->Unit(benchmark::kMillisecond);

struct Case {
  const char* name;
  std::string schema;  // or a pattern
};

// Anything at all, where the tokens are those of the free arm; free text, numbers, choices; and an object whose keys are most of its text.
std::vector<Case> speed_cases() {
  std::string fixed = R"({"type":"object","additionalProperties":false,"required":[)", properties;
  for (int i = 0; i < 24; ++i) {
    const std::string key = fmt::format("\"a_rather_long_name_of_property_number_{}\"", i);
    fixed += (i > 0 ? "," : "") + key;
    properties += (i > 0 ? "," : "") + key + R"(:{"type":"boolean"})";
  }
  fixed += "],\"properties\":{" + properties + "}}";
  return {{"same text", R"([\s\S]{1800,})"},
          {"strings", R"({"type":"array","items":{"type":"string","minLength":40,"maxLength":200},"minItems":20})"},
          {"numbers", R"({"type":"array","items":{"type":"number","minimum":-5,"maximum":5},"minItems":100})"},
          {"objects", R"({"type":"array","minItems":40,"items":{"type":"object","properties":{"n":{"type":"string"},"k":{"enum":["ab","cd","ef"]},
            "v":{"type":"integer"}},"required":["n","k","v"],"additionalProperties":false}})"},
          {"pattern", R"({"type":"array","minItems":40,"items":{"type":"string","pattern":"^[a-z0-9.]{1,20}@[a-z]{2,12}\\.(org|com)$"}})"},
          {"any JSON", R"({"type":"array","minItems":60})"},
          {"fixed keys", fixed}};
}

uint64_t number_of(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// One request after another on one thread, and what a token of each costs that thread.
class Decoder {
 public:
  explicit Decoder(library::LoadedModel& model) : tokens_(number_of("SLUICE_CONSTRAINED_TOKENS", 250)) {
    engine_ = std::move(engine::Engine::create(*model.runtime, *model.tokenizer, model.fingerprint, {.context = 1024, .sequences_max = 1})).value();
    prompt_ = model.tokenizer->encode("Once upon a time there was a list: ", {.add_special = true}).value();
  }
  double seconds_per_token(std::shared_ptr<const text::Constraint> constraint, uint64_t seed) {
    engine::Request request;
    request.prompt = prompt_;
    request.max_tokens = tokens_;
    request.sampler.seed = seed;
    request.stop.ignore_end = constraint == nullptr;
    request.constraint = std::move(constraint);
    request.keep = request.use_store = false;
    const auto sink = std::make_shared<Collector>();
    const double start = cpu_seconds();
    SLUICE_CHECK(engine_->submit(std::move(request), sink).refusal == engine::Refusal::kNone);
    const Answer answer = sink->wait();
    SLUICE_CHECK(answer.error.empty() && answer.tokens > 0);
    return (cpu_seconds() - start) / static_cast<double>(answer.tokens);
  }

 private:
  uint64_t tokens_;
  std::unique_ptr<engine::Engine> engine_;
  std::vector<int32_t> prompt_;
};

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

// Free, held, free, for each seed: the ratio is of the held one to the mean of its neighbours.
void print_ratios(Decoder& decoder, const Case& one, const std::shared_ptr<const text::Constraint>& constraint) {
  constexpr uint64_t kWarm = 5;  // masks of states that were not met before are computed once
  const uint64_t rounds = number_of("SLUICE_CONSTRAINED_ROUNDS", 15);
  for (uint64_t i = 0; i < kWarm; ++i) decoder.seconds_per_token(constraint, i);
  std::vector<double> ratios, free, held;
  for (uint64_t i = kWarm; i < kWarm + rounds; ++i) {
    const double before = decoder.seconds_per_token(nullptr, i), with = decoder.seconds_per_token(constraint, i);
    const double after = decoder.seconds_per_token(nullptr, i);
    free.push_back((before + after) / 2);
    held.push_back(with);
    ratios.push_back(held.back() / free.back());
  }
  fmt::print("{:12} {:14.1f} {:14.1f} {:10.3f} {:8.3f} to {:.3f}\n", one.name, quantile(free, 0.5) * 1e6, quantile(held, 0.5) * 1e6, quantile(ratios, 0.5),
             quantile(ratios, 0.25), quantile(ratios, 0.75));
}

void run_speed(benchmark::State& bench) {
  const char* path = std::getenv("SLUICE_CONSTRAINED_MODEL");
  const char* only = std::getenv("SLUICE_CONSTRAINED_CASE");
  const char* arm = std::getenv("SLUICE_CONSTRAINED_ARM");
  library::ModelOptions options;
  options.path = path == nullptr ? "" : path;
  options.threads = 1;
  options.users = 2;
  options.context = 1024;
  Result<library::LoadedModel> model = library::load(options);
  SLUICE_CHECK(model.ok() && model->tokenizer.ok());
  const auto vocabulary = text::ConstraintVocabulary::of(*model->tokenizer, engine::step_sizes(*model->runtime).vocabulary);
  SLUICE_CHECK(vocabulary.ok());
  Decoder decoder(*model);
  for (auto _ : bench) {
    if (arm == nullptr) fmt::print("{:12} {:>14} {:>14} {:>10} {:>17}\n", "case", "us/token free", "us/token held", "ratio", "quartiles");
    for (const Case& one : speed_cases()) {
      if (only != nullptr && one.name != std::string_view(only)) continue;
      const auto constraint = compiled(one.schema, *vocabulary);
      SLUICE_CHECK(constraint.ok());
      if (arm == nullptr) {
        print_ratios(decoder, one, *constraint);
        continue;
      }
      for (uint64_t i = 0; i < number_of("SLUICE_CONSTRAINED_ROUNDS", 4); ++i) {
        decoder.seconds_per_token(arm == std::string_view("free") ? nullptr : *constraint, i);
      }
    }
  }
}
BENCHMARK(run_speed)->Name("constrained/speed")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::cli
