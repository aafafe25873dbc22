#include "engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace sluice::engine {
namespace {

uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

}  // namespace

double uniform(uint64_t seed, uint64_t choice, uint64_t position) {
  return static_cast<double>(mix(mix(mix(seed) ^ choice) ^ position) >> 11) * 0x1p-53;
}

int32_t argmax(std::span<const float> logits) {
  SLUICE_CHECK(!logits.empty());
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best] || std::isnan(logits[best])) best = i;
  }
  return static_cast<int32_t>(best);
}

Sampler::Sampler(const SamplerOptions& options, size_t vocabulary) : options_(options) {
  candidates_.reserve(vocabulary);
  weights_.reserve(vocabulary);
}

int32_t Sampler::sample(std::span<const float> logits, uint64_t position) {
  if (options_.temperature <= 0) return argmax(logits);
  const int32_t best = argmax(logits);
  const float top = logits[static_cast<size_t>(best)];
  if (!std::isfinite(top)) return best;
  // min-p before the sort: p_i / p_best = exp((l_i - l_best) / T), whatever the rest is.
  const float floor = options_.min_p > 0 ? top + options_.temperature * std::log(options_.min_p) : -INFINITY;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= floor) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  }
  const auto before = [](const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; };
  const size_t kept = options_.top_k == 0 ? candidates_.size() : std::min<size_t>(options_.top_k, candidates_.size());
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(kept), candidates_.end(), before);
  candidates_.resize(kept);
  weights_.clear();
  double total = 0;
  for (const Candidate& c : candidates_) {
    weights_.push_back(std::exp((static_cast<double>(c.logit) - static_cast<double>(top)) / static_cast<double>(options_.temperature)));
    total += weights_.back();
  }
  if (options_.top_p < 1) {
    double sum = 0;
    size_t last = 0;
    while (last < weights_.size() && sum < static_cast<double>(options_.top_p) * total) sum += weights_[last++];
    weights_.resize(std::max<size_t>(last, 1));
    total = 0;
    for (const double w : weights_) total += w;
  }
  double point = uniform(options_.seed, 0, position) * total;
  for (size_t i = 0; i < weights_.size(); ++i) {
    point -= weights_[i];
    if (point < 0) return candidates_[i].id;
  }
  return candidates_[weights_.size() - 1].id;
}

}  // namespace sluice::engine
