#include "lpu/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace sluice::lpu {
namespace {

double as(uint64_t v) { return static_cast<double>(v); }

double roofline_seconds(const Workload& work, const Chip& chip, double chips) {
  const double bytes = as(work.read_bytes()) / (chip.sram_bytes_per_s * chips);
  const double operations = 2 * as(work.macs()) / (chip.ops_per_s(work.bits) * chips);
  return std::max(bytes, operations);
}

void add_published(const Workload& work, const Chip& chip, Report& out) {
  for (const Published& p : chip.published) {
    const double apart = std::abs(as(p.params) - as(work.params_total));
    if (p.chips == out.chips && apart <= 0.001 * as(p.params)) out.published_tokens_per_s = p.tokens_per_s_user;
  }
}

void add_energy(const Workload& work, const Chip& chip, Report& out) {
  out.idle_j = chip.idle_w * as(out.chips) / out.total_tokens_per_s;
  out.energy_j = out.idle_j + 1e-12 * (chip.pj_per_mac * as(work.macs()) + chip.pj_per_sram_byte * as(work.read_bytes()));
}

// Every cycle of a token belongs to one part.
void add_parts(const Schedule& schedule, const Chip& chip, Report& out) {
  std::map<uint64_t, std::array<int64_t, kPartCount>> changes;
  const auto add = [&](Part part, uint64_t from, uint64_t until) {
    changes[from][static_cast<size_t>(part)] += 1;
    changes[until][static_cast<size_t>(part)] -= 1;
  };
  for (const Slot& slot : schedule.slots) {
    const Part busy = slot.unit == Unit::kMatrix ? Part::kMatrix : slot.unit == Unit::kVector ? Part::kVector : Part::kLink;
    add(busy, slot.start, slot.start + slot.busy);
    add(slot.unit == Unit::kLink ? Part::kFlight : Part::kLatency, slot.start + slot.busy, slot.ready);
  }
  std::array<int64_t, kPartCount> active = {};
  uint64_t at = 0;
  for (const auto& [cycle, change] : changes) {
    size_t part = 0;
    while (part + 1 < kPartCount && active[part] == 0) ++part;
    out.part_s[part] += as(cycle - at) / chip.clock_hz;
    at = cycle;
    for (size_t p = 0; p < kPartCount; ++p) active[p] += change[p];
  }
}

void add_slices(const Schedule& schedule, const SliceMap& map, Report& out) {
  for (const Stage& stage : schedule.stages) out.fullest_slice = std::max(out.fullest_slice, as(stage.lines) / as(map.lines));
  const double ports = as(out.chips) * map.slices * as(schedule.cycles);
  for (const Slot& slot : schedule.slots) {
    for (const Access& a : slot.accesses) {
      const double taken = as(schedule.stages[a.stage].chips * a.strip.slices * (a.until - a.from)) / ports * as(out.in_flight);
      (a.write ? out.write_ports : out.read_ports) += taken;
    }
  }
}

Report begin(const Workload& work, const Chip& chip) {
  Report out{.chip = chip.name, .model = work.name, .roofline = chip.roofline};
  out.context = work.context;
  out.users = work.users;
  return out;
}

}  // namespace

Report report_of(const Workload& work, const Schedule& schedule, const Chip& chip) {
  Report out = begin(work, chip);
  out.chips = schedule.chips();
  out.stages = schedule.stages.size();
  for (const Stage& s : schedule.stages) {
    out.weights += as(s.weights * s.chips);
    out.kv += as(s.kv * s.chips);
    out.state += as(s.state * s.chips);
    out.activations += as(s.activations * s.chips);
  }
  out.capacity = as(out.chips) * chip.sram_bytes;
  out.latency_s = as(schedule.cycles) / chip.clock_hz;
  // A user's next token waits for the last one; a stage takes the next user's token when it is done with this one's.
  const auto slots = std::max<uint64_t>(schedule.cycles / std::max<uint64_t>(schedule.interval, 1), 1);
  out.in_flight = std::min(work.users, slots);
  out.total_tokens_per_s = as(out.in_flight) / out.latency_s;
  out.user_tokens_per_s = out.total_tokens_per_s / as(work.users);
  for (const Slot& slot : schedule.slots) {
    const double share = as(schedule.stages[slot.stage].chips) / as(out.chips);
    out.utilisation[static_cast<int>(slot.unit)] += share * as(slot.busy) / as(schedule.cycles) * as(out.in_flight);
  }
  out.roofline_s = roofline_seconds(work, chip, as(out.chips));
  add_parts(schedule, chip, out);
  add_slices(schedule, SliceMap(chip), out);
  add_energy(work, chip, out);
  add_published(work, chip, out);
  return out;
}

std::vector<SliceUse> slice_use(const Schedule& schedule, const SliceMap& map, uint32_t stage) {
  std::vector<SliceUse> out(map.slices);
  const Stage& s = schedule.stages[stage];
  for (SliceUse& slice : out) slice = {s.weights / map.slices, s.kv / map.slices, s.state / map.slices};
  for (size_t i = 0; i < map.strips.size(); ++i) {
    for (uint32_t k = 0; k < map.strips[i].slices; ++k) out[map.strips[i].slice + k].activations = s.strip_bytes[i] / map.strips[i].slices;
  }
  for (const Slot& slot : schedule.slots) {
    for (const Access& a : slot.accesses) {
      for (uint32_t k = 0; k < a.strip.slices && a.stage == stage; ++k) {
        SliceUse& slice = out[a.strip.slice + k];
        (a.write ? slice.written : slice.read) += a.until - a.from;
      }
    }
  }
  return out;
}

Report roofline_report(const Workload& work, const Chip& chip, uint64_t chips) {
  Report out = begin(work, chip);
  out.weights = as(work.weight_bytes());
  out.kv = as(work.kv_bytes());
  out.state = as(work.state_bytes());
  const auto fewest = static_cast<uint64_t>(std::ceil((out.weights + out.kv + out.state) / chip.sram_bytes));
  out.chips = chips ? chips : std::max<uint64_t>(fewest, 1);
  out.stages = 1;
  out.capacity = as(out.chips) * chip.sram_bytes;
  out.roofline_s = roofline_seconds(work, chip, as(out.chips));
  for (const Work& op : work.ops) {
    const double bytes = as(op.read_bytes + op.state_traffic) / (chip.feed_bytes_per_s * as(out.chips));
    const double operations = 2 * as(op.macs) / (chip.ops_per_s(work.bits) * as(out.chips));
    out.latency_s += std::max(bytes, operations) + chip.fill_cycles / chip.clock_hz;
  }
  out.in_flight = 1;  // batching is not modelled: one token at a time
  out.total_tokens_per_s = 1 / out.latency_s;
  out.user_tokens_per_s = out.total_tokens_per_s / as(work.users);
  add_energy(work, chip, out);
  add_published(work, chip, out);
  return out;
}

uint64_t longest_context(uint64_t limit, const std::function<bool(uint64_t)>& fits) {
  constexpr uint64_t kStep = 1024;
  uint64_t best = 0, none = limit / kStep + 1;  // in steps: fits, does not
  for (uint64_t next = 1; next < none; next = best == 0 ? 1 : std::min(2 * best, none - 1)) {
    if (next == best) break;
    if (!fits(next * kStep)) {
      none = next;
      break;
    }
    best = next;
  }
  while (best + 1 < none) {
    const uint64_t middle = (best + none) / 2;
    (fits(middle * kStep) ? best : none) = middle;
  }
  return best * kStep;
}

}  // namespace sluice::lpu
