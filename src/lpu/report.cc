#include "lpu/report.h"

#include <algorithm>
#include <cmath>

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

Report begin(const Workload& work, const Chip& chip) {
  Report out{.chip = chip.name, .model = work.name};
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
  add_energy(work, chip, out);
  add_published(work, chip, out);
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
