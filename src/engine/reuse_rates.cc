#include "engine/reuse_rates.h"

#include <algorithm>
#include <bit>

namespace sluice::engine {
namespace {

// Weight of the coarser table in a finer one, in requests of waiting: about what one use in a dozen requests needs to show.
constexpr double kPriorWaits = 24.0;
// A checkpoint about which nothing is known: one use in 64 requests of waiting, falling with idle time.
constexpr double kPriorRate = 1.0 / 64;

}  // namespace

uint32_t ReuseRates::bucket(uint64_t idle) {
  if (idle < 4) return static_cast<uint32_t>(idle);
  const uint32_t log = static_cast<uint32_t>(std::bit_width(idle)) - 1;
  const uint32_t half = static_cast<uint32_t>(idle >> (log - 1)) & 1u;
  return std::min(kBuckets - 1, 2 * log + half);
}

uint64_t ReuseRates::bucket_begin(uint32_t b) {
  if (b < 4) return b;
  return (2ull + (b & 1u)) << (b / 2 - 1);
}

ReuseRates::ReuseRates(uint32_t kinds, uint32_t variants)
    : kinds_(kinds), variants_(variants), counts_(uint64_t{kinds} * variants * kBuckets), table_(counts_.size()) {
  rebuild();
}

void ReuseRates::waited(uint32_t kind, uint32_t variant, uint64_t from, uint64_t to) {
  Counts* row = counts_.data() + uint64_t{kind * variants_ + variant} * kBuckets;
  for (uint32_t b = bucket(from); from < to; ++b) {
    const uint64_t end = b + 1 < kBuckets ? std::min(to, bucket_begin(b + 1)) : to;
    row[b].waited += end - from;
    from = end;
  }
}

void ReuseRates::used(uint32_t kind, uint32_t variant, uint64_t idle) { ++counts_[uint64_t{kind * variants_ + variant} * kBuckets + bucket(idle)].used; }

void ReuseRates::tick() {
  ++ticks_;
  if (ticks_ % 64 == 0 || std::has_single_bit(ticks_)) rebuild();
}

void ReuseRates::rebuild() {
  std::array<double, kBuckets> all_waited{}, all_used{}, kind_waited{}, kind_used{}, rate{};
  for (size_t i = 0; i < counts_.size(); ++i) {
    all_waited[i % kBuckets] += static_cast<double>(counts_[i].waited);
    all_used[i % kBuckets] += static_cast<double>(counts_[i].used);
  }
  for (uint32_t kind = 0; kind < kinds_; ++kind) {
    kind_waited.fill(0);
    kind_used.fill(0);
    const Counts* row = counts_.data() + uint64_t{kind} * variants_ * kBuckets;
    for (uint32_t i = 0; i < variants_ * kBuckets; ++i) {
      kind_waited[i % kBuckets] += static_cast<double>(row[i].waited);
      kind_used[i % kBuckets] += static_cast<double>(row[i].used);
    }
    for (uint32_t variant = 0; variant < variants_; ++variant, row += kBuckets) {
      double unknown = kPriorRate;
      for (uint32_t b = 0; b < kBuckets; ++b) {
        // What is not known of an idle time is taken from the shorter one before it, falling: nothing is kept because nobody waited that long.
        if (b > 0) unknown *= (8.0 + static_cast<double>(bucket_begin(b - 1))) / (8.0 + static_cast<double>(bucket_begin(b)));
        const double of_all = (all_used[b] + kPriorWaits * unknown) / (all_waited[b] + kPriorWaits);
        unknown = of_all;
        const double of_kind = (kind_used[b] + kPriorWaits * of_all) / (kind_waited[b] + kPriorWaits);
        rate[b] = (static_cast<double>(row[b].used) + kPriorWaits * of_kind) / (static_cast<double>(row[b].waited) + kPriorWaits);
      }
      double* out = table_.data() + uint64_t{kind * variants_ + variant} * kBuckets;
      for (uint32_t from = 0; from < kBuckets; ++from) {
        double alive = 1.0, uses = 0.0, waits = 0.0, best = 0.0;
        for (uint32_t b = from; b + 1 < kBuckets; ++b) {
          const double width = static_cast<double>(bucket_begin(b + 1) - bucket_begin(b));
          const double hazard = rate[b] * width;
          const double chance = hazard / (1.0 + hazard);  // at most 1, no libm
          uses += alive * chance;
          waits += alive * width / (1.0 + hazard);
          alive *= 1.0 - chance;
          best = std::max(best, uses / waits);
        }
        out[from] = best;
      }
      out[kBuckets - 1] = 0.0;
    }
  }
}

}  // namespace sluice::engine
