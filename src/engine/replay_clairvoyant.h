// The policy that knows what comes: it keeps states where a later request parts from its past and lets the one go that saves least per byte and request
// until its own next use. No policy of ours; with the bound it brackets the optimum. Next: replay.h.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "engine/replay.h"

namespace sluice::engine {

// A later request that will go on from this position, which the request passes.
struct Want {
  uint64_t position = 0;
  uint64_t request = 0;
};

class Wants {
 public:
  explicit Wants(uint64_t requests = 0) : wants_(requests) {}
  std::span<const Want> at(uint64_t request) const { return wants_[request]; }
  // False if the position is already wanted there, by an earlier one.
  bool add(uint64_t at, const Want& want);

 private:
  std::vector<std::vector<Want>> wants_;  // rising positions
};
Wants find_wants(const Trace& trace, const History& history);

class Clairvoyant final : public Evictor {
 public:
  void set_next(uint32_t checkpoint, uint64_t request);
  // The next uses of what is inserted from here on, by position.
  void expect(std::span<const Want> wants) { expected_ = wants; }

  void made(StoreView& store, uint32_t id) override;
  void consumed(StoreView&, uint32_t id, bool) override { set_next(id, kNever); }
  void passed(StoreView&, uint32_t id) override { set_next(id, kNever); }
  uint32_t choose(StoreView& store, uint32_t newcomer, uint64_t newcomer_bytes) override;

 private:
  static constexpr uint64_t kNever = UINT64_MAX;
  double value(StoreView& store, uint32_t id, uint64_t bytes) const;

  std::vector<uint64_t> next_;  // by checkpoint
  std::span<const Want> expected_;
};

}  // namespace sluice::engine
