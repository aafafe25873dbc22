#include "lpu/scheduler.h"

#include <algorithm>
#include <map>

#include "base/check.h"

namespace sluice::lpu {
namespace {

constexpr uint64_t kPartialBytes = 4;            // a partial sum
constexpr uint64_t kSoftmaxParts = 2;            // beside a head's partial sum: the largest score and the sum of exponentials
constexpr uint64_t kLinesOfTooSmall = 1ull << 32;  // of a chip that does not even hold its KV: what is placed there is thrown away

struct Hole {
  uint64_t bytes, free_at;
};

class Scheduler {
 public:
  Scheduler(const Workload& work, const Chip& chip, const Latencies& latencies, const std::vector<uint32_t>& stage_of_layer,
            const std::vector<uint64_t>& widths)
      : work_(work), chip_(chip), latencies_(latencies), map_(chip), ports_(widths.size()) {
    out_.stages.resize(widths.size());
    for (size_t s = 0; s < widths.size(); ++s) {
      out_.stages[s].chips = widths[s];
      out_.stages[s].strip_bytes.resize(map_.strips.size());
    }
    for (size_t l = stage_of_layer.size(); l-- > 0;) {
      out_.stages[stage_of_layer[l]].first_layer = static_cast<uint32_t>(l);
      ++out_.stages[stage_of_layer[l]].layers;
    }
    unit_free_.resize(widths.size() * kUnitCount);
    holes_.resize(widths.size() * map_.strips.size());
    copies_.resize(work.values.size());
    for (const Work& op : work.ops) out_.stage_of_op.push_back(stage_of_layer[op.layer]);
  }

  Schedule run() {
    place_kept();
    find_last_uses();
    for (uint32_t i = 0; i < work_.ops.size(); ++i) {
      lower(i);
      release(i);
    }
    for (const Slot& slot : out_.slots) out_.cycles = std::max(out_.cycles, slot.ready);
    for (Placed& p : out_.placed) {
      if (p.until == 0) p.until = out_.cycles;
    }
    for (Stage& stage : out_.stages) count_lines(stage);
    count_occupied();
    return std::move(out_);
  }

 private:
  uint64_t chips(uint32_t stage) const { return out_.stages[stage].chips; }
  uint64_t kept_lines(const Stage& stage) const { return ceil_div(stage.kv + stage.state, kWordBytes * map_.slices); }

  // KV and state at the top of the slices, in the order of ops. Weights grow from the bottom as ops are lowered.
  void place_kept() {
    out_.resident.resize(work_.ops.size());
    const auto share = [&](size_t i, uint64_t bytes) { return resident_share(work_, work_.ops[i], bytes, chips(out_.stage_of_op[i])); };
    for (size_t i = 0; i < work_.ops.size(); ++i) {
      Stage& stage = out_.stages[out_.stage_of_op[i]];
      stage.kv += share(i, work_.ops[i].kv_bytes);
      stage.state += share(i, work_.ops[i].state_bytes);
      stage.weights = std::max(stage.weights, column_bytes(work_, work_.ops[i], stage.chips));
    }
    std::vector<uint64_t> next;
    for (const Stage& stage : out_.stages) {
      const uint64_t kept = kept_lines(stage);
      tops_.push_back((kept < map_.lines ? map_.lines : kLinesOfTooSmall) - kept);
      next.push_back(tops_.back() * kWordBytes * map_.slices);
    }
    for (size_t i = 0; i < work_.ops.size(); ++i) {
      uint64_t& at = next[out_.stage_of_op[i]];
      const auto place = [&](uint64_t bytes) {
        at += bytes;
        return Region{at - bytes, bytes, map_.all};
      };
      out_.resident[i].kv = place(share(i, work_.ops[i].kv_bytes));
      out_.resident[i].state = place(share(i, work_.ops[i].state_bytes));
      if (work_.ops[i].kind != Kind::kAttention) continue;
      for (const uint32_t v : work_.ops[i].reads) {
        if (work_.values[v].width == 0) kv_home_[v] = static_cast<uint32_t>(i);
      }
    }
  }

  void place_weights(uint32_t i, uint64_t share) {
    Stage& stage = out_.stages[out_.stage_of_op[i]];
    out_.resident[i].weights = {stage.weights, share, map_.all};
    stage.weights += share;
  }

  void count_lines(Stage& stage) const {
    uint64_t most = 0;
    for (size_t i = 0; i < map_.strips.size(); ++i) most = std::max(most, ceil_div(stage.strip_bytes[i], kWordBytes * map_.strips[i].slices));
    stage.lines = ceil_div(stage.weights, kWordBytes * map_.slices) + kept_lines(stage) + most;
  }

  void find_last_uses() {
    last_use_.assign(work_.values.size(), 0);
    for (uint32_t i = 0; i < work_.ops.size(); ++i) {
      for (const uint32_t v : work_.ops[i].reads) last_use_[v] = i;
      for (const uint32_t v : work_.ops[i].writes) last_use_[v] = std::max(last_use_[v], i);
    }
  }

  // Below KV and state, in the strip that has most room; a strip that the op reads is not written if there is another one.
  Region new_place(uint32_t stage_id, uint64_t bytes, const std::vector<uint32_t>& reads) {
    Stage& stage = out_.stages[stage_id];
    size_t best = 0;
    const auto rank = [&](size_t s) { return std::pair(read_by(reads, map_.strips[s]), stage.strip_bytes[s] / map_.strips[s].slices); };
    for (size_t s = 1; s < map_.strips.size(); ++s) best = rank(s) < rank(best) ? s : best;
    stage.strip_bytes[best] += bytes;
    stage.activations += bytes;
    const uint64_t top = tops_[stage_id] * kWordBytes * map_.strips[best].slices, below = std::min(top, stage.strip_bytes[best]);
    return {top - below, bytes, map_.strips[best]};
  }

  // The beginning of the smallest hole that is large enough, of strips that the op does not read first.
  bool use_hole(uint32_t stage, uint64_t bytes, const std::vector<uint32_t>& reads, Region& at, uint64_t& floor) {
    std::map<uint64_t, Hole>* strip = nullptr;
    std::map<uint64_t, Hole>::iterator best;
    std::pair<bool, uint64_t> best_rank;
    for (size_t s = 0; s < map_.strips.size(); ++s) {
      auto& holes = holes_[stage * map_.strips.size() + s];
      for (auto it = holes.begin(); it != holes.end(); ++it) {
        const std::pair rank(read_by(reads, map_.strips[s]), it->second.bytes);
        if (it->second.bytes < bytes || (strip != nullptr && best_rank <= rank)) continue;
        strip = &holes;
        best = it;
        best_rank = rank;
        at = {it->first, bytes, map_.strips[s]};
      }
    }
    if (strip == nullptr) return false;
    floor = std::max(floor, best->second.free_at);
    if (best->second.bytes > bytes) (*strip)[at.end()] = {best->second.bytes - bytes, best->second.free_at};
    strip->erase(best);
    return true;
  }

  bool read_by(const std::vector<uint32_t>& reads, const Strip& strip) const {
    return std::any_of(reads.begin(), reads.end(), [&](uint32_t id) { return out_.placed[id].at.strip == strip; });
  }

  // A place for a value that an op makes of `reads`; `floor`: the first cycle in which it may be written.
  uint32_t place(uint32_t value, uint32_t stage_id, bool whole, uint64_t element_bytes, const std::vector<uint32_t>& reads, uint64_t& floor) {
    const uint64_t elements = whole ? work_.values[value].elements() : work_.values[value].share(chips(stage_id));
    const uint64_t bytes = ceil_div(elements * element_bytes, kWordBytes) * kWordBytes;
    Placed p{.value = value, .stage = stage_id, .whole = whole || chips(stage_id) == 1};
    if (bytes > 0 && !use_hole(stage_id, bytes, reads, p.at, floor)) p.at = new_place(stage_id, bytes, reads);
    out_.placed.push_back(p);
    read_end_.push_back(0);
    const auto id = static_cast<uint32_t>(out_.placed.size() - 1);
    copies_[value].push_back(id);
    return id;
  }

  void free_place(uint32_t id) {
    Placed& p = out_.placed[id];
    p.until = std::max(p.ready, read_end_[id]);
    if (p.at.bytes == 0) return;
    const auto strip = std::find(map_.strips.begin(), map_.strips.end(), p.at.strip) - map_.strips.begin();
    auto& holes = holes_[p.stage * map_.strips.size() + static_cast<size_t>(strip)];
    Hole hole{p.at.bytes, p.until};
    uint64_t offset = p.at.offset;
    const auto join = [&](std::map<uint64_t, Hole>::iterator other) {
      hole = {hole.bytes + other->second.bytes, std::max(hole.free_at, other->second.free_at)};
      offset = std::min(offset, other->first);
      holes.erase(other);
    };
    if (const auto next = holes.find(p.at.end()); next != holes.end()) join(next);
    const auto after = holes.lower_bound(offset);
    if (after != holes.begin() && std::prev(after)->first + std::prev(after)->second.bytes == offset) join(std::prev(after));
    holes[offset] = hole;
  }

  void release(uint32_t op) {
    const auto free_value = [&](uint32_t v) {
      if (last_use_[v] != op || op + 1 == work_.ops.size()) return;
      for (const uint32_t id : copies_[v]) {
        if (out_.placed[id].until == 0) free_place(id);
      }
    };
    for (const uint32_t v : work_.ops[op].reads) free_value(v);
    for (const uint32_t v : work_.ops[op].writes) free_value(v);
  }

  // Starts as soon as its inputs, its unit, its output's place and its ports allow.
  Slot& emit(Slot slot, uint64_t floor, uint64_t latency) {
    uint64_t& unit = unit_free_[slot.stage * kUnitCount + static_cast<uint64_t>(slot.unit)];
    slot.start = std::max(unit, floor);
    for (const uint32_t id : slot.reads) slot.start = std::max(slot.start, out_.placed[id].ready);
    slot.busy = std::max<uint64_t>(slot.busy, 1);
    const uint64_t flight = slot.unit == Unit::kLink ? latency : 0;
    if (slot.peer != kNone) {
      const uint64_t receiver = unit_free_[slot.peer * kUnitCount + static_cast<uint64_t>(Unit::kLink)];
      slot.start = std::max(slot.start, receiver - std::min(receiver, flight));
    }
    slot.ready = slot.busy + latency;
    for (const Access& a : slot.accesses) slot.ready = std::max(slot.ready, a.until);
    if (slot.writes != kNone && out_.placed[slot.writes].at.bytes > 0) add_write(slot, out_.placed[slot.writes], flight);
    slot.start = ports_.earliest(slot.start, slot.accesses);
    slot.ready += slot.start;
    for (Access& a : slot.accesses) {
      a.from += slot.start;
      a.until += slot.start;
      ports_.take(a);
    }
    if (slot.peer != kNone) unit_free_[slot.peer * kUnitCount + static_cast<uint64_t>(Unit::kLink)] = slot.start + flight + slot.busy;
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

  // Results of a unit are written in one go before they are ready, after what else the slot writes there; what comes over links is written as it comes.
  void add_write(Slot& slot, const Placed& p, uint64_t flight) {
    Access access{.stage = p.stage, .strip = p.at.strip, .banks = map_.banks(p.at), .write = true};
    const uint64_t cycles = map_.cycles(p.at.strip, p.at.bytes);
    access.from = slot.unit == Unit::kLink ? flight : slot.ready - std::min(slot.ready, cycles);
    access.until = slot.unit == Unit::kLink ? flight + slot.busy : access.from + cycles;
    for (const Access& own : slot.accesses) {
      const uint64_t later = conflict(access, own) ? own.until - access.from : 0;
      access.from += later;
      access.until += later;
    }
    slot.ready = std::max(slot.ready, access.until);
    slot.accesses.push_back(access);
  }

  // Gives a slot of a unit the ports that it reads `reads` and what is kept through.
  void read_ports(Slot& slot, const std::vector<Region>& kept) {
    std::vector<Region> inputs;
    for (const uint32_t id : slot.reads) inputs.push_back(out_.placed[id].at);
    SlotAccess ports = reading(map_, slot.stage, inputs, kept, std::max<uint64_t>(slot.busy, 1), slot.unit == Unit::kMatrix);
    slot.busy = ports.busy;
    slot.accesses = std::move(ports.accesses);
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
    const uint32_t id = place(source.value, to_stage, whole, work_.wire_bytes(), {from}, floor);
    busy = std::max(busy, map_.cycles(source.at.strip, source.at.bytes));
    Slot slot{.op = op, .stage = source.stage, .unit = Unit::kLink, .busy = busy, .bytes = bytes, .hops = hops, .reads = {from}, .writes = id};
    if (source.at.bytes > 0) slot.accesses.push_back({source.stage, source.at.strip, map_.banks(source.at), false, 0, busy});
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

  // Heads that chips have parts of are computed whole on every chip.
  bool computed_whole(const Work& op, uint64_t w) const { return op.whole || (op.heads && !work_.values[op.reads[0]].aligned(w)); }

  // The busiest chip's part of an op.
  double local_share(const Work& op, uint64_t w) const {
    if (computed_whole(op, w) || op.one_row) return 1;
    const uint32_t like = !op.writes.empty() && work_.values[op.writes[0]].width > 0 ? op.writes[0] : op.reads[0];
    const ValueShape& shape = work_.values[like];
    return static_cast<double>(shape.share_columns(w)) / static_cast<double>(shape.width);
  }

  void lower_local(uint32_t i) {
    const Work& op = work_.ops[i];
    const uint32_t stage = out_.stage_of_op[i];
    const uint64_t w = chips(stage);
    const bool whole = computed_whole(op, w);
    const std::vector<uint32_t> reads = bring_all(i, whole);
    place_weights(i, resident_share(work_, op, op.weight_bytes, w));
    const double share = local_share(op, w);
    const double alus = static_cast<double>(op.vector_ops) * share / chip_.vector_alus;
    const double state = static_cast<double>(op.state_traffic) * share / (chip_.streams / 4 * chip_.vector_bytes);
    for (size_t o = 0; o < std::max<size_t>(op.writes.size(), 1); ++o) {
      uint64_t floor = 0;
      uint32_t out = kNone;
      if (!op.writes.empty() && op.one_row) out = place_result(op.writes[o], stage, true, reads, floor);
      if (!op.writes.empty() && !op.one_row) out = place(op.writes[o], stage, whole, work_.wire_bytes(), reads, floor);
      Slot slot{.op = i, .stage = stage, .unit = Unit::kVector, .busy = o ? 1 : cycles_of(std::max(alus, state)), .reads = reads, .writes = out};
      read_ports(slot, {out_.resident[i].weights, out_.resident[i].state});
      if (o == 0) write_kept(op, slot);
      emit(std::move(slot), floor, compute_latency());
      if (op.one_row && w > 1) send_row(i, out);
    }
  }

  // A state goes back where it was; keys and values to their position, which the token says: ports of all slices, for as long as one row takes.
  void write_kept(const Work& op, Slot& slot) {
    const auto home = op.writes.empty() ? kv_home_.end() : kv_home_.find(op.writes[0]);
    const uint64_t latency = compute_latency();
    if (const Region& state = out_.resident[slot.op].state; state.bytes > 0) {
      const uint64_t from = std::max(latency, slot.busy);
      slot.accesses.push_back({slot.stage, map_.all, map_.banks(state), true, from, from + slot.busy});
    }
    if (home == kv_home_.end()) return;
    uint64_t row = 0;
    for (const uint32_t v : op.reads) row += work_.values[v].share(chips(slot.stage)) * work_.cache_bytes();
    if (computed_whole(op, chips(slot.stage))) row = (work_.values[op.reads[0]].width + work_.values[op.reads[1]].width) * work_.cache_bytes();
    const uint64_t from = slot.busy + latency - std::min(latency, map_.cycles(map_.all, row));
    slot.accesses.push_back({slot.stage, map_.all, map_.banks(out_.resident[home->second].kv), true, from, from + map_.cycles(map_.all, row)});
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
    const bool by_sums = !work_.exact && op.home == kNone && !has_whole && w > 1 && find(x, stage, false) != kNone && reduce < gather;
    std::vector<uint32_t> reads;
    for (size_t r = 0; r < op.reads.size(); ++r) {
      const uint32_t id = bring(i, op.reads[r], stage, (r == 0 && !by_sums) || gathered(op, op.reads[r]));
      if (id != kNone) reads.push_back(id);
    }
    const uint64_t n = by_sums ? op.n : y.share_columns(w), k = by_sums ? std::min(op.k, work_.values[x].share_columns(w)) : op.k;
    const uint64_t fed = by_sums ? ceil_div(op.read_bytes * k, op.k) : ceil_div(op.read_bytes * n, y.width);
    place_weights(i, by_sums ? ceil_div(ceil_div(op.weight_bytes, w), kWordBytes) * kWordBytes : resident_share(work_, op, op.weight_bytes, w));
    uint64_t floor = 0;
    const uint32_t out = place_result(op.writes[0], stage, by_sums, reads, floor);
    Slot slot{.op = i, .stage = stage, .unit = Unit::kMatrix, .bytes = fed, .reads = std::move(reads), .writes = out};
    slot.busy = matmul_cycles(chip_, latencies_, work_.bits, op.m, k, n, op.uses);
    read_ports(slot, {out_.resident[op.home == kNone ? i : op.home].weights});
    emit(std::move(slot), floor, compute_latency());
    if (by_sums) add_partials(i, out, 0);
  }

  // Partial results are of every column on every chip, and nobody's input before they were exchanged.
  uint32_t place_result(uint32_t value, uint32_t stage, bool partial, const std::vector<uint32_t>& reads, uint64_t& floor) {
    const uint32_t id = place(value, stage, partial, partial ? kPartialBytes : work_.wire_bytes(), reads, floor);
    out_.placed[id].whole = chips(stage) == 1;
    out_.placed[id].partial = partial && chips(stage) > 1;
    return id;
  }

  // Every chip sends its partial sums of the others' shares, and `beside` numbers a chip: a share of the result replaces what `id` held.
  void add_partials(uint32_t i, uint32_t id, uint64_t beside) {
    const uint32_t stage = out_.stage_of_op[i];
    const uint64_t share = (work_.values[out_.placed[id].value].share(chips(stage)) + beside) * kPartialBytes;
    replace(id, move(i, id, stage, false, exchange_cycles(chip_, share, chips(stage)), share, chip_.hops(chips(stage))));
  }

  // `id` was the only copy and is read no more.
  void replace(uint32_t id, uint32_t reduced) {
    auto& copies = copies_[out_.placed[reduced].value];
    copies.erase(std::find(copies.begin(), copies.end(), id));
    free_place(id);
  }

  // Scores, softmax, weighted sum. Up to one chip a KV head heads are split; beyond, positions are, and partial results are exchanged.
  void lower_attention(uint32_t i) {
    const Work& op = work_.ops[i];
    const uint32_t stage = out_.stage_of_op[i];
    const uint64_t w = chips(stage);
    const ValueShape& y = work_.values[op.writes[0]];
    const bool by_position = !y.aligned(w);
    std::vector<uint32_t> reads = bring_all(i, by_position);
    const uint64_t heads = by_position ? op.count : ceil_div(op.count * y.share_columns(w), y.width);
    const uint64_t positions = std::max<uint64_t>(by_position ? ceil_div(op.context, w) : op.context, 1);
    const uint64_t half = ceil_div(by_position ? ceil_div(op.read_bytes, std::max<uint64_t>(op.context, 1)) * positions : op.read_bytes * heads / op.count, 2);
    const double part = static_cast<double>(heads * positions) / static_cast<double>(op.count * std::max<uint64_t>(op.context, 1));
    uint64_t floor = 0;
    const uint32_t out = place_result(op.writes[0], stage, by_position, reads, floor);
    const int bits = 8 * static_cast<int>(work_.cache_bytes());
    Slot scores{.op = i, .stage = stage, .unit = Unit::kMatrix, .bytes = half, .reads = reads};
    Slot softmax{.op = i, .stage = stage, .unit = Unit::kVector, .busy = cycles_of(static_cast<double>(op.vector_ops) * part / chip_.vector_alus)};
    Slot sums{.op = i, .stage = stage, .unit = Unit::kMatrix, .bytes = half, .reads = std::move(reads), .writes = out};
    scores.busy = matmul_cycles(chip_, latencies_, bits, op.m, op.k, positions, heads);
    sums.busy = matmul_cycles(chip_, latencies_, bits, op.m, positions, op.n, heads);
    read_ports(scores, {out_.resident[i].kv});
    read_ports(sums, {out_.resident[i].kv});
    const uint64_t at = emit(std::move(scores), 0, compute_latency()).ready;
    const uint64_t next = emit(std::move(softmax), at, compute_latency()).ready;
    emit(std::move(sums), std::max(next, floor), compute_latency());
    if (by_position) add_partials(i, out, ceil_div(kSoftmaxParts * op.m * op.count, w));
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

  const Workload& work_;
  const Chip& chip_;
  const Latencies& latencies_;
  const SliceMap map_;
  Ports ports_;
  Schedule out_;
  std::vector<uint64_t> tops_;                   // lines of each stage's slices below KV and state
  std::map<uint32_t, uint32_t> kv_home_;         // op that holds a KV value
  std::vector<uint64_t> unit_free_;
  std::vector<uint64_t> read_end_;               // of each placed value
  std::vector<std::map<uint64_t, Hole>> holes_;  // by offset, of each stage's strips; neighbours are joined
  std::vector<std::vector<uint32_t>> copies_;    // of each value
  std::vector<uint32_t> last_use_;
};

}  // namespace

Schedule schedule_on(const Workload& work, const Chip& chip, const Latencies& latencies, const std::vector<uint32_t>& stage_of_layer,
                     const std::vector<uint64_t>& widths) {
  return Scheduler(work, chip, latencies, stage_of_layer, widths).run();
}

}  // namespace sluice::lpu
