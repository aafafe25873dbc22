#include "lpu/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "lpu/scheduler.h"
#include "lpu/verify.h"

namespace sluice::lpu {
namespace {

constexpr int kGrowRounds = 16;

struct Cut {
  std::vector<uint32_t> stage_of_layer;
  std::vector<uint64_t> bytes;  // of each stage, all its chips
};

Cut cut_layers(const std::vector<uint64_t>& layer_bytes, uint64_t stages) {
  double total = 0, before = 0;
  for (const uint64_t b : layer_bytes) total += static_cast<double>(b);
  Cut cut;
  uint64_t last = UINT64_MAX;
  for (size_t l = 0; l < layer_bytes.size(); ++l) {
    const auto bytes = static_cast<double>(layer_bytes[l]);
    const double middle = total > 0 ? (before + bytes / 2) / total : (static_cast<double>(l) + 0.5) / static_cast<double>(layer_bytes.size());
    const auto stage = std::min(stages - 1, static_cast<uint64_t>(middle * static_cast<double>(stages)));
    if (stage != last) cut.bytes.push_back(0);
    last = stage;
    cut.stage_of_layer.push_back(static_cast<uint32_t>(cut.bytes.size() - 1));
    cut.bytes.back() += layer_bytes[l];
    before += bytes;
  }
  return cut;
}

uint64_t resident_bytes(const Work& op) { return op.weight_bytes + op.kv_bytes + op.state_bytes; }

uint64_t total_of(const std::vector<uint64_t>& v) {
  uint64_t total = 0;
  for (const uint64_t x : v) total += x;
  return total;
}

// Fewest chips a stage for these cuts: grown until what was scheduled fits.
bool fit_widths(const Workload& work, const Chip& chip, const Latencies& latencies, const Cut& cut, std::vector<uint64_t>& widths, Schedule& out) {
  const uint64_t lines = SliceMap(chip).lines;
  for (int round = 0; round < kGrowRounds; ++round) {
    out = schedule_on(work, chip, latencies, cut.stage_of_layer, widths);
    bool fits = true;
    for (size_t s = 0; s < widths.size(); ++s) {
      if (out.stages[s].lines <= lines) continue;
      ++widths[s];
      fits = false;
    }
    if (fits) return true;
  }
  return false;
}

std::vector<uint64_t> spread(const Cut& cut, std::vector<uint64_t> widths, uint64_t chips, uint64_t split_max) {
  const uint64_t extra = chips - total_of(widths);
  const auto bytes = static_cast<double>(std::max<uint64_t>(total_of(cut.bytes), 1));
  uint64_t left = extra;
  for (size_t s = 0; s < widths.size(); ++s) {
    const auto more = static_cast<uint64_t>(static_cast<double>(extra) * static_cast<double>(cut.bytes[s]) / bytes);
    widths[s] += std::min(more, left);
    left -= std::min(more, left);
  }
  for (size_t s = 0; s < widths.size() && left > 0; ++s, --left) ++widths[s];
  for (uint64_t& w : widths) w = split_max ? std::min(w, split_max) : w;
  return widths;
}

std::set<uint64_t> stage_counts(uint64_t layers, const ScheduleOptions& options) {
  if (options.stages) return {std::min(options.stages, layers)};
  std::set<uint64_t> counts = {layers};
  for (const uint64_t s : {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 72, 80}) {
    if (s <= layers) counts.insert(s);
  }
  return counts;
}

}  // namespace

uint64_t Schedule::chips() const {
  uint64_t total = 0;
  for (const Stage& s : stages) total += s.chips;
  return total;
}

std::vector<std::vector<Span>> visits(const Schedule& schedule) {
  std::vector<std::vector<Span>> all(schedule.stages.size());
  for (const Slot& slot : schedule.slots) {
    all[slot.stage].push_back({slot.start, slot.start + slot.busy});
    if (slot.peer != kNone) all[slot.peer].push_back({slot.ready - slot.busy, slot.ready});
    for (const Access& a : slot.accesses) all[a.stage].push_back({a.from, a.until});
  }
  for (const Placed& p : schedule.placed) {
    if (p.at.bytes > 0) all[p.stage].push_back({p.from, p.until});
  }
  for (std::vector<Span>& spans : all) {
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.from < b.from; });
    size_t last = 0;
    for (size_t i = 1; i < spans.size(); ++i) {
      if (spans[i].from <= spans[last].until) {
        spans[last].until = std::max(spans[last].until, spans[i].until);
      } else {
        spans[++last] = spans[i];
      }
    }
    if (!spans.empty()) spans.resize(last + 1);
  }
  return all;
}

uint64_t resident_share(const Workload& work, const Work& op, uint64_t bytes, uint64_t chips) {
  uint64_t share = ceil_div(bytes, chips);
  const ValueShape* out = op.writes.empty() || work.values[op.writes[0]].width == 0 ? nullptr : &work.values[op.writes[0]];
  if (op.replicated || (work.exact && op.whole)) {  // else a norm's weights are counted once: they can be part of the matrix that follows
    share = bytes;
  } else if (op.one_row) {
    share = ceil_div(bytes, op.n) * op.table_rows().share_columns(chips);
  } else if (op.kind == Kind::kAttention && !out->aligned(chips)) {
    share = ceil_div(bytes, std::max<uint64_t>(op.context, 1)) * ceil_div(op.context, chips);
  } else if (out != nullptr && !op.whole && (work.exact || (out->granule > 1 && out->aligned(chips)))) {
    share = ceil_div(bytes * out->share_columns(chips), out->width);
  }
  return ceil_div(share, kWordBytes) * kWordBytes;
}

uint64_t column_bytes(const Workload& work, const Work& op, uint64_t chips) {
  if (work.exact || chips == 1 || op.kind != Kind::kMatmul) return 0;
  const uint64_t matrix = op.weight_bytes / op.count;
  return ceil_div(std::max(matrix / op.n, matrix / op.k), kWordBytes) * kWordBytes;
}

uint64_t matmul_cycles(const Chip& chip, const Latencies& latencies, int bits, uint64_t m, uint64_t k, uint64_t n, uint64_t count) {
  const double feed = chip.feed_bytes_per_cycle();
  const double wide = static_cast<double>(bits) / 8;
  const auto one_way = [&](uint64_t rows, uint64_t standing) {  // `standing` vectors of k stand in the unit, `rows` stream through
    const double install = static_cast<double>(count * k * standing) * wide / feed;
    const double tile_k = chip.tile_k(bits);
    if (tile_k == 0) {  // no tiles known: what enters the unit, and the operations
      const double streamed = static_cast<double>(count * k * rows) * wide / feed;
      return std::max({install, streamed, static_cast<double>(count * rows * k * standing) / (chip.ops_per_s(bits) / 2 / chip.clock_hz)});
    }
    const double tiles = static_cast<double>(count) * std::ceil(static_cast<double>(k) / tile_k) * std::ceil(static_cast<double>(standing) / chip.tile_n);
    const double rounds = std::ceil(tiles / chip.planes(bits));
    const double first = std::min(install, chip.planes(bits) * tile_k * chip.tile_n * wide / feed);
    return first + std::max(install - first, rounds * static_cast<double>(rows + latencies.tile_overhead));
  };
  const double stationary_weights = one_way(m, n);
  return cycles_of(m > 1 ? std::min(stationary_weights, one_way(n, m)) : stationary_weights);
}

uint64_t exchange_cycles(const Chip& chip, uint64_t bytes, uint64_t chips) {
  if (chips <= 1) return 0;
  const uint64_t vectors = ceil_div(bytes, static_cast<uint64_t>(chip.vector_bytes)) * (chips - 1) * chip.hops(chips);  // a hop is a link taken
  return cycles_of(static_cast<double>(ceil_div(vectors, static_cast<uint64_t>(chip.links))) * chip.vector_cycles());
}

Result<Schedule> make_schedule(const Workload& work, const Chip& chip, const Latencies& latencies, const ScheduleOptions& options) {
  if (chip.roofline) return Error{fmt::format("{} is a roofline file: it has no schedule", chip.name)};
  if (work.ops.empty()) return Error{"the program has no ops"};
  std::vector<uint64_t> layer_bytes(work.layers);
  for (const Work& op : work.ops) layer_bytes[op.layer] += resident_bytes(op);
  Schedule best;
  uint64_t needed = UINT64_MAX;
  for (const uint64_t count : stage_counts(work.layers, options)) {
    const Cut cut = cut_layers(layer_bytes, count);
    std::vector<uint64_t> widths;
    for (const uint64_t b : cut.bytes) widths.push_back(std::max<uint64_t>(1, cycles_of(static_cast<double>(b) / chip.sram_bytes)));
    if (options.split_max && *std::max_element(widths.begin(), widths.end()) > options.split_max) continue;
    Schedule found;
    if (!fit_widths(work, chip, latencies, cut, widths, found)) continue;
    needed = std::min(needed, total_of(widths));
    if (options.chips) {
      if (total_of(widths) > options.chips) continue;
      found = schedule_on(work, chip, latencies, cut.stage_of_layer, spread(cut, widths, options.chips, options.split_max));
    }
    const bool fewer = !options.chips && found.chips() < best.chips();
    const bool same = options.chips || found.chips() == best.chips();
    if (best.slots.empty() || fewer || (same && found.cycles < best.cycles)) best = std::move(found);
  }
  if (best.slots.empty()) {
    if (needed == UINT64_MAX && options.split_max == 0) return Error{"one layer does not fit, however many chips share it: its heads cannot be cut further"};
    if (needed == UINT64_MAX) return Error{fmt::format("{} chips a layer at most: one layer does not fit into so few", options.split_max)};
    return Error{fmt::format("{} chips of {} hold too little: {} do", options.chips, chip.name, needed)};
  }
  if (options.check) {
    const Status verified = verify(best, work, chip);
    if (!verified.ok()) return Error{fmt::format("internal error: {}", verified.error().message)};
  }
  return best;
}

}  // namespace sluice::lpu
