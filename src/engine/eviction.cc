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

// Variants of a kind that are learned apart: how often it was passed since its last hit, how often it was hit, whether its request had resumed, and
// whether traffic has left it.
uint32_t steps(uint32_t count) { return count == 0 ? 0 : count == 1 ? 1 : count <= 3 ? 2 : 3; }
constexpr uint32_t kVariants = 4 * 3 * 2 * 2;
// A beginning used this often is shared by many: that one of them goes on elsewhere says nothing about the others.
constexpr uint32_t kHubHits = 4;
template <class T>  // a checkpoint or its ghost
uint32_t row_of(const T& c) {
  return static_cast<uint32_t>(c.kind) * kVariants + ((steps(c.passes) * 3 + std::min(c.hits, 2u)) * 2 + std::min(c.turn, 1u)) * 2 + (c.left ? 1 : 0);
}

// Demand does not go away with a state: it falls to the nearest one before it. So the worth of a checkpoint counts what it inherited from those that went,
// and hazards are learned from ghosts as well, by everyone who asks for them or goes by.
class Learned final : public Evictor {
 public:
  Learned() : rates_(kKinds, kVariants) {}

  void consumed(StoreView& store, uint32_t id, bool wanted_more) override {
    Checkpoint& c = store.records()[id];
    if (!wanted_more) return use(store, c);
    wait(store, c);
    c.inherited.weight = 0;  // the ghost's line goes on: what this request keeps answers for it
  }
  void passed(StoreView& store, uint32_t id) override { wait(store, store.records()[id]); }
  void asked(StoreView& store, Ghost& ghost) override { use(store, ghost); }
  void ghost_passed(StoreView& store, Ghost& ghost) override { wait(store, ghost); }
  void forgotten(StoreView& store, Ghost& ghost) override { wait(store, ghost); }
  void made(StoreView&, uint32_t id) override { forget(id); }
  void next_request(StoreView&) override {
    rates_.tick();
    counted_this_request_ = false;
  }

  void lost(StoreView& store, uint32_t id, Ghost& ghost) override {
    Checkpoint& c = store.records()[id];
    wait(store, c);
    note_left(store, c);
    ghost = {c.touched, c.counted_until, c.hits, c.passes, c.turn, c.left, c.kind};
    if (c.parent == kNoCheckpoint) return;
    bequeath(store, c, store.records()[c.parent]);
    forget(c.parent);
  }

  uint32_t choose(StoreView& store, uint32_t newcomer, uint64_t newcomer_bytes) override {
    const std::span<Checkpoint> records = store.records();
    double least = 0;
    uint32_t victim = kNoCheckpoint;
    for (uint32_t id = 0; id < records.size(); ++id) {
      if (!store.may_go(records[id])) continue;
      if (!counted_this_request_) {
        wait(store, records[id]);
        note_left(store, records[id]);
      }
      const double worth = value(store, id) / static_cast<double>(store.bytes_freed(id));
      if (victim != kNoCheckpoint && worth >= least) continue;
      least = worth;
      victim = id;
    }
    counted_this_request_ = true;
    if (newcomer == kNoCheckpoint || victim == kNoCheckpoint) return victim;
    return value(store, newcomer) / static_cast<double>(newcomer_bytes) < least ? kNoCheckpoint : victim;
  }

 private:
  // Whoever came this way last went on elsewhere from above: this is an old branch now.
  void note_left(StoreView& store, Checkpoint& c) {
    if (c.parent == kNoCheckpoint) return;
    const Checkpoint& parent = store.records()[c.parent];
    if (parent.touched > c.touched && parent.hits < kHubHits) c.left = true;
  }
  double own_rate(StoreView& store, const Checkpoint& c) {
    return rates_.index(row_of(c), store.tick() - c.touched) * (1 + c.inherited.inner);
  }
  double inherited_rate(StoreView& store, const Checkpoint& c) {
    const Inherited& i = c.inherited;
    return i.weight > 0 ? i.weight * rates_.index(i.row, store.tick() - i.touched) : 0;
  }
  // Rates stand still during a request but for what is inherited; one request may look for room a dozen times.
  double value(StoreView& store, uint32_t id) {
    const Checkpoint& c = store.records()[id];
    if (id >= known_.size()) known_.resize(store.records().size());
    Known& known = known_[id];
    if (known.request != store.request() + 1) known = {store.request() + 1, own_rate(store, c) + inherited_rate(store, c)};
    return known.rate * saved_cost(store, c);
  }
  void forget(uint32_t id) {
    if (id < known_.size()) known_[id].request = 0;
  }

  void bequeath(StoreView& store, const Checkpoint& from, Checkpoint& to) {
    const double own = own_rate(store, from), inherited = inherited_rate(store, from), already = inherited_rate(store, to);
    if (from.children > 0) {
      const double base = rates_.index(row_of(to), store.tick() - to.touched);
      if (base > 0) to.inherited.inner = std::min(to.inherited.inner + own / base, kInnerMost);
    }
    const double leaf = from.children > 0 ? 0 : own, strongest = std::max({leaf, inherited, already});
    if (strongest <= 0) return;
    const double all = leaf + inherited + already;
    if (leaf == strongest) {
      to.inherited.row = row_of(from);
      to.inherited.touched = from.touched;
    } else if (inherited == strongest) {
      to.inherited.row = from.inherited.row;
      to.inherited.touched = from.inherited.touched;
    }
    to.inherited.weight = all / rates_.index(to.inherited.row, store.tick() - to.inherited.touched);
  }

  template <class T>
  void use(StoreView& store, T& c) {
    wait(store, c);
    rates_.used(row_of(c), store.tick() - c.touched);
  }
  template <class T>
  void wait(StoreView& store, T& c) {
    rates_.waited(row_of(c), c.counted_until - c.touched, store.tick() - c.touched);
    c.counted_until = store.tick();
  }

  struct Known {
    uint64_t request = 0;  // one more; 0: nothing is known
    double rate = 0;
  };
  static constexpr double kInnerMost = 64;
  ReuseRates rates_;
  std::vector<Known> known_;  // by checkpoint
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
