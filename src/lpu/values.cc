#include "lpu/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/check.h"
#include "kernels/matmul/matmul.h"
#include "lpu/value_memory.h"

namespace sluice::lpu {
namespace {

using program::Value;
using program::WeightForm;
using Words = std::vector<uint32_t>;

// What happens in a cycle, in this order: results land that were on their way, operands are read for the last time, results land that need no way, and
// units start, which gives their results' places to new owners.
enum class Phase : uint8_t { kLand, kRead, kLandAtOnce, kStart };
struct Event {
  uint64_t cycle;
  Phase phase;
  uint32_t slot;
};

std::vector<Event> events_of(const Schedule& schedule) {
  std::vector<Event> events;
  for (uint32_t i = 0; i < schedule.slots.size(); ++i) {
    const Slot& s = schedule.slots[i];
    const uint64_t end = s.start + s.busy;
    events.push_back({s.start, Phase::kStart, i});
    events.push_back({end, Phase::kRead, i});
    events.push_back({s.ready, s.ready > end ? Phase::kLand : Phase::kLandAtOnce, i});
  }
  const auto key = [](const Event& e) { return std::tuple(e.cycle, e.phase, e.slot); };
  std::sort(events.begin(), events.end(), [&](const Event& a, const Event& b) { return key(a) < key(b); });
  return events;
}

// One weight of the package, the part of it that lies on a chip, without padding: [count, columns, k], [k, columns] or [columns].
std::vector<float> dense_weight(const Value& v, const uint8_t* packed, Columns columns, bool table_columns) {
  std::vector<float> out;
  const auto* floats = reinterpret_cast<const float*>(packed);
  const uint64_t padded = program::round_up(v.n, 16);
  switch (v.form) {
    case WeightForm::kMatrix: {
      std::vector<float> row(program::round_up(v.k, 16));
      for (uint64_t m = 0; m < v.count; ++m) {
        const uint8_t* matrix = packed + m * kernels::packed_bytes(v.dtype, v.n, v.k);
        for (uint64_t r = table_columns ? 0 : columns.begin; r < (table_columns ? v.n : columns.end); ++r) {
          kernels::unpack_row(v.dtype, matrix, v.n, v.k, r, row.data());
          out.insert(out.end(), row.begin() + static_cast<ptrdiff_t>(table_columns ? columns.begin : 0),
                     row.begin() + static_cast<ptrdiff_t>(table_columns ? columns.end : v.k));
        }
      }
      break;
    }
    case WeightForm::kVector: out.assign(floats + columns.begin, floats + columns.end); break;
    case WeightForm::kConv:
      for (uint64_t t = 0; t < v.k; ++t) out.insert(out.end(), floats + t * padded + columns.begin, floats + t * padded + columns.end);
      break;
    case WeightForm::kScanA:
      for (uint64_t s = 0; s < v.k; ++s) {
        for (uint64_t c = columns.begin; c < columns.end; ++c) out.push_back(floats[(c / 16 * v.k + s) * 16 + c % 16]);
      }
      break;
    case WeightForm::kFrequencies: break;
  }
  return out;
}

std::span<const uint32_t> as_words(const std::vector<float>& floats) { return {reinterpret_cast<const uint32_t*>(floats.data()), floats.size()}; }

// Rows `columns` of every matrix, in the package's strips of 16: [count, strips].
Words packed_weight(const Value& v, const uint8_t* packed, Columns columns) {
  const uint64_t matrix = kernels::packed_bytes(v.dtype, v.n, v.k), strip = kernels::packed_strip_bytes(v.dtype, v.k);
  SLUICE_CHECK(columns.begin % kernels::kStripOutputs == 0 || columns.count() == 0);
  const uint64_t bytes = columns.count() == 0 ? 0 : kernels::packed_bytes(v.dtype, columns.count(), v.k);
  Words out(v.count * bytes / 4);
  for (uint64_t m = 0; m < v.count && bytes > 0; ++m) {
    std::memcpy(out.data() + m * bytes / 4, packed + m * matrix + columns.begin / kernels::kStripOutputs * strip, bytes);
  }
  return out;
}

}  // namespace

struct ValueMachine::Impl {
  Layout layout;
  SliceMap map;
  std::span<const std::byte> weights;
  std::vector<std::vector<Sram>> srams;  // of each stage's chips
  std::vector<Event> events;
  std::vector<std::vector<Words>> in_flight;             // of each slot, of each receiving chip
  std::vector<std::vector<std::vector<Effect>>> effects;  // likewise
  uint64_t position = 0;
  int32_t token = 0;
  std::vector<float> logits;
  std::set<std::pair<uint32_t, uint32_t>> experts;
  Counters counters;

  Impl(const program::Program& program, std::span<const std::byte> bytes, const Workload& work, const Chip& chip, const Schedule& schedule)
      : layout(program, work, schedule), map(chip), weights(bytes), events(events_of(schedule)), in_flight(schedule.slots.size()),
        effects(schedule.slots.size()) {}

  const Schedule& schedule() const { return layout.schedule; }
  uint64_t chips(uint32_t stage) const { return schedule().stages[stage].chips; }
  const ValueShape& shape(const Placed& p) const { return layout.work.values[p.value]; }

  // Words that a chip holds of a placed value.
  Columns stored(const Placed& p, uint64_t chip) const {
    return p.whole || p.partial ? Columns{0, shape(p).width} : columns_of(shape(p), chips(p.stage), chip);
  }
  uint64_t words(const Placed& p, uint64_t chip) const { return stored(p, chip).count() * shape(p).slots; }

  void load() {
    for (size_t s = 0; s < schedule().stages.size(); ++s) {
      srams.emplace_back();
      for (uint64_t c = 0; c < chips(static_cast<uint32_t>(s)); ++c) srams.back().emplace_back(map);
    }
    for (uint32_t op = 0; op < layout.work.ops.size(); ++op) {
      const uint32_t stage = schedule().stage_of_op[op];
      const Region& state = layout.resident(op).state;
      for (uint64_t c = 0; c < chips(stage); ++c) {
        srams[stage][c].write(state, 0, Words(state.bytes / 4));
        load_weights(op, stage, c);
      }
    }
  }

  void load_weights(uint32_t op, uint32_t stage, uint64_t chip) {
    const Work& work = layout.work.ops[op];
    const program::Op& source = layout.program.ops[work.source];
    for (const WeightPart& part : layout.weights(op, chip)) {
      const Value& v = layout.program.value(part.value);
      const bool everywhere = work.replicated && v.form == WeightForm::kVector;
      const Columns columns = everywhere ? Columns{0, v.n} : layout.outputs(op, chip);
      const auto* package = reinterpret_cast<const uint8_t*>(weights.data() + v.offset);
      const bool blocks = v.form == WeightForm::kMatrix && has_blocks(v);
      const std::vector<float> floats =
          blocks ? std::vector<float>() : dense_weight(v, package, columns, source.code == program::OpCode::kEmbed && !work.one_row);
      const Words words = blocks ? packed_weight(v, package, columns) : Words(as_words(floats).begin(), as_words(floats).end());
      SLUICE_CHECK(words.size() == part.words);
      srams[stage][chip].write(layout.resident(op).weights, part.first, words);
    }
  }

  Status check_operands(const Slot& slot, uint64_t cycle) const {
    for (const uint32_t id : slot.reads) {
      const Placed& p = schedule().placed[id];
      for (uint64_t c = 0; c < chips(p.stage); ++c) {
        if (srams[p.stage][c].readable(p.at, 0, words(p, c))) continue;
        return Error{fmt::format("values: cycle {}: op {} ({}) reads value {} on chip {} of stage {}, which was not written or is gone", cycle, slot.op,
                                 layout.work.ops[slot.op].label, p.value, c, p.stage)};
      }
    }
    return {};
  }

  Status start(const Slot& slot) {
    SLUICE_TRY_VOID(check_operands(slot, slot.start));
    if (slot.writes == kNone) return {};
    const Placed& p = schedule().placed[slot.writes];
    for (Sram& sram : srams[p.stage]) sram.spoil(p.at);
    return {};
  }

  Status read(uint32_t index) {
    const Slot& slot = schedule().slots[index];
    SLUICE_TRY_VOID(check_operands(slot, slot.start + slot.busy));
    ++counters.slots;
    if (slot.writes == kNone && layout.work.ops[slot.op].kind != Kind::kLocal) return {};  // attention is computed when its last slot is
    const uint64_t receivers = chips(slot.writes == kNone ? slot.stage : schedule().placed[slot.writes].stage);
    in_flight[index].assign(receivers, {});
    effects[index].assign(receivers, {});
    if (slot.unit == Unit::kLink) return send(slot, in_flight[index]);
    for (uint64_t c = 0; c < receivers; ++c) {
      const Port port{layout, srams[slot.stage][c], slot.op, slot, c, token, position, weights};
      SLUICE_TRY_VOID(compute(port, in_flight[index][c], effects[index][c]));
      for (const uint32_t id : slot.reads) counters.bytes_read += words(schedule().placed[id], c) * 4;
    }
    if (layout.program.ops[layout.work.ops[slot.op].source].code == program::OpCode::kMoeTopk) note_experts(slot, in_flight[index][0]);
    return {};
  }

  void note_experts(const Slot& slot, const Words& out) {
    const program::Op& op = layout.program.ops[layout.work.ops[slot.op].source];
    if (schedule().placed[slot.writes].value != layout.program.operand(op, "ids")) return;
    for (const uint32_t expert : out) experts.insert({slot.op, expert});
    counters.experts_used = experts.size();
  }

  // Which chip of the source has column `c`: its own, if it has it.
  uint64_t sender(const Slot& slot, const Placed& from, uint64_t column, uint64_t receiver) const {
    if (from.partial) return static_cast<uint64_t>(token) / layout.work.ops[slot.op].table_rows().share_columns(chips(from.stage));
    if (from.whole && slot.peer == kNone) return receiver;
    return column / shape(from).share_columns(chips(from.stage));
  }

  Status send(const Slot& slot, std::vector<Words>& out) {
    const Placed &from = schedule().placed[slot.reads[0]], &to = schedule().placed[slot.writes];
    const uint64_t senders = chips(from.stage);
    std::vector<uint64_t> sent(senders);
    for (uint64_t receiver = 0; receiver < out.size(); ++receiver) {
      const Columns wanted = stored(to, receiver);
      Words& words = out[receiver];
      for (uint64_t r = 0; r < shape(to).slots; ++r) {
        for (uint64_t column = wanted.begin; column < wanted.end; ++column) {
          const uint64_t chip = sender(slot, from, column, receiver);
          const Columns there = stored(from, chip);
          SLUICE_CHECK(there.begin <= column && column < there.end);
          words.push_back(srams[from.stage][chip].word(from.at, r * there.count() + column - there.begin));
          if (slot.peer != kNone || chip != receiver) sent[chip] += 4;
        }
      }
    }
    const uint64_t carried = slot.bytes * (slot.peer == kNone ? senders - 1 : 1);
    for (uint64_t c = 0; c < senders; ++c) {
      counters.bytes_sent += sent[c];
      if (sent[c] > carried) return Error{fmt::format("values: op {}: chip {} sends {} bytes, its slot carries {}", slot.op, c, sent[c], carried)};
    }
    return {};
  }

  void land(uint32_t index) {
    const Slot& slot = schedule().slots[index];
    for (uint64_t c = 0; c < in_flight[index].size(); ++c) {
      if (slot.writes != kNone) {
        const Placed& p = schedule().placed[slot.writes];
        SLUICE_CHECK(in_flight[index][c].size() * 4 <= p.at.bytes);
        srams[p.stage][c].write(p.at, 0, in_flight[index][c]);
        counters.bytes_written += in_flight[index][c].size() * 4;
      }
      for (const Effect& effect : effects[index][c]) {
        srams[slot.stage][c].write(effect.at, effect.first, effect.words);
        counters.bytes_written += effect.words.size() * 4;
      }
    }
  }

  // What the host reads of the last value.
  void read_logits() {
    const Placed* found = nullptr;
    for (const Placed& p : schedule().placed) {
      if (p.value == layout.program.logits) found = &p;
    }
    SLUICE_CHECK(found != nullptr);
    logits.assign(shape(*found).width, 0);
    for (uint64_t c = 0; c < chips(found->stage); ++c) {
      const Columns there = stored(*found, c);
      if (there.count() == 0) continue;
      std::memcpy(logits.data() + there.begin, srams[found->stage][c].read(found->at, 0, there.count()).data(), there.count() * 4);
    }
  }
};

ValueMachine::ValueMachine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ValueMachine::~ValueMachine() = default;
const ValueMachine::Counters& ValueMachine::counters() const { return impl_->counters; }

Result<std::unique_ptr<ValueMachine>> ValueMachine::create(const program::Program& program, std::span<const std::byte> weights, const Workload& work,
                                                           const Chip& chip, const Schedule& schedule) {
  if (!work.exact || work.users != 1) return Error{"values: the schedule must be exact and of one user"};
  std::unique_ptr<ValueMachine> machine(new ValueMachine(std::make_unique<Impl>(program, weights, work, chip, schedule)));
  machine->impl_->load();
  return machine;
}

Result<std::span<const float>> ValueMachine::step(int32_t token) {
  Impl& m = *impl_;
  const uint64_t vocabulary = m.layout.program.facts.vocabulary;
  if (token < 0 || static_cast<uint64_t>(token) >= vocabulary) return Error{fmt::format("values: token {} is outside the vocabulary of {}", token, vocabulary)};
  if (m.position >= m.layout.work.context) return Error{fmt::format("values: the chips hold {} tokens of context", m.layout.work.context)};
  m.token = token;
  for (const Event& event : m.events) {
    switch (event.phase) {
      case Phase::kLand:
      case Phase::kLandAtOnce: m.land(event.slot); break;
      case Phase::kRead: SLUICE_TRY_VOID(m.read(event.slot)); break;
      case Phase::kStart: SLUICE_TRY_VOID(m.start(m.layout.schedule.slots[event.slot])); break;
    }
  }
  m.counters.cycles += m.layout.schedule.cycles;
  ++m.position;
  m.read_logits();
  return std::span<const float>(m.logits);
}

}  // namespace sluice::lpu
