// Choosing the next token: temperature, min-p, top-k, top-p, then one draw. The draw comes from a counter-based generator keyed by (seed, choice,
// position), so it does not depend on what else runs or on how often anything was called before. Ties go to the lower id.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sluice::engine {

struct SamplerOptions {
  float temperature = 0.8f;  // 0: always the best token
  uint32_t top_k = 40;       // 0: all
  float top_p = 0.95f;       // 1: all
  float min_p = 0.05f;       // 0: none
  uint64_t seed = 0;
};

inline constexpr int32_t kTopLogprobsMax = 20;

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;      // after the sampler chain (what it was drawn with); -infinity where the chain dropped it
  float raw_logprob = 0;  // of the model's own distribution
};

struct DrawInput {
  std::span<const float> logits;
  uint64_t choice = 0;
  uint64_t position = 0;               // of the token that is chosen
  std::span<const uint64_t> mask;      // token i is allowed if bit i % 64 of word i / 64 is set; empty: all are
  std::span<const int32_t> banned;     // besides
  int32_t top_logprobs = -1;           // -1: no logprobs; else the chosen token's and as many of the best ones
};

struct Drawn {
  int32_t id = -1;                     // -1: nothing is allowed
  TokenLogprob logprob;
  std::span<const TokenLogprob> top;   // by raw_logprob; until the next draw
};

// The chain and its scratch memory: one for all sequences of a thread. draw() allocates nothing.
class Sampler {
 public:
  explicit Sampler(size_t vocabulary);
  Sampler(const SamplerOptions& options, size_t vocabulary);

  Drawn draw(const SamplerOptions& options, const DrawInput& input);
  // The logprobs of a token that was not drawn (before the chain: both are the model's own).
  Drawn explain(const DrawInput& input, int32_t id);
  // With the options given to the constructor, for one sequence without constraints.
  int32_t sample(std::span<const float> logits, uint64_t position) { return draw(options_, {.logits = logits, .position = position}).id; }

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  std::span<const float> allowed_logits(const DrawInput& input);
  void choose_candidates(const SamplerOptions& options, std::span<const float> logits, float top);
  size_t pick(const SamplerOptions& options, const DrawInput& input);
  void report(const DrawInput& input, size_t picked, Drawn& out);

  SamplerOptions options_;
  std::vector<float> changed_;          // logits after what is forbidden
  std::vector<Candidate> candidates_;   // most likely first
  std::vector<double> weights_;         // of the candidates that are left
  std::vector<TokenLogprob> top_;
};

// The largest logit's id, the lowest on ties; NaN is never chosen unless everything is.
int32_t argmax(std::span<const float> logits);

// Uniform in [0, 1) from (seed, choice, position): Philox-like mixing by two rounds of splitmix64 (Steele et al. 2014).
double uniform(uint64_t seed, uint64_t choice, uint64_t position);

}  // namespace sluice::engine
