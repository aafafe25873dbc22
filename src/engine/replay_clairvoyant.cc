#include "engine/replay_clairvoyant.h"

#include <algorithm>

namespace sluice::engine {

bool Wants::add(uint64_t at, const Want& want) {
  std::vector<Want>& here = wants_[at];
  const auto place = std::lower_bound(here.begin(), here.end(), want.position, [](const Want& w, uint64_t position) { return w.position < position; });
  if (place != here.end() && place->position == want.position) return false;
  here.insert(place, want);
  return true;
}

// A request goes on from the deepest position that it shares with its past. Every request that passed there before must keep the state, back to the last
// one that went on from it itself.
Wants find_wants(const Trace& trace, const History& history) {
  const uint64_t count = trace.requests.size();
  Wants wants(count);
  for (uint64_t r = 0; r < count; ++r) {
    if (history.past[r].empty()) continue;
    Past at = history.past[r].back();
    const uint64_t position = std::min({at.position, trace.requests[r].prompt - 1, trace.requests[at.request].size() - 1});
    for (bool more = position > 0; more && wants.add(at.request, {position, r});) {
      const std::vector<Past>& before = history.past[at.request];
      const auto passed = std::find_if(before.begin(), before.end(), [&](const Past& p) { return p.position >= position; });
      more = passed != before.end();
      if (more) at = *passed;
    }
  }
  return wants;
}

void Clairvoyant::set_next(uint32_t checkpoint, uint64_t request) {
  if (checkpoint >= next_.size()) next_.resize(checkpoint + 1, kNever);
  next_[checkpoint] = request;
}

void Clairvoyant::made(StoreView& store, uint32_t id) {
  const uint64_t position = store.records()[id].position;
  const auto want = std::find_if(expected_.begin(), expected_.end(), [&](const Want& w) { return w.position == position; });
  set_next(id, want == expected_.end() ? kNever : want->request);
}

double Clairvoyant::value(StoreView& store, uint32_t id, uint64_t bytes) const {
  if (next_[id] == kNever) return 0;
  const std::span<Checkpoint> records = store.records();
  const Checkpoint& c = records[id];
  const double cost = store.cost().between(c.parent == kNoCheckpoint ? 0 : records[c.parent].position, c.position);
  const uint64_t now = store.request();
  return cost / (static_cast<double>(bytes) * static_cast<double>(next_[id] + 1 > now ? next_[id] + 1 - now : 1));  // the store counts from 1
}

uint32_t Clairvoyant::choose(StoreView& store, uint32_t newcomer, uint64_t newcomer_bytes) {
  double least = newcomer == kNoCheckpoint ? 0 : value(store, newcomer, newcomer_bytes);
  uint32_t victim = kNoCheckpoint;
  for (uint32_t id = 0; id < store.records().size(); ++id) {
    if (!store.may_go(store.records()[id])) continue;
    const double worth = value(store, id, store.bytes_freed(id));
    if (victim == kNoCheckpoint ? newcomer != kNoCheckpoint && worth > least : worth >= least) continue;
    least = worth;
    victim = id;
  }
  return victim;
}

}  // namespace sluice::engine
