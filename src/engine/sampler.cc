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

Sampler::Sampler(size_t vocabulary) : Sampler(SamplerOptions{}, vocabulary) {}

Sampler::Sampler(const SamplerOptions& options, size_t vocabulary) : options_(options) {
  changed_.reserve(vocabulary);
  candidates_.reserve(vocabulary);
  weights_.reserve(vocabulary);
  top_.reserve(kTopLogprobsMax);
}

// The logits themselves, or a copy in which what is forbidden is -infinity.
std::span<const float> Sampler::allowed_logits(const DrawInput& input) {
  if (input.mask.empty() && input.banned.empty()) return input.logits;
  if (input.mask.empty()) {
    changed_.assign(input.logits.begin(), input.logits.end());
  } else {
    changed_.assign(input.logits.size(), -INFINITY);
    for (size_t word = 0; word < input.mask.size(); ++word) {
      for (uint64_t bits = input.mask[word]; bits != 0; bits &= bits - 1) {
        const size_t id = word * 64 + static_cast<size_t>(__builtin_ctzll(bits));
        if (id < changed_.size()) changed_[id] = input.logits[id];
      }
    }
  }
  for (const int32_t id : input.banned) {
    if (id >= 0 && static_cast<size_t>(id) < changed_.size()) changed_[static_cast<size_t>(id)] = -INFINITY;
  }
  return changed_;
}

// Fills candidates_, most likely first. min-p comes before the sort: p_i / p_best = exp((l_i - l_best) / T), whatever the rest is.
void Sampler::choose_candidates(const SamplerOptions& options, std::span<const float> logits, float top) {
  const float floor = options.min_p > 0 ? top + options.temperature * std::log(options.min_p) : -INFINITY;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] >= floor && logits[i] != -INFINITY) candidates_.push_back({logits[i], static_cast<int32_t>(i)});
  }
  const auto before = [](const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; };
  const size_t kept = options.top_k == 0 ? candidates_.size() : std::min<size_t>(options.top_k, candidates_.size());
  std::partial_sort(candidates_.begin(), candidates_.begin() + static_cast<std::ptrdiff_t>(kept), candidates_.end(), before);
  candidates_.resize(kept);
}

// Weighs the candidates, drops what top-p drops, and draws one of the rest.
size_t Sampler::pick(const SamplerOptions& options, const DrawInput& input) {
  const double top = static_cast<double>(candidates_[0].logit);
  weights_.clear();
  double total = 0;
  for (const Candidate& c : candidates_) {
    weights_.push_back(std::exp((static_cast<double>(c.logit) - top) / static_cast<double>(options.temperature)));
    total += weights_.back();
  }
  if (options.top_p < 1) {
    double sum = 0;
    size_t last = 0;
    while (last < weights_.size() && sum < static_cast<double>(options.top_p) * total) sum += weights_[last++];
    weights_.resize(std::max<size_t>(last, 1));
    total = 0;
    for (const double w : weights_) total += w;
  }
  double point = uniform(options.seed, input.choice, input.position) * total;
  for (size_t i = 0; i < weights_.size(); ++i) {
    point -= weights_[i];
    if (point < 0) return i;
  }
  return weights_.size() - 1;
}

Drawn Sampler::draw(const SamplerOptions& options, const DrawInput& input) {
  Drawn out;
  const std::span<const float> logits = allowed_logits(input);
  const int32_t best = argmax(logits);
  const float top = logits[static_cast<size_t>(best)];
  if (top == -INFINITY && !changed_.empty() && logits.data() == changed_.data()) return out;  // nothing is allowed
  size_t picked = 0;
  if (options.temperature <= 0 || !std::isfinite(top)) {
    candidates_.assign(1, Candidate{top, best});
    weights_.assign(1, 1.0);
  } else {
    choose_candidates(options, logits, top);
    picked = pick(options, input);
  }
  out.id = candidates_[picked].id;
  if (input.top_logprobs >= 0) report(input, picked, out);
  return out;
}

Drawn Sampler::explain(const DrawInput& input, int32_t id) {
  Drawn out{.id = id, .logprob = {}, .top = {}};
  candidates_.assign(1, Candidate{0, id});
  weights_.assign(1, 1.0);
  report(input, 0, out);
  out.logprob.logprob = out.logprob.raw_logprob;
  for (TokenLogprob& t : top_) t.logprob = t.raw_logprob;
  return out;
}

void Sampler::report(const DrawInput& input, size_t picked, Drawn& out) {
  const std::span<const float> raw = input.logits;
  const double top = static_cast<double>(raw[static_cast<size_t>(argmax(raw))]);
  double sum = 0;
  for (const float logit : raw) sum += std::exp(static_cast<double>(logit) - top);
  const double log_sum = top + std::log(sum);
  double total = 0;
  for (const double w : weights_) total += w;
  const auto describe = [&](int32_t id) {
    TokenLogprob t{id, -INFINITY, static_cast<float>(static_cast<double>(raw[static_cast<size_t>(id)]) - log_sum)};
    for (size_t i = 0; i < weights_.size(); ++i) {
      if (candidates_[i].id == id) t.logprob = static_cast<float>(std::log(weights_[i] / total));
    }
    return t;
  };
  out.logprob = describe(candidates_[picked].id);
  top_.clear();
  const auto before = [](const TokenLogprob& a, const TokenLogprob& b) { return a.raw_logprob != b.raw_logprob ? a.raw_logprob > b.raw_logprob : a.id < b.id; };
  const size_t most = std::min<size_t>(static_cast<size_t>(std::min(input.top_logprobs, kTopLogprobsMax)), raw.size());
  for (size_t i = 0; most > 0 && i < raw.size(); ++i) {
    const TokenLogprob t{static_cast<int32_t>(i), 0, raw[i]};
    if (top_.size() == most && !before(t, top_.back())) continue;
    if (top_.size() == most) top_.pop_back();
    top_.insert(std::upper_bound(top_.begin(), top_.end(), t, before), t);
  }
  for (TokenLogprob& t : top_) t = describe(t.id);
  out.top = top_;
}

}  // namespace sluice::engine
