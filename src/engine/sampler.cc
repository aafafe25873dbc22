#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.h"

namespace sluice::engine {
namespace {

// A token this many times less likely than the best is never drawn: weights are doubles with 53 bits.
constexpr double kNegligible = 64 * 0.6931471805599453;
constexpr size_t kHeapMax = 1024;  // best tokens that are kept in a heap while the logits are read once
constexpr size_t kFirstSorted = 64;
constexpr double kDryExponentMax = 64;  // base ^ 64 is beyond any logit already
constexpr size_t kBlock = 64;           // logits that share a mask word, and a bound

uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

float scale_for(const Penalty& penalty, uint8_t token) {
  const bool spared = ((token & kWhitespace) && !penalty.whitespaces) || ((token & kPunctuation) && !penalty.punctuations) ||
                      ((token & kNumber) && !penalty.numbers) || ((token & kStopword) && !penalty.stopwords) || ((token & kEmoji) && !penalty.emojis);
  return spared ? 0.0f : penalty.scale;
}

// NaN is passed over.
float largest(std::span<const float> logits) {
  constexpr size_t kLanes = 16;  // independent maxima: the compiler makes vectors of them
  float lanes[kLanes];
  std::fill(lanes, lanes + kLanes, -INFINITY);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
  }
  float best = -INFINITY;
  for (; i < logits.size(); ++i) best = logits[i] > best ? logits[i] : best;
  for (const float lane : lanes) best = lane > best ? lane : best;
  return best;
}

// Bit j: logit j of a block is at least `floor`.
uint64_t at_least(std::span<const float> block, float floor) {
  uint64_t bits = 0;
  for (size_t j = 0; j < block.size(); ++j) bits |= uint64_t{block[j] >= floor} << j;
  return bits;
}

}  // namespace

double uniform(uint64_t seed, uint64_t choice, uint64_t position) {
  return static_cast<double>(mix(mix(mix(seed) ^ choice) ^ position) >> 11) * 0x1p-53;
}

int32_t argmax(std::span<const float> logits) {
  SLUICE_CHECK(!logits.empty());
  const float best = largest(logits);
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] == best) return static_cast<int32_t>(i);
  }
  return 0;
}

Sampler::Sampler(size_t vocabulary, const TokenClasses* classes, size_t tokens_max) : classes_(classes) {
  changed_.reserve(vocabulary);
  bounds_.reserve((vocabulary + kBlock - 1) / kBlock);
  candidates_.reserve(vocabulary);
  matches_.reserve(tokens_max);
  repeats_.reserve(tokens_max);
  top_.reserve(kTopLogprobsMax);
}

Sampler::Sampler(const SamplerOptions& options, size_t vocabulary) : Sampler(vocabulary, nullptr, 0) { options_ = options; }

uint64_t Sampler::bytes(size_t vocabulary, size_t tokens_max) {
  return vocabulary * (sizeof(float) + sizeof(Candidate) + 1) + (vocabulary / kBlock + 1) * sizeof(float) +
         tokens_max * (sizeof(uint32_t) + sizeof(repeats_[0]));
}

// Word by word: whole ones are copied or left out, and of the others the rarer kind of bit is gone through.
void Sampler::mask_logits(std::span<const float> logits, std::span<const uint64_t> mask) {
  changed_.resize(logits.size());
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, logits.size());
    const uint64_t word = begin / kBlock < mask.size() ? mask[begin / kBlock] : 0;
    const bool most = std::popcount(word) > 32;
    if (most) {
      std::copy(logits.begin() + static_cast<std::ptrdiff_t>(begin), logits.begin() + static_cast<std::ptrdiff_t>(end),
                changed_.begin() + static_cast<std::ptrdiff_t>(begin));
    } else {
      std::fill(changed_.begin() + static_cast<std::ptrdiff_t>(begin), changed_.begin() + static_cast<std::ptrdiff_t>(end), -INFINITY);
    }
    for (uint64_t bits = most ? ~word : word; bits != 0; bits &= bits - 1) {
      const size_t id = begin + static_cast<size_t>(std::countr_zero(bits));
      if (id < end) changed_[id] = most ? -INFINITY : logits[id];
    }
  }
}

// The logits and the mask themselves, or a copy in which penalties and bias are taken into account and what is forbidden is -infinity.
Sampler::Field Sampler::field(const SamplerOptions& options, const DrawInput& input) {
  if (input.banned.empty() && !options.changes_logits()) return {input.logits, input.mask};
  if (input.mask.empty()) {
    changed_.assign(input.logits.begin(), input.logits.end());
  } else {
    mask_logits(input.logits, input.mask);
  }
  if (options.counts() && input.counts != nullptr) penalize(options, *input.counts);
  if (options.dry.multiplier > 0) penalize_repetitions(options.dry, input.tokens);
  for (const auto& [id, bias] : options.logit_bias) {
    if (id >= 0 && static_cast<size_t>(id) < changed_.size()) changed_[static_cast<size_t>(id)] += bias;
  }
  for (const int32_t id : input.banned) {
    if (id >= 0 && static_cast<size_t>(id) < changed_.size()) changed_[static_cast<size_t>(id)] = -INFINITY;
  }
  return {changed_, {}};
}

void Sampler::penalize(const SamplerOptions& options, const TokenCounts& counts) {
  const double all = static_cast<double>(std::max<uint64_t>(counts.answer() + (options.penalize_prompt ? counts.prompt() : 0), 1));
  for (const int32_t id : counts.seen()) {
    float& logit = changed_[static_cast<size_t>(id)];
    if (options.repetition_penalty != 1) logit = logit > 0 ? logit / options.repetition_penalty : logit * options.repetition_penalty;
    const TokenCounts::Count& count = counts.of(id);
    const uint32_t times = count.answer + (options.penalize_prompt ? count.prompt : 0);
    if (times == 0) continue;
    const uint8_t token = classes_ == nullptr ? 0 : classes_->of(id);
    logit -= scale_for(options.presence, token) + scale_for(options.frequency, token) * static_cast<float>(times) +
             scale_for(options.share, token) * static_cast<float>(times / all);
  }
}

// matches_[i]: how many tokens before and with place i from the end are also the last ones (the Z function of the text read backwards, in linear time).
void Sampler::penalize_repetitions(const DryOptions& options, std::span<const int32_t> tokens) {
  if (options.window > 0 && tokens.size() > options.window) tokens = tokens.last(options.window);
  const size_t n = tokens.size();
  if (n < 2) return;
  const auto back = [&](size_t i) { return tokens[n - 1 - i]; };
  uint32_t longest = 0;  // no repetition goes over a breaker
  while (longest < n && std::find(options.breakers.begin(), options.breakers.end(), back(longest)) == options.breakers.end()) ++longest;
  matches_.assign(n, 0);
  repeats_.clear();
  for (size_t i = 1, left = 0, right = 0; i < n; ++i) {
    uint32_t z = i < right ? std::min(static_cast<uint32_t>(right - i), matches_[i - left]) : 0;
    while (i + z < n && back(z) == back(i + z)) ++z;
    if (i + z > right) {
      left = i;
      right = i + z;
    }
    matches_[i] = z;
    const uint32_t length = std::min(z, longest);
    if (length >= options.allowed_length && length > 0) repeats_.push_back({back(i - 1), length});
  }
  std::sort(repeats_.begin(), repeats_.end());
  for (size_t i = 0; i < repeats_.size(); ++i) {
    const auto& [id, length] = repeats_[i];
    if (i + 1 < repeats_.size() && repeats_[i + 1].first == id) continue;  // the longest counts, and comes last
    const double exponent = std::min(static_cast<double>(length - options.allowed_length), kDryExponentMax);
    changed_[static_cast<size_t>(id)] -= options.multiplier * static_cast<float>(std::pow(static_cast<double>(options.base), exponent));
  }
}

void Sampler::sort_first(size_t count) {
  count = std::min(count, candidates_.size());
  if (count <= sorted_) return;
  const auto begin = candidates_.begin();
  if (count == candidates_.size()) {
    std::sort(begin + static_cast<std::ptrdiff_t>(sorted_), candidates_.end(), likelier);
  } else {
    std::partial_sort(begin + static_cast<std::ptrdiff_t>(sorted_), begin + static_cast<std::ptrdiff_t>(count), candidates_.end(), likelier);
  }
  sorted_ = count;
}

std::span<const float> Sampler::Field::block(size_t b) const { return logits.subspan(b * kBlock, std::min(kBlock, logits.size() - b * kBlock)); }

uint64_t Sampler::Field::allowed(size_t b) const {
  if (mask.empty()) return ~uint64_t{0};
  return b < mask.size() ? mask[b] : 0;
}

// The likeliest token, -1 if none is allowed; and a bound of each block's logits, so that later only the blocks are read that may hold a candidate.
int32_t Sampler::find_best(const Field& field) {
  int32_t id = -1;
  float best = -INFINITY;
  bounds_.resize((field.logits.size() + kBlock - 1) / kBlock);
  for (size_t b = 0; b < bounds_.size(); ++b) {
    const uint64_t allowed = field.allowed(b);
    bounds_[b] = allowed == 0 ? -INFINITY : largest(field.block(b));
    if (!(bounds_[b] > best)) continue;
    const std::span<const float> block = field.block(b);
    for (uint64_t bits = allowed & at_least(block, best); bits != 0; bits &= bits - 1) {
      const auto j = static_cast<size_t>(std::countr_zero(bits));
      if (!(block[j] > best)) continue;
      best = block[j];
      id = static_cast<int32_t>(b * kBlock + j);
    }
  }
  return id;
}

// Calls `take` for each allowed token whose logit is at least `floor`, by rising id; `take` may raise the floor.
template <class Take>
void Sampler::for_each(const Field& field, float& floor, const Take& take) const {
  for (size_t b = 0; b < bounds_.size(); ++b) {
    if (!(bounds_[b] >= floor) || bounds_[b] == -INFINITY) continue;
    const std::span<const float> block = field.block(b);
    for (uint64_t bits = field.allowed(b) & at_least(block, floor); bits != 0; bits &= bits - 1) {
      const auto j = static_cast<size_t>(std::countr_zero(bits));
      if (block[j] != -INFINITY) take(Candidate{block[j], static_cast<int32_t>(b * kBlock + j), 0});
    }
  }
}

// The best `most` logits that are at least `floor`.
void Sampler::keep_best(size_t most, const Field& field, float floor) {
  for_each(field, floor, [&](const Candidate& c) {
    if (candidates_.size() < most) {
      candidates_.push_back(c);
      if (candidates_.size() < most) return;
      std::make_heap(candidates_.begin(), candidates_.end(), likelier);
    } else {
      if (!likelier(c, candidates_.front())) return;
      std::pop_heap(candidates_.begin(), candidates_.end(), likelier);
      candidates_.back() = c;
      std::push_heap(candidates_.begin(), candidates_.end(), likelier);
    }
    floor = std::max(floor, candidates_.front().logit);
  });
  sort_first(candidates_.size());
}

// min-p comes before the sort: p_i / p_best = exp((l_i - l_best) / T), whatever the rest is.
void Sampler::choose_candidates(const SamplerOptions& options, const Field& field, float top) {
  float floor = top - static_cast<float>(static_cast<double>(options.temperature) * kNegligible);
  if (options.min_p > 0) floor = std::max(floor, top + options.temperature * std::log(options.min_p));
  candidates_.clear();
  sorted_ = 0;
  if (options.top_k > 0 && options.top_k <= kHeapMax) return keep_best(options.top_k, field, floor);
  for_each(field, floor, [&](const Candidate& c) { candidates_.push_back(c); });
  if (options.top_k == 0 || options.top_k >= candidates_.size()) return;
  sort_first(options.top_k);
  candidates_.resize(options.top_k);
}

double Sampler::weigh(double temperature) {
  double top = -INFINITY, total = 0;
  for (const Candidate& c : candidates_) top = std::max(top, static_cast<double>(c.logit));
  for (Candidate& c : candidates_) total += c.weight = std::exp((static_cast<double>(c.logit) - top) / temperature);
  return total;
}

// Keeps those whose surprise is nearest to the expected one, until they have typical_p together (Meister et al. 2022).
double Sampler::keep_typical(double typical_p, double total) {
  double entropy = 0;
  for (const Candidate& c : candidates_) {
    if (c.weight > 0) entropy -= c.weight / total * std::log(c.weight / total);
  }
  const auto distance = [&](const Candidate& c) { return c.weight > 0 ? std::fabs(-std::log(c.weight / total) - entropy) : INFINITY; };
  std::sort(candidates_.begin(), candidates_.end(), [&](const Candidate& a, const Candidate& b) {
    const double da = distance(a), db = distance(b);
    return da != db ? da < db : likelier(a, b);
  });
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates_.size() && sum < typical_p * total) sum += candidates_[kept++].weight;
  candidates_.resize(std::max<size_t>(kept, 1));
  sorted_ = 0;
  sort_first(candidates_.size());
  total = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  return total;
}

// Sorts no more than it has to.
double Sampler::keep_top_p(double top_p, double total) {
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates_.size() && sum < top_p * total) {
    if (kept >= sorted_) sort_first(std::max(kFirstSorted, 2 * sorted_));
    sum += candidates_[kept++].weight;
  }
  if (kept == 0) sort_first(1);
  candidates_.resize(std::max<size_t>(kept, 1));
  return kept == 0 ? candidates_[0].weight : sum;
}

Drawn Sampler::draw(const SamplerOptions& options, const DrawInput& input) {
  Drawn out;
  const Field from = field(options, input);
  int32_t best = find_best(from);
  if (best < 0 && !input.mask.empty()) return out;  // nothing is allowed
  if (best < 0) best = argmax(from.logits);
  const float top = from.logits[static_cast<size_t>(best)];
  if (top == -INFINITY && from.logits.data() != input.logits.data()) return out;
  size_t picked = 0;
  double total = 1;
  if (options.temperature <= 0 || !std::isfinite(top)) {
    candidates_.assign(1, Candidate{top, best, 1});
  } else {
    choose_candidates(options, from, top);
    total = weigh(static_cast<double>(options.temperature));
    if (options.typical_p < 1) total = keep_typical(static_cast<double>(options.typical_p), total);
    if (options.top_p < 1) total = keep_top_p(static_cast<double>(options.top_p), total);
    double point = uniform(options.seed, input.choice, input.position) * total;
    for (picked = 0; picked + 1 < candidates_.size(); ++picked) {
      point -= candidates_[picked].weight;
      if (point < 0) break;
    }
  }
  out.id = candidates_[picked].id;
  if (input.top_logprobs >= 0) {
    for (Candidate& c : candidates_) c.weight /= total;
    report(input, candidates_[picked], out);
  }
  return out;
}

Drawn Sampler::explain(const DrawInput& input, int32_t id) {
  Drawn out{.id = id, .logprob = {}, .top = {}};
  candidates_.assign(1, Candidate{0, id, 1});
  report(input, candidates_[0], out);
  out.logprob.logprob = out.logprob.raw_logprob;
  for (TokenLogprob& t : top_) t.logprob = t.raw_logprob;
  return out;
}

// The candidates' weights are probabilities here.
void Sampler::report(const DrawInput& input, const Candidate& picked, Drawn& out) {
  const std::span<const float> raw = input.logits;
  const double top = static_cast<double>(raw[static_cast<size_t>(argmax(raw))]);
  double sum = 0;
  for (const float logit : raw) sum += std::exp(static_cast<double>(logit) - top);
  const double log_sum = top + std::log(sum);
  const auto raw_logprob = [&](int32_t id) { return static_cast<float>(static_cast<double>(raw[static_cast<size_t>(id)]) - log_sum); };
  out.logprob = {picked.id, static_cast<float>(std::log(picked.weight)), raw_logprob(picked.id)};
  top_.clear();
  const auto before = [](const TokenLogprob& a, const TokenLogprob& b) { return a.raw_logprob != b.raw_logprob ? a.raw_logprob > b.raw_logprob : a.id < b.id; };
  const size_t most = std::min<size_t>(static_cast<size_t>(std::min(input.top_logprobs, kTopLogprobsMax)), raw.size());
  for (size_t i = 0; most > 0 && i < raw.size(); ++i) {
    const TokenLogprob t{static_cast<int32_t>(i), 0, raw[i]};
    if (top_.size() == most && !before(t, top_.back())) continue;
    if (top_.size() == most) top_.pop_back();
    top_.insert(std::upper_bound(top_.begin(), top_.end(), t, before), t);
  }
  for (TokenLogprob& t : top_) {
    t = {t.id, -INFINITY, raw_logprob(t.id)};
    for (const Candidate& c : candidates_) {
      if (c.id == t.id) t.logprob = static_cast<float>(std::log(c.weight));
    }
  }
  out.top = top_;
}

}  // namespace sluice::engine
