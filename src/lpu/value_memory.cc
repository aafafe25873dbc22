#include "lpu/value_memory.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace sluice::lpu {

using program::OperandRole;
using program::Value;
using program::WeightForm;

void Sram::write(uint64_t offset, std::span<const uint32_t> words) {
  SLUICE_CHECK(offset % 4 == 0 && offset / 4 + words.size() <= words_.size());
  std::copy(words.begin(), words.end(), words_.begin() + static_cast<ptrdiff_t>(offset / 4));
  std::fill_n(written_.begin() + static_cast<ptrdiff_t>(offset / 4), words.size(), true);
}

void Sram::spoil(const Region& at) {
  constexpr uint32_t kSpoilt = 0x7FC0DEAD;  // not a number, whoever reads it
  SLUICE_CHECK((at.offset + at.bytes) / 4 <= words_.size());
  std::fill_n(words_.begin() + static_cast<ptrdiff_t>(at.offset / 4), at.bytes / 4, kSpoilt);
  std::fill_n(written_.begin() + static_cast<ptrdiff_t>(at.offset / 4), at.bytes / 4, false);
}

bool Sram::readable(uint64_t offset, uint64_t words) const {
  if (offset / 4 + words > words_.size()) return false;
  const auto first = written_.begin() + static_cast<ptrdiff_t>(offset / 4);
  return std::all_of(first, first + static_cast<ptrdiff_t>(words), [](bool written) { return written; });
}

std::span<const uint32_t> Sram::read(uint64_t offset, uint64_t words) const {
  SLUICE_CHECK(readable(offset, words));
  return std::span(words_).subspan(offset / 4, words);
}

Columns columns_of(const ValueShape& value, uint64_t chips, uint64_t chip) {
  const uint64_t most = value.share_columns(chips), begin = std::min(value.width, most * chip);
  return {begin, std::min(value.width, begin + most)};
}

Layout::Layout(const program::Program& p, const Workload& w, const Schedule& s) : program(p), work(w), schedule(s), home(p.values.size(), kNone) {
  for (uint32_t i = 0; i < work.ops.size(); ++i) {
    const program::Op& op = program.ops[work.ops[i].source];
    for (const uint32_t id : op.operands) {
      if (id == program::kNoValue) continue;
      const Value& value = program.value(id);
      if (value.kind == program::ValueKind::kWeight && home[id] == kNone) home[id] = i;
      if (value.kind == program::ValueKind::kKv && op.code == program::OpCode::kAttention) home[id] = i;
    }
  }
}

Columns Layout::outputs(uint32_t op, uint64_t chip) const {
  const Work& w = work.ops[op];
  if (w.one_row) return columns_of({.width = w.n}, chips(op), chip);
  const ValueShape& out = work.values[w.writes[0]];
  return w.whole ? Columns{0, out.width} : columns_of(out, chips(op), chip);
}

std::vector<WeightPart> Layout::weights(uint32_t op, uint64_t chip) const {
  std::vector<WeightPart> parts;
  const Work& w = work.ops[op];
  if (w.writes.empty()) return parts;
  const program::Op& source = program.ops[w.source];
  const uint64_t columns = outputs(op, chip).count();
  uint64_t first = 0;
  for (const uint32_t id : source.operands) {
    if (id == program::kNoValue || program.value(id).kind != program::ValueKind::kWeight || home[id] != op) continue;
    const Value& value = program.value(id);
    uint64_t floats = 0;
    switch (value.form) {
      case WeightForm::kMatrix: floats = source.code == program::OpCode::kEmbed && !w.one_row ? value.n * columns : value.count * columns * value.k; break;
      case WeightForm::kVector: floats = w.replicated ? value.n : columns; break;
      case WeightForm::kConv:
      case WeightForm::kScanA: floats = value.k * columns; break;
      case WeightForm::kFrequencies: break;
    }
    parts.push_back({id, first, floats});
    first += floats;
  }
  SLUICE_CHECK(first * 4 <= resident_share(work, w, w.weight_bytes, chips(op)));
  return parts;
}

Region Layout::kv(uint32_t op) const {
  const Work& w = work.ops[op];
  return {schedule.resident[op].offset + resident_share(work, w, w.weight_bytes, chips(op)), resident_share(work, w, w.kv_bytes, chips(op))};
}

Region Layout::state(uint32_t op) const {
  const Work& w = work.ops[op];
  const Region before = kv(op);
  return {before.offset + before.bytes, resident_share(work, w, w.state_bytes, chips(op))};
}

Rows Port::rows(std::string_view name, Columns columns) const {
  const ValueShape& v = shape(name);
  const auto found = std::find_if(slot.reads.begin(), slot.reads.end(), [&](uint32_t p) { return layout.schedule.placed[p].value == id(name); });
  SLUICE_CHECK(found != slot.reads.end());
  const Placed& placed = layout.schedule.placed[*found];
  const Columns stored = placed.whole ? Columns{0, v.width} : columns_of(v, chips(), chip);
  SLUICE_CHECK(columns.count() == 0 || (stored.begin <= columns.begin && columns.end <= stored.end));
  Rows out(v.slots, columns.count());
  for (uint64_t r = 0; r < v.slots && columns.count() > 0; ++r) {
    const uint64_t offset = placed.at.offset + (r * stored.count() + columns.begin - stored.begin) * 4;
    std::memcpy(out.row(r), sram.read(offset, columns.count()).data(), columns.count() * 4);
  }
  return out;
}

Rows Port::all(std::string_view name) const { return rows(name, {0, shape(name).width}); }
Rows Port::mine(std::string_view name) const { return rows(name, own(name)); }

std::vector<float> Port::weight(std::string_view name) const {
  const uint32_t where = layout.home[id(name)];
  for (const WeightPart& part : layout.weights(where, chip)) {
    if (part.value != id(name)) continue;
    std::vector<float> out(part.floats);
    if (part.floats > 0) std::memcpy(out.data(), sram.read(layout.schedule.resident[where].offset + part.first * 4, part.floats).data(), part.floats * 4);
    return out;
  }
  return {};
}

std::vector<float> Port::state(uint64_t floats) const {
  const Region at = layout.state(work_op);
  SLUICE_CHECK(floats * 4 <= at.bytes);
  std::vector<float> out(floats);
  if (floats > 0) std::memcpy(out.data(), sram.read(at.offset, floats).data(), floats * 4);
  return out;
}

}  // namespace sluice::lpu
