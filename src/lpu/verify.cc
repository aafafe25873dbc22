#include "lpu/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace sluice::lpu {
namespace {

uint64_t end_of(const Slot& slot) { return slot.start + slot.busy; }

Status check_units(const Schedule& s) {
  std::vector<uint32_t> order(s.slots.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto key = [&](uint32_t i) { return std::tuple(s.slots[i].stage, s.slots[i].unit, s.slots[i].start); };
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return key(a) < key(b); });
  for (size_t i = 1; i < order.size(); ++i) {
    const Slot &a = s.slots[order[i - 1]], &b = s.slots[order[i]];
    if (a.stage != b.stage || a.unit != b.unit || end_of(a) <= b.start) continue;
    return Error{fmt::format("{}: ops {} and {} both use stage {}'s {} in cycle {}", a.unit == Unit::kLink ? "link" : "unit", a.op, b.op, a.stage,
                             kUnitNames[static_cast<int>(a.unit)], b.start)};
  }
  return {};
}

Status check_inputs(const Schedule& s) {
  for (const Slot& slot : s.slots) {
    for (const uint32_t id : slot.reads) {
      const Placed& p = s.placed[id];
      if (p.stage != slot.stage) return Error{fmt::format("place: op {} runs in stage {} and reads a value of stage {}", slot.op, slot.stage, p.stage)};
      if (slot.start < p.ready) return Error{fmt::format("order: op {} starts in cycle {} and reads what is ready in {}", slot.op, slot.start, p.ready)};
      if (end_of(slot) > p.until) return Error{fmt::format("order: op {} reads until cycle {} what is freed in {}", slot.op, end_of(slot), p.until)};
    }
    if (slot.writes == kNone) continue;
    const Placed& out = s.placed[slot.writes];
    if (out.ready < slot.ready) return Error{fmt::format("order: the value of op {} is called ready in cycle {}, it is in {}", slot.op, out.ready, slot.ready)};
    if (out.from > slot.start) return Error{fmt::format("order: op {} writes from cycle {} to a place that is its own from {}", slot.op, slot.start, out.from)};
  }
  return {};
}

Status check_rates(const Schedule& s, const Chip& chip) {
  for (const Slot& slot : s.slots) {
    if (slot.unit == Unit::kLink && slot.ready < end_of(slot) + slot.hops * chip.hop_cycles()) {
      return Error{fmt::format("flight: op {}'s transfer over {} hops arrives in cycle {}", slot.op, slot.hops, slot.ready)};
    }
    const double fed = static_cast<double>(slot.busy) * chip.feed_bytes_per_cycle();
    if (slot.unit == Unit::kMatrix && static_cast<double>(slot.bytes) > fed + chip.feed_bytes_per_cycle()) {
      return Error{fmt::format("feed: op {} takes {} bytes into the matrix unit in {} cycles", slot.op, slot.bytes, slot.busy)};
    }
  }
  return {};
}

Status check_streams(const Schedule& s, const Chip& chip) {
  std::map<std::pair<uint32_t, uint64_t>, int64_t> change;  // by stage and cycle
  for (const Slot& slot : s.slots) {
    change[{slot.stage, slot.start}] += static_cast<int64_t>(slot.streams);
    change[{slot.stage, end_of(slot)}] -= static_cast<int64_t>(slot.streams);
  }
  int64_t used = 0;
  for (const auto& [at, delta] : change) {
    used += delta;
    if (static_cast<double>(used) > chip.streams) return Error{fmt::format("streams: {} in use in stage {}, cycle {}", used, at.first, at.second)};
  }
  return {};
}

struct Life {
  uint32_t stage;
  uint64_t cycle;
  bool begins;
  Region at;
};

// Walks time with the set of live regions by offset: a region that begins may not touch its neighbours.
Status check_overlaps(std::vector<Life> lives) {
  std::sort(lives.begin(), lives.end(), [](const Life& a, const Life& b) {
    return std::tuple(a.stage, a.cycle, a.begins, a.at.offset) < std::tuple(b.stage, b.cycle, b.begins, b.at.offset);
  });
  std::map<uint64_t, uint64_t> live;  // offset to end
  uint32_t stage = 0;
  for (const Life& life : lives) {
    if (life.stage != stage) live.clear();
    stage = life.stage;
    if (!life.begins) {
      live.erase(life.at.offset);
      continue;
    }
    const auto next = live.lower_bound(life.at.offset);
    const bool hits_next = next != live.end() && next->first < life.at.offset + life.at.bytes;
    const bool hits_before = next != live.begin() && std::prev(next)->second > life.at.offset;
    if (hits_next || hits_before) {
      return Error{fmt::format("overlap: stage {}, cycle {}: bytes {} to {} have an owner already", stage, life.cycle, life.at.offset,
                               life.at.offset + life.at.bytes)};
    }
    live[life.at.offset] = life.at.offset + life.at.bytes;
  }
  return {};
}

Status check_memory(const Schedule& s, const Chip& chip) {
  std::vector<Life> lives;
  const auto add = [&](uint32_t stage, const Region& at, uint64_t from, uint64_t until) -> Status {
    if (at.bytes == 0) return {};
    if (static_cast<double>(at.offset + at.bytes) > chip.sram_bytes) {
      return Error{fmt::format("capacity: stage {} needs {} bytes of SRAM, a chip has {:.0f}", stage, at.offset + at.bytes, chip.sram_bytes)};
    }
    lives.push_back({stage, from, true, at});
    lives.push_back({stage, until, false, at});
    return {};
  };
  for (size_t i = 0; i < s.resident.size(); ++i) SLUICE_TRY_VOID(add(s.stage_of_op[i], s.resident[i], 0, UINT64_MAX));
  for (const Placed& p : s.placed) SLUICE_TRY_VOID(add(p.stage, p.at, p.from, p.until));
  return check_overlaps(std::move(lives));
}

Status check_complete(const Schedule& s, const Workload& work) {
  std::vector<bool> has_slot(work.ops.size()), has_writer(s.placed.size());
  for (const Slot& slot : s.slots) {
    if (slot.op >= work.ops.size()) return Error{fmt::format("missing: a slot is of op {}, there are {}", slot.op, work.ops.size())};
    if (slot.unit != Unit::kLink) has_slot[slot.op] = true;
    if (slot.writes != kNone) has_writer[slot.writes] = true;
  }
  for (size_t i = 0; i < has_slot.size(); ++i) {
    if (!has_slot[i]) return Error{fmt::format("missing: op {} ({}) is never computed", i, work.ops[i].label)};
  }
  for (size_t i = 0; i < has_writer.size(); ++i) {
    if (!has_writer[i]) return Error{fmt::format("missing: value {} is never written", s.placed[i].value)};
  }
  return {};
}

}  // namespace

Status verify(const Schedule& schedule, const Workload& work, const Chip& chip) {
  SLUICE_TRY_VOID(check_complete(schedule, work));
  SLUICE_TRY_VOID(check_units(schedule));
  SLUICE_TRY_VOID(check_inputs(schedule));
  SLUICE_TRY_VOID(check_rates(schedule, chip));
  SLUICE_TRY_VOID(check_streams(schedule, chip));
  return check_memory(schedule, chip);
}

}  // namespace sluice::lpu
