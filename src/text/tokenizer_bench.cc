// Encoding and decoding speed on English questions and on one repeated letter, with the vocabularies of the shared
// data.
#include <benchmark/benchmark.h>

#include "text/detokenizer.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer_json.h"
#include "text/tokenizer_test_support.h"

namespace sluice::text {
namespace {

std::optional<Tokenizer> load(const std::string& name) {
  const std::string path = shared_path("data/tokenizers/" + name);
  if (!std::filesystem::exists(path)) return std::nullopt;
  const auto spec = [&]() -> Result<TokenizerSpec> {
    if (name.ends_with(".gguf")) return spec_from_gguf(GgufKeys(path).tokenizer());
    const std::string bytes = read_file(path);
    return name.ends_with(".json") ? spec_from_tokenizer_json({.tokenizer_json = bytes})
                                   : spec_from_sentencepiece(bytes);
  }();
  if (!spec.ok()) return std::nullopt;
  auto tokenizer = Tokenizer::create(*spec);
  if (!tokenizer.ok()) return std::nullopt;
  return *tokenizer;
}

std::string english() {
  return read_file(shared_path("data/eval/gsm8k-test.jsonl"));
}

void encode(benchmark::State& state, const std::string& name, const std::string& text) {
  const auto tokenizer = load(name);
  if (!tokenizer || text.empty()) return state.SkipWithError("needs the shared data");
  size_t tokens = 0;
  for (auto _ : state) tokens += tokenizer->encode(text, {.parse_special = true}).value().size();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(tokens), benchmark::Counter::kIsRate);
}

void decode(benchmark::State& state, const std::string& name) {
  const auto tokenizer = load(name);
  const std::string text = english();
  if (!tokenizer || text.empty()) return state.SkipWithError("needs the shared data");
  const auto ids = tokenizer->encode(text, {}).value();
  for (auto _ : state) {
    Detokenizer detokenizer(*tokenizer, {});
    std::string out;
    for (const int32_t id : ids) benchmark::DoNotOptimize(detokenizer.feed(id, out).ok());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * ids.size()));
}

void create(benchmark::State& state, const std::string& name) {
  const auto tokenizer = load(name);
  if (!tokenizer) return state.SkipWithError("needs the shared data");
  const std::string stored = serialize(tokenizer->spec());
  for (auto _ : state) benchmark::DoNotOptimize(Tokenizer::create(parse_spec(stored).value()).ok());
}

const bool kRegistered = [] {
  for (const std::string name :
       {"vocab-gpt-2.gguf", "vocab-llama-spm.gguf", "vocab-deepseek-llm.gguf", "qwen3-tokenizer.json", "jamba.model"}) {
    benchmark::RegisterBenchmark(("encode_english/" + name).c_str(),
                                 [name](auto& state) { encode(state, name, english()); });
    benchmark::RegisterBenchmark(("encode_10MB_of_a/" + name).c_str(), [name](auto& state) {
      encode(state, name, std::string(10'000'000, 'a'));
    })->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("decode_english/" + name).c_str(), [name](auto& state) { decode(state, name); });
    benchmark::RegisterBenchmark(("create/" + name).c_str(), [name](auto& state) {
      create(state, name);
    })->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace sluice::text
