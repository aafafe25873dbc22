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
    : kinds_(kinds), variants_(variants), counts_(uint64_t{kinds} * variants * kBuckets), table_(counts_.size()), kind_rate_(uint64_t{kinds} * kBuckets),
      kind_counts_(kind_rate_.size()), built_(uint64_t{kinds} * variants) {
  sum_up();
}

void ReuseRates::waited(uint32_t of, uint64_t from, uint64_t to) {
  Counts* row = counts_.data() + uint64_t{of} * kBuckets;
  for (uint32_t b = bucket(from); from < to; ++b) {
    const uint64_t end = b + 1 < kBuckets ? std::min(to, bucket_begin(b + 1)) : to;
    row[b].waited += end - from;
    from = end;
  }
}

void ReuseRates::used(uint32_t row, uint64_t idle) { ++counts_[uint64_t{row} * kBuckets + bucket(idle)].used; }

void ReuseRates::tick() {
  ++ticks_;
  if (ticks_ % 64 == 0 || std::has_single_bit(ticks_)) sum_up();
}

// What is known of each kind, and of all, by idle time: what stands for classes that were seen little.
void ReuseRates::sum_up() {
  ++epoch_;
  std::fill(kind_counts_.begin(), kind_counts_.end(), Counts());
  std::array<Counts, kBuckets> all{};
  for (size_t i = 0; i < counts_.size(); ++i) {
    Counts& kind = kind_counts_[i / (uint64_t{variants_} * kBuckets) * kBuckets + i % kBuckets];
    kind.waited += counts_[i].waited;
    kind.used += counts_[i].used;
    all[i % kBuckets].waited += counts_[i].waited;
    all[i % kBuckets].used += counts_[i].used;
  }
  double unknown = kPriorRate;
  for (uint32_t b = 0; b < kBuckets; ++b) {
    // What is not known of an idle time is taken from the shorter one before it, falling: nothing is kept because nobody waited that long.
    if (b > 0) unknown *= (8.0 + static_cast<double>(bucket_begin(b - 1))) / (8.0 + static_cast<double>(bucket_begin(b)));
    unknown = (static_cast<double>(all[b].used) + kPriorWaits * unknown) / (static_cast<double>(all[b].waited) + kPriorWaits);
    for (uint32_t kind = 0; kind < kinds_; ++kind) {
      const Counts& of = kind_counts_[uint64_t{kind} * kBuckets + b];
      kind_rate_[uint64_t{kind} * kBuckets + b] = (static_cast<double>(of.used) + kPriorWaits * unknown) / (static_cast<double>(of.waited) + kPriorWaits);
    }
  }
}

void ReuseRates::build(uint32_t row) {
  built_[row] = epoch_;
  const Counts* counts = counts_.data() + uint64_t{row} * kBuckets;
  const double* kind = kind_rate_.data() + uint64_t{row / variants_} * kBuckets;
  std::array<double, kBuckets> chance{}, wait{};  // of a use while an idle time lasts, and the requests waited in it
  for (uint32_t b = 0; b + 1 < kBuckets; ++b) {
    const double rate = (static_cast<double>(counts[b].used) + kPriorWaits * kind[b]) / (static_cast<double>(counts[b].waited) + kPriorWaits);
    const double width = static_cast<double>(bucket_begin(b + 1) - bucket_begin(b));
    const double hazard = rate * width;
    chance[b] = hazard / (1.0 + hazard);  // at most 1, no libm
    wait[b] = width / (1.0 + hazard);
  }
  double* out = table_.data() + uint64_t{row} * kBuckets;
  for (uint32_t from = 0; from + 1 < kBuckets; ++from) {
    double alive = 1.0, uses = 0.0, waits = 0.0, best_uses = 0.0, best_waits = 1.0;
    for (uint32_t b = from; b + 1 < kBuckets && alive > 1e-3; ++b) {
      uses += alive * chance[b];
      waits += alive * wait[b];
      alive *= 1.0 - chance[b];
      if (uses * best_waits <= best_uses * waits) continue;
      best_uses = uses;
      best_waits = waits;
    }
    out[from] = best_uses / best_waits;
  }
  out[kBuckets - 1] = 0.0;
}

}  // namespace sluice::engine
