#include "lpu/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "base/check.h"
#include "lpu/verify.h"

namespace sluice::lpu {
namespace {

constexpr uint64_t kActivationBytes = 4;      // in SRAM
constexpr uint64_t kPartialBytes = 4;         // a partial sum
constexpr int kGrowRounds = 16;

uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
uint64_t cycles_of(double x) { return static_cast<uint64_t>(std::ceil(x - 1e-9)); }

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

class Scheduler {
 public:
  Scheduler(const Workload& work, const Chip& chip, const Latencies& latencies, const Cut& cut, const std::vector<uint64_t>& widths)
      : work_(work), chip_(chip), latencies_(latencies) {
    out_.stages.resize(widths.size());
    for (size_t s = 0; s < widths.size(); ++s) out_.stages[s].chips = widths[s];
    for (size_t l = cut.stage_of_layer.size(); l-- > 0;) {
      out_.stages[cut.stage_of_layer[l]].first_layer = static_cast<uint32_t>(l);
      ++out_.stages[cut.stage_of_layer[l]].layers;
    }
    unit_free_.resize(widths.size() * kUnitCount);
    holes_.resize(widths.size());
    copies_.resize(work.values.size());
    for (const Work& op : work.ops) out_.stage_of_op.push_back(cut.stage_of_layer[op.layer]);
  }

  Schedule run() {
    place_resident();
    find_last_uses();
    for (uint32_t i = 0; i < work_.ops.size(); ++i) {
      lower(i);
      release(i);
    }
    for (const Slot& slot : out_.slots) out_.cycles = std::max(out_.cycles, slot.ready);
    for (Placed& p : out_.placed) {
      if (p.until == 0) p.until = out_.cycles;
    }
    count_occupied();
    return std::move(out_);
  }

 private:
  uint64_t chips(uint32_t stage) const { return out_.stages[stage].chips; }

  void place_resident() {
    for (size_t i = 0; i < work_.ops.size(); ++i) {
      const Work& op = work_.ops[i];
      Stage& stage = out_.stages[out_.stage_of_op[i]];
      const auto share = [&](uint64_t bytes) { return resident_share(work_, op, bytes, stage.chips); };
      const Region region{stage.used(), share(op.weight_bytes) + share(op.kv_bytes) + share(op.state_bytes)};
      stage.weights += share(op.weight_bytes);
      stage.kv += share(op.kv_bytes);
      stage.state += share(op.state_bytes);
      out_.resident.push_back(region);
    }
  }

  void find_last_uses() {
    last_use_.assign(work_.values.size(), 0);
    for (uint32_t i = 0; i < work_.ops.size(); ++i) {
      for (const uint32_t v : work_.ops[i].reads) last_use_[v] = i;
      for (const uint32_t v : work_.ops[i].writes) last_use_[v] = std::max(last_use_[v], i);
    }
  }

  // A place for a value; `floor`: the first cycle in which it may be written.
  uint32_t place(uint32_t value, uint32_t stage_id, bool whole, uint64_t& floor) {
    Stage& stage = out_.stages[stage_id];
    const uint64_t elements = whole ? work_.values[value].elements() : work_.values[value].share(stage.chips);
    const uint64_t bytes = ceil_div(elements * kActivationBytes, kWordBytes) * kWordBytes;
    Placed p{.value = value, .stage = stage_id, .whole = whole || stage.chips == 1, .at = {0, bytes}};
    auto& holes = holes_[stage_id];
    if (const auto it = holes.find(bytes); bytes > 0 && it != holes.end()) {
      p.at.offset = it->second.offset;
      floor = std::max(floor, it->second.free_at);
      holes.erase(it);
    } else {
      p.at.offset = stage.used();
      stage.activations += bytes;
    }
    out_.placed.push_back(p);
    read_end_.push_back(0);
    const auto id = static_cast<uint32_t>(out_.placed.size() - 1);
    copies_[value].push_back(id);
    return id;
  }

  void release(uint32_t op) {
    const auto free_value = [&](uint32_t v) {
      if (last_use_[v] != op) return;
      for (const uint32_t id : copies_[v]) {
        Placed& p = out_.placed[id];
        if (p.until != 0 || op + 1 == work_.ops.size()) continue;
        p.until = std::max(p.ready, read_end_[id]);
        if (p.at.bytes > 0) holes_[p.stage].insert({p.at.bytes, {p.at.offset, p.until}});
      }
    };
    for (const uint32_t v : work_.ops[op].reads) free_value(v);
    for (const uint32_t v : work_.ops[op].writes) free_value(v);
  }

  // Starts as soon as its inputs, its unit and its output's place allow.
  Slot& emit(Slot slot, uint64_t floor, uint64_t latency) {
    uint64_t& unit = unit_free_[slot.stage * kUnitCount + static_cast<uint64_t>(slot.unit)];
    slot.start = std::max(unit, floor);
    for (const uint32_t id : slot.reads) slot.start = std::max(slot.start, out_.placed[id].ready);
    slot.busy = std::max<uint64_t>(slot.busy, 1);
    const uint64_t flight = slot.unit == Unit::kLink ? latency : 0;
    if (slot.peer != kNone) {
      uint64_t& receiver = unit_free_[slot.peer * kUnitCount + static_cast<uint64_t>(Unit::kLink)];
      slot.start = std::max(slot.start, receiver - std::min(receiver, flight));
      receiver = slot.start + flight + slot.busy;
    }
    slot.ready = slot.start + slot.busy + latency;
    unit = slot.start + slot.busy;
    for (const uint32_t id : slot.reads) read_end_[id] = std::max(read_end_[id], slot.start + slot.busy);
    if (slot.writes != kNone) {
      out_.placed[slot.writes].from = slot.start + flight;
      out_.placed[slot.writes].ready = slot.ready;
    }
    const auto streams = static_cast<uint64_t>(chip_.streams);
    slot.streams = slot.unit == Unit::kMatrix ? streams / 2 : streams / 4;
    out_.slots.push_back(std::move(slot));
    return out_.slots.back();
  }

  uint64_t compute_latency() const { return static_cast<uint64_t>(chip_.fill_cycles) + latencies_.chain; }

  uint32_t find(uint32_t value, uint32_t stage, bool whole) const {
    uint32_t found = kNone;
    for (const uint32_t id : copies_[value]) {
      const Placed& p = out_.placed[id];
      if (p.stage == stage && (p.whole || !whole) && (found == kNone || p.whole == whole)) found = id;
    }
    return found;
  }

  uint32_t move(uint32_t op, uint32_t from, uint32_t to_stage, bool whole, uint64_t busy, uint64_t bytes, uint64_t hops) {
    const Placed source = out_.placed[from];
    uint64_t floor = 0;
    const uint32_t id = place(source.value, to_stage, whole, floor);
    Slot slot{.op = op, .stage = source.stage, .unit = Unit::kLink, .busy = busy, .bytes = bytes, .hops = hops, .reads = {from}, .writes = id};
    if (to_stage != source.stage) slot.peer = to_stage;
    emit(std::move(slot), floor, hops * chip_.hop_cycles());
    return id;
  }

  // The value in this stage, moved there and gathered where needed.
  uint32_t bring(uint32_t op, uint32_t value, uint32_t stage, bool whole) {
    if (const uint32_t id = find(value, stage, whole); id != kNone) return id;
    uint32_t here = find(value, stage, false);
    if (here == kNone) {
      if (copies_[value].empty()) return kNone;  // the step's input
      const uint32_t from = copies_[value].back();
      const uint64_t bytes = work_.values[value].share(std::min(chips(out_.placed[from].stage), chips(stage))) * work_.wire_bytes();
      here = move(op, from, stage, false, exchange_cycles(chip_, bytes, 2), bytes, 1);
    }
    if (!whole || out_.placed[here].whole) return here;
    const uint64_t share = work_.values[value].share(chips(stage)) * work_.wire_bytes();
    return move(op, here, stage, true, exchange_cycles(chip_, share, chips(stage)), share, chip_.hops(chips(stage)));
  }

  static bool gathered(const Work& op, uint32_t value) { return std::find(op.gathers.begin(), op.gathers.end(), value) != op.gathers.end(); }

  std::vector<uint32_t> bring_all(uint32_t i, bool whole) {
    std::vector<uint32_t> ids;
    const Work& op = work_.ops[i];
    for (const uint32_t v : op.reads) {
      const uint32_t id = bring(i, v, out_.stage_of_op[i], whole || gathered(op, v));
      if (id != kNone) ids.push_back(id);
    }
    return ids;
  }

  void lower(uint32_t i) {
    switch (work_.ops[i].kind) {
      case Kind::kMatmul: return lower_matmul(i);
      case Kind::kAttention: return lower_attention(i);
      case Kind::kLocal: return lower_local(i);
    }
  }

  // The busiest chip's part of an op.
  double local_share(const Work& op, uint64_t w) const {
    if (op.whole || op.one_row) return 1;
    if (op.writes.empty() || work_.values[op.writes[0]].width == 0) return 1 / static_cast<double>(w);
    const ValueShape& out = work_.values[op.writes[0]];
    return static_cast<double>(out.share_columns(w)) / static_cast<double>(out.width);
  }

  void lower_local(uint32_t i) {
    const Work& op = work_.ops[i];
    const uint32_t stage = out_.stage_of_op[i];
    std::vector<uint32_t> reads = bring_all(i, false);
    const uint64_t w = chips(stage);
    const double share = local_share(op, w);
    const double alus = static_cast<double>(op.vector_ops) * share / chip_.vector_alus;
    const double state = static_cast<double>(op.state_traffic) * share / (chip_.streams / 4 * chip_.vector_bytes);
    for (size_t o = 0; o < std::max<size_t>(op.writes.size(), 1); ++o) {
      uint64_t floor = 0;
      uint32_t out = kNone;
      if (!op.writes.empty()) out = op.one_row ? place_result(op.writes[o], stage, true, floor) : place(op.writes[o], stage, op.whole, floor);
      Slot slot{.op = i, .stage = stage, .unit = Unit::kVector, .busy = o ? 1 : cycles_of(std::max(alus, state)), .reads = reads, .writes = out};
      emit(std::move(slot), floor, compute_latency());
      if (op.one_row && w > 1) send_row(i, out);
    }
  }

  // The chip with the token's row sends it to all others: a static slot, whichever chip it is.
  void send_row(uint32_t i, uint32_t id) {
    const uint32_t stage = out_.stage_of_op[i];
    const uint64_t bytes = work_.values[out_.placed[id].value].elements() * work_.wire_bytes();
    replace(id, move(i, id, stage, true, exchange_cycles(chip_, bytes, chips(stage)), bytes, chip_.hops(chips(stage))));
  }

  // Whole input: outputs are split over the chips. Split input: gather it first, or split the sums and exchange partial results, whichever moves less.
  void lower_matmul(uint32_t i) {
    const Work& op = work_.ops[i];
    const uint32_t stage = out_.stage_of_op[i];
    const uint64_t w = chips(stage);
    const uint32_t x = op.reads[0];
    const bool has_whole = find(x, stage, true) != kNone;
    const ValueShape& y = work_.values[op.writes[0]];
    const uint64_t gather = exchange_cycles(chip_, work_.values[x].share(w) * work_.wire_bytes(), w);
    const uint64_t reduce = exchange_cycles(chip_, y.share(w) * kPartialBytes, w);
    const bool by_sums = !work_.exact && !has_whole && w > 1 && find(x, stage, false) != kNone && reduce < gather;
    std::vector<uint32_t> reads;
    for (size_t r = 0; r < op.reads.size(); ++r) {
      const uint32_t id = bring(i, op.reads[r], stage, (r == 0 && !by_sums) || gathered(op, op.reads[r]));
      if (id != kNone) reads.push_back(id);
    }
    const uint64_t n = by_sums ? op.n : y.share_columns(w), k = by_sums ? ceil_div(op.k, w) : op.k;
    const uint64_t busy = matmul_cycles(chip_, latencies_, work_.bits, op.m, k, n, op.uses);
    const uint64_t fed = by_sums ? ceil_div(op.read_bytes, w) : ceil_div(op.read_bytes * n, y.width);
    uint64_t floor = 0;
    const uint32_t out = place_result(op.writes[0], stage, by_sums, floor);
    emit({.op = i, .stage = stage, .unit = Unit::kMatrix, .busy = busy, .bytes = fed, .reads = std::move(reads), .writes = out}, floor, compute_latency());
    if (by_sums) add_partials(i, out);
  }

  // Partial results are of every column on every chip, and nobody's input before they were exchanged.
  uint32_t place_result(uint32_t value, uint32_t stage, bool partial, uint64_t& floor) {
    const uint32_t id = place(value, stage, partial, floor);
    out_.placed[id].whole = chips(stage) == 1;
    out_.placed[id].partial = partial && chips(stage) > 1;
    return id;
  }

  // Every chip sends its partial sums of the others' shares: a share of the result replaces what `id` held.
  void add_partials(uint32_t i, uint32_t id) {
    const uint32_t stage = out_.stage_of_op[i];
    const uint64_t share = work_.values[out_.placed[id].value].share(chips(stage)) * kPartialBytes;
    replace(id, move(i, id, stage, false, exchange_cycles(chip_, share, chips(stage)), share, chip_.hops(chips(stage))));
  }

  // `id` was the only copy and is read no more.
  void replace(uint32_t id, uint32_t reduced) {
    auto& copies = copies_[out_.placed[reduced].value];
    copies.erase(std::find(copies.begin(), copies.end(), id));
    Placed& partial = out_.placed[id];
    partial.until = std::max(partial.ready, read_end_[id]);
    holes_[partial.stage].insert({partial.at.bytes, {partial.at.offset, partial.until}});
  }

  // Scores, softmax, weighted sum. Up to one chip a KV head heads are split; beyond, positions are, and partial results are exchanged.
  void lower_attention(uint32_t i) {
    const Work& op = work_.ops[i];
    const uint32_t stage = out_.stage_of_op[i];
    const uint64_t w = chips(stage);
    const bool by_position = w > op.count && !work_.exact;
    std::vector<uint32_t> reads = bring_all(i, false);
    if (by_position) {
      reads = {bring(i, op.reads[0], stage, true)};
      for (size_t r = 1; r < op.reads.size(); ++r) {
        if (const uint32_t id = find(op.reads[r], stage, false); id != kNone) reads.push_back(id);
      }
    }
    const uint64_t heads = by_position ? 1 : ceil_div(op.count, w);
    const uint64_t positions = std::max<uint64_t>(by_position ? ceil_div(op.context * op.count, w) : op.context, 1);
    const uint64_t parts = std::min(w, by_position ? w : op.count);  // chips at work
    const uint64_t half = ceil_div(op.read_bytes, 2 * parts);
    uint64_t floor = 0;
    const uint32_t out = place_result(op.writes[0], stage, by_position, floor);
    const int bits = 8 * static_cast<int>(work_.cache_bytes());
    const uint64_t scores = matmul_cycles(chip_, latencies_, bits, op.m, op.k, positions, heads);
    const uint64_t softmax = cycles_of(static_cast<double>(op.vector_ops) / static_cast<double>(parts) / chip_.vector_alus);
    const uint64_t sums = matmul_cycles(chip_, latencies_, bits, op.m, positions, op.n, heads);
    const uint64_t at = emit({.op = i, .stage = stage, .unit = Unit::kMatrix, .busy = scores, .bytes = half, .reads = reads}, 0, compute_latency()).ready;
    const uint64_t next = emit({.op = i, .stage = stage, .unit = Unit::kVector, .busy = softmax}, at, compute_latency()).ready;
    emit({.op = i, .stage = stage, .unit = Unit::kMatrix, .busy = sums, .bytes = half, .reads = std::move(reads), .writes = out}, std::max(next, floor),
         compute_latency());
    if (by_position) add_partials(i, out);
  }

  void count_occupied() {
    const std::vector<std::vector<Span>> spans = visits(out_);
    uint64_t interval = 1;
    for (size_t s = 0; s < spans.size(); ++s) {
      for (const Span& span : spans[s]) out_.stages[s].occupied += span.until - span.from;
      interval = std::max(interval, out_.stages[s].occupied);
    }
    for (uint64_t next = 0; next != interval;) {
      next = interval;
      for (const std::vector<Span>& of_stage : spans) interval = std::max(interval, without_clash(of_stage, interval));
    }
    out_.interval = interval;
  }

  // A stage that a token visits twice (a head that shares the table): the next token's first visit may not meet this one's second.
  static uint64_t without_clash(const std::vector<Span>& spans, uint64_t interval) {
    for (size_t i = 0; i < spans.size(); ++i) {
      for (size_t j = i + 1; j < spans.size(); ++j) {
        const uint64_t shifts = (spans[j].from - spans[i].until) / interval + 1;
        if (spans[i].from + shifts * interval < spans[j].until) interval = ceil_div(spans[j].until - spans[i].from, shifts);
      }
    }
    return interval;
  }

  struct Hole {
    uint64_t offset, free_at;
  };
  const Workload& work_;
  const Chip& chip_;
  const Latencies& latencies_;
  Schedule out_;
  std::vector<uint64_t> unit_free_;
  std::vector<uint64_t> read_end_;               // of each placed value
  std::vector<std::multimap<uint64_t, Hole>> holes_;  // by size, of each stage
  std::vector<std::vector<uint32_t>> copies_;    // of each value
  std::vector<uint32_t> last_use_;
};

uint64_t total_of(const std::vector<uint64_t>& v) {
  uint64_t total = 0;
  for (const uint64_t x : v) total += x;
  return total;
}

// Fewest chips a stage for these cuts: grown until what was scheduled fits.
bool fit_widths(const Workload& work, const Chip& chip, const Latencies& latencies, const Cut& cut, std::vector<uint64_t>& widths, Schedule& out) {
  for (int round = 0; round < kGrowRounds; ++round) {
    out = Scheduler(work, chip, latencies, cut, widths).run();
    bool fits = true;
    for (size_t s = 0; s < widths.size(); ++s) {
      if (static_cast<double>(out.stages[s].used()) <= chip.sram_bytes) continue;
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
  if (work.exact && (op.whole || op.replicated)) {  // else a norm's weights are counted once: they can be part of the matrix that follows
    share = bytes;
  } else if (op.one_row) {
    share = ceil_div(bytes, op.n) * ceil_div(op.n, chips);
  } else if (work.exact && !op.writes.empty() && work.values[op.writes[0]].width > 0) {
    share = ceil_div(bytes * work.values[op.writes[0]].share_columns(chips), work.values[op.writes[0]].width);
  }
  return ceil_div(share, kWordBytes) * kWordBytes;
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
      found = Scheduler(work, chip, latencies, cut, spread(cut, widths, options.chips, options.split_max)).run();
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
