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
  for (const Slot& slot : s.slots) {
    for (const Access& a : slot.accesses) lives.push_back({a.stage, Unit::kMatrix, a.from, a.until, slot.op});
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

// Every two accesses that meet in time, by the cycle in which they begin.
Status check_slices(const Schedule& s) {
  std::vector<std::pair<Access, uint32_t>> all;
  for (const Slot& slot : s.slots) {
    for (const Access& a : slot.accesses) all.push_back({a, slot.op});
  }
  const auto key = [](const auto& use) { return std::pair(use.first.stage, use.first.from); };
  std::sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  std::vector<const std::pair<Access, uint32_t>*> live;
  for (const auto& next : all) {
    std::erase_if(live, [&](const auto* a) { return a->first.stage != next.first.stage || a->first.until <= next.first.from; });
    for (const auto* a : live) {
      if (!conflict(a->first, next.first)) continue;
      return Error{fmt::format("slice: ops {} and {} both {} slice {} of stage {} in cycle {}", a->second, next.second,
                               a->first.write == next.first.write ? (next.first.write ? "write" : "read") : "use a bank of",
                               std::max(a->first.strip.slice, next.first.strip.slice), next.first.stage, next.first.from)};
    }
    live.push_back(&next);
  }
  return {};
}

bool within(const Strip& inner, const Strip& outer) {
  return outer.slice <= inner.slice && inner.slice + inner.slices <= outer.slice + outer.slices;
}

// Bytes that a slot's accesses can move between its beginning and its end, from or to a place.
double moved(const Slot& slot, const SliceMap& map, uint32_t stage, const Region& at, bool write) {
  double bytes = 0;
  for (const Access& a : slot.accesses) {
    const bool turn = at.strip == map.all && std::find(map.groups.begin(), map.groups.end(), a.strip) != map.groups.end();
    if (a.stage != stage || a.write != write || !(turn || within(at.strip, a.strip)) || (map.banks(at) & ~a.banks) != 0) continue;
    if (a.from < slot.start || a.until < a.from || a.until > slot.ready || (!write && a.until > end_of(slot))) continue;
    bytes += static_cast<double>((a.until - a.from) * std::min(a.strip.slices, at.strip.slices)) * map.port_bytes;
  }
  return bytes;
}

// Nothing is read or written past the ports: what a slot reads, writes and keeps goes through accesses that are long enough.
Status check_ports(const Schedule& s, const Workload& work, const Chip& chip) {
  const SliceMap map(chip);
  const auto require = [&](const Slot& slot, uint32_t stage, const Region& at, bool write, double bytes) -> Status {
    const double slack = 1e-6 * bytes;
    if (at.bytes == 0 || moved(slot, map, stage, at, write) + slack >= bytes) return {};
    return Error{fmt::format("port: op {} {} {:.0f} bytes of slices {} to {}, its accesses move {:.0f}", slot.op, write ? "writes" : "reads", bytes,
                             at.strip.slice, at.strip.slice + at.strip.slices - 1, moved(slot, map, stage, at, write))};
  };
  std::map<uint32_t, uint32_t> kv_home;  // attention that holds a KV value
  for (uint32_t i = 0; i < work.ops.size(); ++i) {
    for (const uint32_t v : work.ops[i].reads) {
      if (work.ops[i].kind == Kind::kAttention && work.values[v].width == 0) kv_home[v] = i;
    }
  }
  std::vector<bool> begun(work.ops.size());
  for (const Slot& slot : s.slots) {
    for (const uint32_t id : slot.reads) {
      SLUICE_TRY_VOID(require(slot, s.placed[id].stage, s.placed[id].at, false, static_cast<double>(s.placed[id].at.bytes)));
    }
    if (slot.writes != kNone) {
      const Placed& out = s.placed[slot.writes];
      SLUICE_TRY_VOID(require(slot, out.stage, out.at, true, static_cast<double>(out.at.bytes)));
    }
    const Work& op = work.ops[slot.op];
    if (slot.unit == Unit::kLink || (slot.unit == Unit::kVector && op.kind == Kind::kAttention)) continue;  // softmax stays in the streams
    const Resident& kept = s.resident[op.home == kNone ? slot.op : op.home];
    const double fed = std::max(1.0, static_cast<double>(slot.bytes));
    SLUICE_TRY_VOID(require(slot, slot.stage, kept.weights, false, fed));
    SLUICE_TRY_VOID(require(slot, slot.stage, kept.kv, false, fed));
    if (begun[slot.op]) continue;
    begun[slot.op] = true;
    SLUICE_TRY_VOID(require(slot, slot.stage, kept.state, false, 1));
    SLUICE_TRY_VOID(require(slot, slot.stage, kept.state, true, 1));
    const auto home = op.writes.empty() ? kv_home.end() : kv_home.find(op.writes[0]);
    if (home != kv_home.end()) SLUICE_TRY_VOID(require(slot, slot.stage, s.resident[home->second].kv, true, 1));
  }
  return {};
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
      const bool heads = op.heads && p.at.bytes > 0 && !work.values[p.value].aligned(s.stages[slot.stage].chips);
      const bool gathered = heads || std::find(op.gathers.begin(), op.gathers.end(), p.value) != op.gathers.end();
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

// Walks time with the set of live regions of a strip by offset: a region that begins may not touch its neighbours.
Status check_overlaps(std::vector<Life> lives) {
  const auto key = [](const Life& l) { return std::tuple(l.stage, l.at.strip.slice, l.at.strip.slices, l.cycle, l.begins, l.at.offset); };
  std::sort(lives.begin(), lives.end(), [&](const Life& a, const Life& b) { return key(a) < key(b); });
  std::map<uint64_t, uint64_t> live;  // offset to end
  for (size_t i = 0; i < lives.size(); ++i) {
    const Life& life = lives[i];
    if (i > 0 && (lives[i - 1].stage != life.stage || lives[i - 1].at.strip != life.at.strip)) live.clear();
    if (!life.begins) {
      live.erase(life.at.offset);
      continue;
    }
    const auto next = live.lower_bound(life.at.offset);
    const bool hits_next = next != live.end() && next->first < life.at.end();
    const bool hits_before = next != live.begin() && std::prev(next)->second > life.at.offset;
    if (hits_next || hits_before) {
      return Error{fmt::format("overlap: stage {}, cycle {}: bytes {} to {} have an owner already", life.stage, life.cycle, life.at.offset, life.at.end())};
    }
    live[life.at.offset] = life.at.end();
  }
  return {};
}

struct Lines {
  uint64_t first, end;
};

// Sorted, and joined where they touch.
std::vector<Lines> joined(std::vector<Lines> lines) {
  std::sort(lines.begin(), lines.end(), [](const Lines& a, const Lines& b) { return a.first < b.first; });
  size_t last = 0;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (lines[i].first <= lines[last].end) {
      lines[last].end = std::max(lines[last].end, lines[i].end);
    } else {
      lines[++last] = lines[i];
    }
  }
  if (!lines.empty()) lines.resize(last + 1);
  return lines;
}

bool share_a_line(const std::vector<Lines>& a, const std::vector<Lines>& b) {
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i].first < b[j].end && b[j].first < a[i].end) return true;
    a[i].end <= b[j].end ? ++i : ++j;
  }
  return false;
}

// Different strips that share slices share no line of them, at any time: what is kept lies in all slices, values in narrow strips.
Status check_strips(const std::vector<Life>& lives) {
  std::map<std::pair<uint32_t, uint64_t>, std::pair<Strip, std::vector<Lines>>> of_strip;  // by stage and strip
  for (const Life& l : lives) {
    auto& entry = of_strip[{l.stage, uint64_t{l.at.strip.slice} << 32 | l.at.strip.slices}];
    entry.first = l.at.strip;
    if (l.begins) entry.second.push_back({l.at.first_line(), l.at.end_line()});
  }
  for (auto& [key, entry] : of_strip) entry.second = joined(std::move(entry.second));
  for (auto a = of_strip.begin(); a != of_strip.end(); ++a) {
    for (auto b = std::next(a); b != of_strip.end() && b->first.first == a->first.first; ++b) {
      const Strip &x = a->second.first, &y = b->second.first;
      const bool meet = x.slice < y.slice + y.slices && y.slice < x.slice + x.slices;
      if (!meet || !share_a_line(a->second.second, b->second.second)) continue;
      return Error{fmt::format("overlap: stage {}: slices {} to {} and {} to {} share lines", a->first.first, x.slice, x.slice + x.slices - 1, y.slice,
                               y.slice + y.slices - 1)};
    }
  }
  return {};
}

Status check_memory(const Schedule& s, const Chip& chip) {
  const SliceMap map(chip);
  std::vector<Life> lives;
  const auto add = [&](uint32_t stage, const Region& at, uint64_t from, uint64_t until) -> Status {
    if (at.bytes == 0) return {};
    if (at.end_line() > map.lines || at.strip.slice + at.strip.slices > map.slices) {
      return Error{fmt::format("capacity: stage {} has bytes in line {} of slice {}, there are {} lines and {} slices", stage, at.end_line() - 1,
                               at.strip.slice + at.strip.slices - 1, map.lines, map.slices)};
    }
    lives.push_back({stage, from, true, at});
    lives.push_back({stage, until, false, at});
    return {};
  };
  for (size_t i = 0; i < s.resident.size(); ++i) {
    for (const Region* at : {&s.resident[i].weights, &s.resident[i].kv, &s.resident[i].state}) SLUICE_TRY_VOID(add(s.stage_of_op[i], *at, 0, UINT64_MAX));
  }
  for (const Placed& p : s.placed) SLUICE_TRY_VOID(add(p.stage, p.at, p.from, p.until));
  SLUICE_TRY_VOID(check_strips(lives));
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
  SLUICE_TRY_VOID(check_memory(schedule, chip));
  SLUICE_TRY_VOID(check_slices(schedule));
  SLUICE_TRY_VOID(check_ports(schedule, work, chip));
  return check_pipeline(schedule);
}

}  // namespace sluice::lpu
