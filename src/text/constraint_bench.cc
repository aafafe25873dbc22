// Mask time per token on recorded jobs, for comparison with other constraint engines in one run (tools/constraints/compare.py writes the
// jobs and reads the result), and samples from a model with uniform logits; which instances schemas accept, for the differential fuzzer
// (tools/constraints/differential.py). Environment: SLUICE_CONSTRAINT_JOBS names the file.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "text/constraint.h"

namespace sluice::text {
namespace {

// CPU time of the thread, so that a busy machine does not spoil the numbers.
double now_us() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}
double us_since(double start) { return now_us() - start; }

// What the clock itself costs: the median of many readings.
double clock_us() {
  std::vector<double> us(1001);
  for (double& one : us) {
    const double start = now_us();
    one = us_since(start);
  }
  std::nth_element(us.begin(), us.begin() + 500, us.end());
  return us[500];
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

uint64_t next_random(uint64_t& state) {
  state += 0x9E3779B97F4A7C15ull;
  uint64_t z = state;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

// Uniform logits: any temperature gives the same distribution. Empty optional text: max_tokens came first.
nlohmann::json sample(const std::shared_ptr<const Constraint>& constraint, uint64_t& random, size_t tokens_max) {
  ConstraintState state(constraint);
  const ConstraintVocabulary& vocabulary = constraint->vocabulary();
  std::vector<MaskWord> mask(vocabulary.mask_words());
  std::vector<uint32_t> allowed;
  std::string text;
  for (size_t n = 0; n < tokens_max; ++n) {
    if (!state.fill_mask(mask)) return {{"text", text}, {"finish", "stuck"}};
    allowed.clear();
    for (size_t w = 0; w < mask.size(); ++w) {
      for (MaskWord word = mask[w]; word != 0; word &= word - 1) {
        allowed.push_back(static_cast<uint32_t>(w * 64) + static_cast<uint32_t>(__builtin_ctzll(word)));
      }
    }
    // A quarter of the time, end as soon as it is possible: uniform choice among 150,000 tokens would hardly ever end a string.
    uint32_t token = allowed[next_random(random) % allowed.size()];
    if (next_random(random) % 4 == 0) {
      std::vector<uint32_t> closing;
      for (const uint32_t t : allowed) {
        const std::string& bytes = vocabulary.token_bytes(t);
        if (vocabulary.is_end(t) || bytes == "\"" || bytes == "}" || bytes == "]") closing.push_back(t);
      }
      if (!closing.empty()) token = closing[next_random(random) % closing.size()];
    }
    if (!state.accept(token)) return {{"text", text}, {"finish", "refused its own mask"}};
    if (state.finished()) return {{"text", text}, {"finish", "stop"}};
    text += vocabulary.token_bytes(token);
  }
  return {{"text", text}, {"finish", "length"}};
}

void run_jobs(benchmark::State& bench) {
  const char* path = std::getenv("SLUICE_CONSTRAINT_JOBS");
  if (path == nullptr) {
    bench.SkipWithError("set SLUICE_CONSTRAINT_JOBS");
    return;
  }
  std::ifstream file(path);
  const nlohmann::json jobs = nlohmann::json::parse(file, nullptr, false);
  if (!jobs.is_object()) {
    bench.SkipWithError("the jobs file is not a JSON object");
    return;
  }
  std::vector<std::string> tokens;
  for (const auto& hex : jobs["vocabulary"]) tokens.push_back(from_hex(hex.get<std::string>()));
  const std::vector<uint32_t> end = {jobs["end"].get<uint32_t>()};
  const auto vocabulary = ConstraintVocabulary::create(tokens, end, {});
  nlohmann::json out = {
      {"clock_us", clock_us()}, {"mask_us", nlohmann::json::array()}, {"compile_us", nlohmann::json::array()}, {"jobs", nlohmann::json::array()}};
  uint64_t random = 1;
  for (auto _ : bench) {
    for (const auto& job : jobs["jobs"]) {
      ConstraintSpec spec;
      spec.kind = ConstraintKind::kJsonSchema;
      spec.text = job["schema"].get<std::string>();
      const auto start = now_us();
      const auto constraint = Constraint::compile(spec, *vocabulary, {});
      out["compile_us"].push_back(us_since(start));
      nlohmann::json result = {
          {"error", constraint.ok() ? "" : constraint.error().message}, {"accepted", false}, {"samples", nlohmann::json::array()}};
      if (constraint.ok()) {
        ConstraintState state(*constraint);
        std::vector<MaskWord> mask((*vocabulary)->mask_words());
        bool accepted = true;
        for (const auto& token : job["tokens"]) {
          const auto before = now_us();
          state.fill_mask(mask);
          out["mask_us"].push_back(us_since(before));
          accepted = state.accept(token.get<uint32_t>());
          if (!accepted) break;
        }
        result["accepted"] = accepted && state.can_end();
        for (int i = 0; i < job.value("samples", 0); ++i)
          result["samples"].push_back(sample(*constraint, random, job.value("max_tokens", 400)));
      }
      out["jobs"].push_back(std::move(result));
    }
  }
  std::ofstream(std::string(path) + ".out") << out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}
BENCHMARK(run_jobs)->Name("constraint/jobs")->Iterations(1)->Unit(benchmark::kMillisecond);

bool accepts(const Pda& pda, Matcher& matcher, const std::string& text) {
  ReadingSet set, next;
  matcher.pool().clear();
  matcher.enter(pda.root, 0, set);
  for (const char c : text) {
    if (!matcher.step(set, static_cast<uint8_t>(c), next)) return false;
    std::swap(set, next);
  }
  return set.can_end;
}

// [{"schema": ..., "instances": [text ...]}] -> [{"error": ..., "accepted": [true ...]}]
void run_instances(benchmark::State& bench) {
  const char* path = std::getenv("SLUICE_CONSTRAINT_JOBS");
  if (path == nullptr) {
    bench.SkipWithError("set SLUICE_CONSTRAINT_JOBS");
    return;
  }
  std::ifstream file(path);
  const nlohmann::json jobs = nlohmann::json::parse(file, nullptr, false);
  if (!jobs.is_array()) {
    bench.SkipWithError("the jobs file is not a JSON array");
    return;
  }
  nlohmann::json out = nlohmann::json::array();
  for (auto _ : bench) {
    for (const auto& job : jobs) {
      ConstraintSpec spec;
      spec.kind = ConstraintKind::kJsonSchema;
      spec.text = job["schema"].get<std::string>();
      Allowance allowance({});
      const auto grammar = build_grammar(spec, allowance);
      const Result<Pda> pda = grammar.ok() ? compile_grammar(*grammar, allowance) : Result<Pda>(grammar.error());
      nlohmann::json result = {{"error", pda.ok() ? "" : pda.error().message}, {"accepted", nlohmann::json::array()}};
      if (pda.ok()) {
        Matcher matcher(*pda);
        for (const auto& instance : job["instances"]) result["accepted"].push_back(accepts(*pda, matcher, instance.get<std::string>()));
      }
      out.push_back(std::move(result));
    }
  }
  std::ofstream(std::string(path) + ".out") << out.dump();
}
BENCHMARK(run_instances)->Name("constraint/instances")->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace sluice::text
