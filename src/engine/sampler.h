// Choosing the next token: temperature, top-k, top-p, min-p, then one draw. The draw comes from a counter-based generator keyed by (seed, position), so
// it does not depend on what else runs or on how often anything was called before. Ties go to the lower id.
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

class Sampler {
 public:
  // `vocabulary`: so that sample() allocates nothing.
  Sampler(const SamplerOptions& options, size_t vocabulary);
  // `position`: of the token that is chosen.
  int32_t sample(std::span<const float> logits, uint64_t position);

 private:
  struct Candidate {
    float logit;
    int32_t id;
  };
  SamplerOptions options_;
  std::vector<Candidate> candidates_;
  std::vector<double> weights_;
};

// The largest logit's id, the lowest on ties; NaN is never chosen unless everything is.
int32_t argmax(std::span<const float> logits);

// Uniform in [0, 1) from (seed, choice, position): Philox-like mixing by two rounds of splitmix64 (Steele et al. 2014).
double uniform(uint64_t seed, uint64_t choice, uint64_t position);

}  // namespace sluice::engine
