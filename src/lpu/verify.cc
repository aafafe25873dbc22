#include "lpu/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace sluice::lpu {
namespace {

uint64_t end_of(const Slot& slot) { return slot.start + slot.busy; }

// A unit, or the links, of a stage taken by an op.
struct Use {
  uint32_t stage;
  Unit unit;
  uint64_t start, end;
  uint32_t op;
};

std::vector<Use> uses_of(const Schedule& s) {
  std::vector<Use> uses;
  for (const Slot& slot : s.slots) {
    uses.push_back({slot.stage, slot.unit, slot.start, end_of(slot), slot.op});
    if (slot.peer != kNone) uses.push_back({slot.peer, slot.unit, slot.ready - slot.busy, slot.ready, slot.op});
  }
  return uses;
}

Status check_units(std::vector<Use> uses) {
  const auto key = [](const Use& u) { return std::tuple(u.stage, u.unit, u.start); };
  std::sort(uses.begin(), uses.end(), [&](const Use& a, const Use& b) { return key(a) < key(b); });
  for (size_t i = 1; i < uses.size(); ++i) {
    const Use &a = uses[i - 1], &b = uses[i];
    if (a.stage != b.stage || a.unit != b.unit || a.end <= b.start) continue;
    return Error{fmt::format("{}: ops {} and {} both use stage {}'s {} in cycle {}", a.unit == Unit::kLink ? "link" : "unit", a.op, b.op, a.stage,
                             kUnitNames[static_cast<int>(a.unit)], b.start)};
  }
  return {};
}

// Tokens start every `interval` cycles: the same uses, shifted, may not meet. Folded into one interval, uses of a unit are disjoint on its circle.
Status check_folded(std::vector<Use> uses, uint64_t interval, std::string_view what) {
  for (size_t i = uses.size(); i-- > 0;) {
    Use& u = uses[i];
    if (u.end - u.start > interval) return Error{fmt::format("pipeline: op {} keeps stage {}'s {} longer than {} cycles", u.op, u.stage, what, interval)};
    u.end = u.end - u.start + u.start % interval;
    u.start %= interval;
    if (u.end <= interval) continue;
    const Use rest{u.stage, u.unit, 0, u.end - interval, u.op};  // what runs over the end goes on at the beginning
    u.end = interval;
    uses.push_back(rest);
  }
  const Status met = check_units(std::move(uses));
  if (met.ok()) return {};
  return Error{fmt::format("pipeline: {} of tokens {} cycles apart: {}", what, interval, met.error().message)};
}

Status check_pipeline(const Schedule& s) {
  if (s.interval == 0) return Error{"pipeline: no interval between tokens"};
  SLUICE_TRY_VOID(check_folded(uses_of(s), s.interval, "units and links"));
  std::vector<Use> lives;  // of a stage's values: while any of a token's lies there, none of another's may
  for (const Placed& p : s.placed) {
    if (p.at.bytes > 0) lives.push_back({p.stage, Unit::kMatrix, p.from, p.until, p.value});
  }
  std::sort(lives.begin(), lives.end(), [](const Use& a, const Use& b) { return std::tuple(a.stage, a.start) < std::tuple(b.stage, b.start); });
  std::vector<Use> visits;
  for (const Use& life : lives) {
    if (visits.empty() || visits.back().stage != life.stage || visits.back().end < life.start) {
      visits.push_back(life);
    } else {
      visits.back().end = std::max(visits.back().end, life.end);
    }
  }
  return check_folded(std::move(visits), s.interval, "values");
}

Status check_inputs(const Schedule& s, const Chip& chip) {
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
    const uint64_t writes_from = slot.start + slot.hops * chip.hop_cycles();
    if (out.from <= writes_from) continue;
    return Error{fmt::format("order: op {} writes from cycle {} to a place that is its own from {}", slot.op, writes_from, out.from)};
  }
  return {};
}

// Bytes and operations that a slot claims, against what its cycles carry.
Status check_rates(const Schedule& s, const Workload& work, const Chip& chip) {
  for (const Slot& slot : s.slots) {
    const uint64_t chips = s.stages[slot.stage].chips;
    if (slot.unit == Unit::kLink) {
      const double sent = static_cast<double>(slot.bytes * (slot.peer == kNone ? chips - 1 : 1));
      const double carried = static_cast<double>(slot.busy) * chip.links * chip.vector_bytes / chip.vector_cycles();
      if (sent > carried + chip.vector_bytes) {
        return Error{fmt::format("wire: op {} sends {:.0f} bytes in {} cycles, they carry {:.0f}", slot.op, sent, slot.busy, carried)};
      }
      const ValueShape& value = work.values[s.placed[slot.writes].value];
      const uint64_t least = value.share(std::max(chips, s.stages[s.placed[slot.writes].stage].chips));
      if (slot.bytes < least) return Error{fmt::format("wire: op {} sends {} bytes, a share has {} elements", slot.op, slot.bytes, least)};
    }
    const Work& op = work.ops[slot.op];
    const double most = static_cast<double>(slot.busy * chips) * chip.ops_per_s(work.bits) / 2 / chip.clock_hz;
    if (slot.unit == Unit::kMatrix && op.kind == Kind::kMatmul && static_cast<double>(op.macs) > most * 1.001) {
      return Error{fmt::format("rate: op {} makes {} multiply-adds in {} cycles of {} chips, they make {:.0f}", slot.op, op.macs, slot.busy, chips, most)};
    }
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

// Ops get what they need whole, and nobody but the links reads what is not a value yet.
Status check_spread(const Schedule& s, const Workload& work) {
  for (const Slot& slot : s.slots) {
    if (slot.unit == Unit::kLink) continue;
    const Work& op = work.ops[slot.op];
    for (const uint32_t id : slot.reads) {
      const Placed& p = s.placed[id];
      if (p.partial) return Error{fmt::format("whole: op {} reads value {} before its parts were exchanged", slot.op, p.value)};
      const bool gathered = std::find(op.gathers.begin(), op.gathers.end(), p.value) != op.gathers.end();
      const bool sums_whole = op.kind == Kind::kMatmul && p.value == op.reads[0] && !s.placed[slot.writes].partial;
      if (p.whole || (!op.whole && !gathered && !sums_whole)) continue;
      return Error{fmt::format("whole: op {} needs all of value {}, a chip has a share", slot.op, p.value)};
    }
    if (work.exact && op.kind != Kind::kLocal && slot.writes != kNone && s.placed[slot.writes].partial) {
      return Error{fmt::format("whole: op {} splits sums, which an exact schedule may not", slot.op)};
    }
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
  SLUICE_TRY_VOID(check_units(uses_of(schedule)));
  SLUICE_TRY_VOID(check_inputs(schedule, chip));
  SLUICE_TRY_VOID(check_spread(schedule, work));
  SLUICE_TRY_VOID(check_rates(schedule, work, chip));
  SLUICE_TRY_VOID(check_streams(schedule, chip));
  SLUICE_TRY_VOID(check_pipeline(schedule));
  return check_memory(schedule, chip);
}

}  // namespace sluice::lpu
