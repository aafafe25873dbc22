// Choosing the next token. In this order: penalties for what was there before (repetition, presence, frequency, share), DRY, bias, what is forbidden, then
// temperature, min-p, top-k, typical, top-p, and one draw. The draw comes from a counter-based generator keyed by (seed, choice, position), so it does not
// depend on what else runs or on how often anything was called before. Ties go to the lower id.
// Contract: draw() allocates nothing. Without penalties and bias it copies no logits: it reads them once for the best one and a bound of every 64, then those
// of each 64 that may hold a candidate; a mask leaves out what it forbids, and whole words of it unread.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/token_classes.h"

namespace sluice::engine {

// Taken off a token's logit; the switches say which classes of tokens it applies to (AI21's Jurassic has the same ones).
struct Penalty {
  float scale = 0;
  bool whitespaces = true, punctuations = true, numbers = true, stopwords = true, emojis = true;
};

// Penalises what would repeat a sequence of the text (DRY, p-e-w in text-generation-webui): multiplier x base ^ (length - allowed_length) for a token that
// would make a repetition of `length` tokens one longer.
struct DryOptions {
  float multiplier = 0;  // 0: off
  float base = 1.75f;
  uint32_t allowed_length = 2;
  uint32_t window = 0;              // tokens at the end that are looked at; 0: all
  std::vector<int32_t> breakers;    // no repetition goes over one of these
};

struct SamplerOptions {
  float temperature = 0.8f;  // 0: always the best token
  uint32_t top_k = 40;       // 0: all
  float top_p = 0.95f;       // 1: all
  float min_p = 0.05f;       // 0: none
  uint64_t seed = 0;
  float typical_p = 1;             // 1: all
  float repetition_penalty = 1;    // divides a positive logit, multiplies a negative one, of every token that prompt or answer have
  Penalty presence;                // scale, once
  Penalty frequency;               // scale x how often (Jurassic's countPenalty, OpenAI's frequency_penalty)
  Penalty share;                   // scale x how often / tokens (Jurassic's frequencyPenalty)
  bool penalize_prompt = false;    // the prompt's tokens count for the three above, not only the answer's
  DryOptions dry;
  std::vector<std::pair<int32_t, float>> logit_bias;

  bool counts() const { return repetition_penalty != 1 || presence.scale != 0 || frequency.scale != 0 || share.scale != 0; }
  bool changes_logits() const { return counts() || dry.multiplier > 0 || !logit_bias.empty(); }
};

inline constexpr int32_t kTopLogprobsMax = 20;

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;      // after the sampler chain (what it was drawn with); -infinity where the chain dropped it
  float raw_logprob = 0;  // of the model's own distribution
};

// How often each token stood in one sequence.
class TokenCounts {
 public:
  struct Count {
    uint32_t prompt = 0, answer = 0;
  };
  TokenCounts(size_t vocabulary, size_t tokens_max) : counts_(vocabulary) { seen_.reserve(std::min(vocabulary, tokens_max)); }
  void add_prompt(std::span<const int32_t> tokens) {
    for (const int32_t id : tokens) ++touch(id).prompt;
    prompt_ += tokens.size();
  }
  void add(int32_t id) {
    ++touch(id).answer;
    ++answer_;
  }
  std::span<const int32_t> seen() const { return seen_; }
  const Count& of(int32_t id) const { return counts_[static_cast<size_t>(id)]; }
  uint64_t prompt() const { return prompt_; }
  uint64_t answer() const { return answer_; }

 private:
  Count& touch(int32_t id) {
    Count& count = counts_[static_cast<size_t>(id)];
    if (count.prompt == 0 && count.answer == 0) seen_.push_back(id);
    return count;
  }
  std::vector<Count> counts_;
  std::vector<int32_t> seen_;
  uint64_t prompt_ = 0, answer_ = 0;
};

struct DrawInput {
  std::span<const float> logits;
  uint64_t choice = 0;
  uint64_t position = 0;               // of the token that is chosen
  std::span<const uint64_t> mask;      // token i is allowed if bit i % 64 of word i / 64 is set; empty: all are
  std::span<const int32_t> banned;     // besides
  int32_t top_logprobs = -1;           // -1: no logprobs; else the chosen token's and as many of the best ones
  const TokenCounts* counts = nullptr;   // where options.counts()
  std::span<const int32_t> tokens;       // prompt and answer, where DRY is on
};

struct Drawn {
  int32_t id = -1;                     // -1: nothing is allowed
  TokenLogprob logprob;
  std::span<const TokenLogprob> top;   // by raw_logprob; until the next draw
};

// The chain and its scratch memory: one for all sequences of a thread.
class Sampler {
 public:
  // `classes` (for the penalties' switches; may be null) outlives this; `tokens_max`: the longest sequence, for DRY.
  Sampler(size_t vocabulary, const TokenClasses* classes, size_t tokens_max);
  Sampler(const SamplerOptions& options, size_t vocabulary);
  static uint64_t bytes(size_t vocabulary, size_t tokens_max);

  Drawn draw(const SamplerOptions& options, const DrawInput& input);
  // The logprobs of a token that was not drawn (before the chain: both are the model's own).
  Drawn explain(const DrawInput& input, int32_t id);
  // With the options given to the constructor, for one sequence without constraints.
  int32_t sample(std::span<const float> logits, uint64_t position) { return draw(options_, {.logits = logits, .position = position}).id; }

 private:
  struct Candidate {
    float logit;
    int32_t id;
    double weight;
  };
  static bool likelier(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

  // What is chosen from: logits, in blocks of 64, and the mask, if it is not among them already.
  struct Field {
    std::span<const float> logits;
    std::span<const uint64_t> mask;  // empty: all are allowed
    std::span<const float> block(size_t b) const;
    uint64_t allowed(size_t b) const;
  };
  Field field(const SamplerOptions& options, const DrawInput& input);
  void mask_logits(std::span<const float> logits, std::span<const uint64_t> mask);
  void penalize(const SamplerOptions& options, const TokenCounts& counts);
  void penalize_repetitions(const DryOptions& options, std::span<const int32_t> tokens);
  int32_t find_best(const Field& field);
  template <class Take>
  void for_each(const Field& field, float& floor, const Take& take) const;
  void choose_candidates(const SamplerOptions& options, const Field& field, float top);
  void keep_best(size_t most, const Field& field, float floor);
  void sort_first(size_t count);
  double weigh(double temperature);
  double keep_typical(double typical_p, double total);
  double keep_top_p(double top_p, double total);
  void report(const DrawInput& input, const Candidate& picked, Drawn& out);

  SamplerOptions options_;
  const TokenClasses* classes_ = nullptr;
  std::vector<float> changed_;          // logits after penalties, bias and what is forbidden
  std::vector<float> bounds_;           // no logit of a block is larger
  std::vector<Candidate> candidates_;   // the first sorted_ of them most likely first
  size_t sorted_ = 0;
  std::vector<uint32_t> matches_;       // DRY: how long the text's end is repeated at each place
  std::vector<std::pair<int32_t, uint32_t>> repeats_;  // token, length
  std::vector<TokenLogprob> top_;
};

// The largest logit's id, the lowest on ties; NaN is never chosen unless everything is.
int32_t argmax(std::span<const float> logits);

// Uniform in [0, 1) from (seed, choice, position): Philox-like mixing by two rounds of splitmix64 (Steele et al. 2014).
double uniform(uint64_t seed, uint64_t choice, uint64_t position);

}  // namespace sluice::engine
