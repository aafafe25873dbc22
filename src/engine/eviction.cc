#include "engine/eviction.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "engine/reuse_rates.h"

namespace sluice::engine {
namespace {

double saved_cost(StoreView& store, const Checkpoint& c) {
  const uint64_t from = c.parent == kNoCheckpoint ? 0 : store.records()[c.parent].position;
  return store.cost().between(from, c.position);
}

// Variants of a kind that are learned apart: how often it was passed since its last hit, how often it was hit, whether its request had resumed.
uint32_t steps(uint32_t count) { return count == 0 ? 0 : count == 1 ? 1 : count <= 3 ? 2 : count <= 7 ? 3 : 4; }
constexpr uint32_t kVariants = 5 * 3 * 2;
uint32_t variant_of(const Checkpoint& c) { return (steps(c.passes) * 3 + std::min(c.hits, 2u)) * 2 + std::min(c.turn, 1u); }

class Learned final : public Evictor {
 public:
  Learned() : rates_(kKinds, kVariants) {}

  void consumed(StoreView& store, uint32_t id) override {
    const Checkpoint& c = store.records()[id];
    count(store, store.records()[id]);
    rates_.used(static_cast<uint32_t>(c.kind), variant_of(c), store.request() - c.touched);
  }
  void passed(StoreView& store, uint32_t id) override { count(store, store.records()[id]); }
  void next_request(StoreView&) override {
    rates_.tick();
    counted_this_request_ = false;
  }

  uint32_t choose(StoreView& store, uint32_t newcomer, uint64_t newcomer_bytes) override {
    const std::span<Checkpoint> records = store.records();
    double least = 0;
    uint32_t victim = kNoCheckpoint;
    for (uint32_t id = 0; id < records.size(); ++id) {
      if (!store.may_go(records[id])) continue;
      if (!counted_this_request_) count(store, records[id]);
      const double worth = value(store, records[id]) / static_cast<double>(store.bytes_freed(id));
      if (victim != kNoCheckpoint && worth >= least) continue;
      least = worth;
      victim = id;
    }
    counted_this_request_ = true;
    if (newcomer == kNoCheckpoint || victim == kNoCheckpoint) return victim;
    return value(store, records[newcomer]) / static_cast<double>(newcomer_bytes) < least ? kNoCheckpoint : victim;
  }

 private:
  double value(StoreView& store, const Checkpoint& c) const {
    return rates_.index(static_cast<uint32_t>(c.kind), variant_of(c), store.request() - c.touched) * saved_cost(store, c);
  }
  void count(StoreView& store, Checkpoint& c) {
    rates_.waited(static_cast<uint32_t>(c.kind), variant_of(c), c.counted_until - c.touched, store.request() - c.touched);
    c.counted_until = store.request();
  }

  ReuseRates rates_;
  bool counted_this_request_ = false;
};

class Lru final : public Evictor {
 public:
  explicit Lru(LruRule rule) : rule_(rule) {}
  uint32_t choose(StoreView& store, uint32_t, uint64_t) override {
    const std::span<Checkpoint> records = store.records();
    uint32_t victim = kNoCheckpoint;
    for (uint32_t id = 0; id < records.size(); ++id) {
      const Checkpoint& c = records[id];
      if (!store.may_go(c) || (rule_ == LruRule::kLeavesOnly && c.children > 0)) continue;
      if (victim != kNoCheckpoint) {
        const Checkpoint& best = records[victim];
        if (c.touched > best.touched || (c.touched == best.touched && c.position <= best.position)) continue;
      }
      victim = id;
    }
    return victim;
  }

 private:
  LruRule rule_;
};

class Marconi final : public Evictor {
 public:
  explicit Marconi(double alpha) : alpha_(alpha) {}
  uint32_t choose(StoreView& store, uint32_t, uint64_t) override {
    const std::span<Checkpoint> records = store.records();
    candidates_.clear();
    double recency_least = 1e300, recency_most = 0, efficiency_least = 1e300, efficiency_most = 0;
    for (uint32_t id = 0; id < records.size(); ++id) {
      const Checkpoint& c = records[id];
      if (!store.may_go(c) || c.children > 1) continue;
      const uint64_t from = c.parent == kNoCheckpoint ? 0 : records[c.parent].position;
      const double bytes = static_cast<double>(store.state_bytes()) +
                           static_cast<double>(store.page_bytes()) * static_cast<double>(c.position - from) / static_cast<double>(kPageTokens);
      const Candidate candidate{id, 1.0 / static_cast<double>(store.request() - c.last_use + 1), saved_cost(store, c) / bytes};
      candidates_.push_back(candidate);
      recency_least = std::min(recency_least, candidate.recency);
      recency_most = std::max(recency_most, candidate.recency);
      efficiency_least = std::min(efficiency_least, candidate.efficiency);
      efficiency_most = std::max(efficiency_most, candidate.efficiency);
    }
    const auto scaled = [](double x, double least, double most) { return most > least ? (x - least) / (most - least) : 0.0; };
    uint32_t victim = kNoCheckpoint;
    double lowest = 0;
    for (const Candidate& c : candidates_) {
      const double score = scaled(c.recency, recency_least, recency_most) + alpha_ * scaled(c.efficiency, efficiency_least, efficiency_most);
      if (victim != kNoCheckpoint && score >= lowest) continue;
      lowest = score;
      victim = c.id;
    }
    return victim;
  }

 private:
  struct Candidate {
    uint32_t id;
    double recency, efficiency;
  };
  double alpha_;
  std::vector<Candidate> candidates_;
};

}  // namespace

std::unique_ptr<Evictor> learned_evictor() { return std::make_unique<Learned>(); }
std::unique_ptr<Evictor> lru_evictor(LruRule rule) { return std::make_unique<Lru>(rule); }
std::unique_ptr<Evictor> marconi_evictor(double alpha) { return std::make_unique<Marconi>(alpha); }

}  // namespace sluice::engine
