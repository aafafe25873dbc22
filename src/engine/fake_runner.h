// A runtime for tests: its state and its KV are exact functions of the tokens read, and its logits of both, so a state or a page that is not the right one
// shows in the next token. Its clock goes on by what a step would cost. Everything poisoned that was not written.
#pragma once

#include <cstring>
#include <vector>

#include "engine/page_tree.h"
#include "engine/step_runner.h"
#include "text/tokenizer.h"

namespace sluice::engine {

inline uint64_t fake_mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

class FakeRunner final : public StepRunner {
 public:
  struct Cost {
    uint64_t step_us = 1000, row_us = 20;
  };
  FakeRunner(const StepSizes& sizes, Cost cost) : StepRunner(sizes), cost_(cost), logits_(sizes.logit_rows_max * sizes.vocabulary) {}
  explicit FakeRunner(const StepSizes& sizes) : FakeRunner(sizes, Cost{}) {}

  // The logits after `tokens`, computed from nothing.
  std::vector<float> expected(std::span<const int32_t> tokens) const {
    uint64_t state = 0, kv = 0;
    std::vector<uint64_t> page_ends;
    for (size_t i = 0; i < tokens.size(); ++i) {
      state = next_state(state, tokens[i]);
      kv = next_kv(kv, tokens[i]);
      if ((i + 1) % kPageTokens == 0) page_ends.push_back(kv);
    }
    uint64_t seen = kv;
    for (const uint64_t end : page_ends) seen = fake_mix(seen ^ end);
    std::vector<float> out(sizes().vocabulary);
    write_logits(sizes().state_bytes > 0 ? state : 0, sizes().page_bytes > 0 ? seen : 0, out);
    return out;
  }

  Status step(std::span<const runtime::StepRow> rows, const runtime::Observer* observer) override {
    ++steps;
    rows_computed += rows.size();
    rows_most = std::max<uint64_t>(rows_most, rows.size());
    SLUICE_CHECK(!rows.empty() && rows.size() <= sizes().rows_max);
    now_us += cost_.step_us + cost_.row_us * rows.size();
    for (const runtime::StepRow& row : rows) {
      if (row.token == failing_token) return Error{"the fake runtime does not like this token"};
    }
    size_t wanted = 0;
    std::vector<float> norms;
    for (const runtime::StepRow& row : rows) {
      uint64_t state = 0, seen = 0;
      if (sizes().state_bytes > 0) {
        std::memcpy(&state, row.sequence->state, 8);
        std::memcpy(row.sequence->state + sizes().state_bytes - 8, &state, 8);  // the last bytes count too: the state before
        state = next_state(state, row.token);
        std::memcpy(row.sequence->state, &state, 8);
      }
      if (sizes().page_bytes > 0) seen = attend(row);
      if (!row.wants_logits) continue;
      SLUICE_CHECK(wanted < sizes().logit_rows_max);
      write_logits(state, seen, std::span(logits_).subspan(wanted++ * sizes().vocabulary, sizes().vocabulary));
      norms.push_back(static_cast<float>(row.token));
    }
    if (observer != nullptr) observer->see(observer->context, sizes().last_norm, norms.data(), norms.size(), 1, 1);
    return {};
  }
  std::span<const float> logits(size_t i) const override { return std::span(logits_).subspan(i * sizes().vocabulary, sizes().vocabulary); }

  uint64_t now_us = 1;
  uint64_t steps = 0, rows_computed = 0, rows_most = 0;
  int32_t failing_token = -1;

 private:
  static uint64_t next_state(uint64_t state, int32_t token) { return fake_mix(state + 0x9e3779b97f4a7c15ull + static_cast<uint32_t>(token)); }
  static uint64_t next_kv(uint64_t kv, int32_t token) { return fake_mix(kv * 3 + 0x632be59bd9b4e019ull + static_cast<uint32_t>(token)); }

  // A position's entry is a hash of all tokens up to it. A row reads the entry before it and the last one of every page before.
  uint64_t attend(const runtime::StepRow& row) const {
    const auto entry = [&](uint64_t position) { return row.sequence->pages[position / kPageTokens] + position % kPageTokens * 8; };
    const uint64_t position = static_cast<uint64_t>(row.position);
    uint64_t kv = 0;
    if (position > 0) std::memcpy(&kv, entry(position - 1), 8);
    kv = next_kv(kv, row.token);
    std::memcpy(entry(position), &kv, 8);
    uint64_t seen = kv;
    for (uint64_t end = kPageTokens; end <= position + 1; end += kPageTokens) {
      uint64_t other;
      std::memcpy(&other, entry(end - 1), 8);
      seen = fake_mix(seen ^ other);
    }
    return seen;
  }

  void write_logits(uint64_t state, uint64_t seen, std::span<float> out) const {
    uint64_t hash = fake_mix(state ^ fake_mix(seen));
    for (float& logit : out) {
      hash = fake_mix(hash + 0x9e3779b97f4a7c15ull);
      logit = static_cast<float>(hash >> 40) * (8.0f / (1 << 24));
    }
  }

  Cost cost_;
  std::vector<float> logits_;
};

// Token i prints as a letter or two; the last one ends a generation.
inline text::Tokenizer fake_tokenizer(size_t vocabulary) {
  text::TokenizerSpec spec;
  spec.kind = text::ModelKind::kCharacterBpe;
  for (size_t i = 0; i < vocabulary; ++i) {
    std::string name(1, static_cast<char>('a' + i % 26));
    if (i >= 26) name += std::to_string(i / 26);
    spec.tokens.push_back(i + 1 == vocabulary ? "<end>" : name);
    spec.types.push_back(i + 1 == vocabulary ? text::TokenType::kControl : text::TokenType::kNormal);
  }
  spec.eos_id = static_cast<int32_t>(vocabulary) - 1;
  Result<text::Tokenizer> tokenizer = text::Tokenizer::create(std::move(spec));
  if (!tokenizer.ok()) std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
  return std::move(tokenizer).value();
}

}  // namespace sluice::engine
