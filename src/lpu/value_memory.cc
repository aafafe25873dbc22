#include "lpu/value_memory.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernels/matmul/matmul.h"

namespace sluice::lpu {

using program::OperandRole;
using program::Value;
using program::WeightForm;

Sram::Place Sram::place(const Region& at, uint64_t index) const {
  const uint64_t word = at.offset / kWordBytes + index / 4, line = word / at.strip.slices;
  SLUICE_CHECK(index * 4 < at.bytes && line < lines_);
  const uint64_t in_slice = line * 4 + index % 4;
  return {at.strip.slice + word % at.strip.slices, in_slice / kPageWords, in_slice % kPageWords};
}

Sram::Page& Sram::page(const Place& place) {
  auto& pages = slices_[place.slice];
  if (pages.size() <= place.page) pages.resize(place.page + 1);
  if (pages[place.page] == nullptr) pages[place.page] = std::make_unique<Page>();
  return *pages[place.page];
}

const Sram::Page* Sram::find(const Place& place) const {
  const auto& pages = slices_[place.slice];
  return place.page < pages.size() ? pages[place.page].get() : nullptr;
}

// `visit` gets runs of neighbouring words of a slice: place, index of the first in the range, and how many. Stops when it says so.
template <typename Visit>
bool Sram::for_each_run(const Region& at, uint64_t first, uint64_t words, Visit visit) const {
  for (uint64_t i = 0; i < words;) {
    const uint64_t count = std::min(words - i, 4 - (first + i) % 4);
    if (!visit(place(at, first + i), i, count)) return false;
    i += count;
  }
  return true;
}

void Sram::write(const Region& at, uint64_t first, std::span<const uint32_t> words) {
  for_each_run(at, first, words.size(), [&](const Place& where, uint64_t i, uint64_t count) {
    Page& page = this->page(where);
    std::copy_n(words.data() + i, count, page.words + where.word);
    std::fill_n(page.written + where.word, count, true);
    return true;
  });
}

void Sram::spoil(const Region& at) {
  constexpr uint32_t kSpoilt = 0x7FC0DEAD;  // not a number, whoever reads it
  for_each_run(at, 0, at.bytes / 4, [&](const Place& where, uint64_t, uint64_t count) {
    Page& page = this->page(where);
    std::fill_n(page.words + where.word, count, kSpoilt);
    std::fill_n(page.written + where.word, count, false);
    return true;
  });
}

bool Sram::readable(const Region& at, uint64_t first, uint64_t words) const {
  if ((first + words) * 4 > at.bytes) return false;
  return for_each_run(at, first, words, [&](const Place& where, uint64_t, uint64_t count) {
    const Page* page = find(where);
    return page != nullptr && std::all_of(page->written + where.word, page->written + where.word + count, [](bool written) { return written; });
  });
}

uint32_t Sram::word(const Region& at, uint64_t index) const {
  const Place where = place(at, index);
  const Page* page = find(where);
  SLUICE_CHECK(page != nullptr && page->written[where.word]);
  return page->words[where.word];
}

std::vector<uint32_t> Sram::read(const Region& at, uint64_t first, uint64_t words) const {
  std::vector<uint32_t> out(words);
  SLUICE_CHECK(readable(at, first, words));
  for_each_run(at, first, words, [&](const Place& where, uint64_t i, uint64_t count) {
    std::copy_n(find(where)->words + where.word, count, out.data() + i);
    return true;
  });
  return out;
}

bool has_blocks(const program::Value& weight) { return kernels::activation_format(weight.dtype) == kernels::ActivationFormat::kQ8; }

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
  if (w.one_row) return columns_of(w.table_rows(), chips(op), chip);
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
    uint64_t words = 0;
    switch (value.form) {
      case WeightForm::kMatrix:
        words = source.code == program::OpCode::kEmbed && !w.one_row ? value.n * columns : value.count * columns * value.k;
        if (has_blocks(value)) words = columns == 0 ? 0 : value.count * kernels::packed_bytes(value.dtype, columns, value.k) / 4;
        break;
      case WeightForm::kVector: words = w.replicated ? value.n : columns; break;
      case WeightForm::kConv:
      case WeightForm::kScanA: words = value.k * columns; break;
      case WeightForm::kFrequencies: break;
    }
    parts.push_back({id, first, words});
    first += words;
  }
  SLUICE_CHECK(first * 4 <= resident(op).weights.bytes);
  return parts;
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
    const uint64_t first = r * stored.count() + columns.begin - stored.begin;
    std::memcpy(out.row(r), sram.read(placed.at, first, columns.count()).data(), columns.count() * 4);
  }
  return out;
}

Rows Port::all(std::string_view name) const { return rows(name, {0, shape(name).width}); }
Rows Port::mine(std::string_view name) const { return rows(name, own(name)); }

uint64_t Port::weight_words(std::string_view name) const {
  for (const WeightPart& part : layout.weights(layout.home[id(name)], chip)) {
    if (part.value == id(name)) return part.words;
  }
  return 0;
}

void Port::copy_weight(std::string_view name, uint64_t first, uint64_t words, float* out) const {
  const uint32_t where = layout.home[id(name)];
  for (const WeightPart& part : layout.weights(where, chip)) {
    if (part.value != id(name) || words == 0) continue;
    std::memcpy(out, sram.read(layout.resident(where).weights, part.first + first, words).data(), words * 4);
  }
}

std::vector<float> Port::weight(std::string_view name) const {
  std::vector<float> out(weight_words(name));
  copy_weight(name, 0, out.size(), out.data());
  return out;
}

Rows Port::packed(std::string_view name, uint64_t index) const {
  Rows out(1, weight_words(name) / value(name).count);
  copy_weight(name, index * out.width(), out.width(), out.data());
  return out;
}

std::vector<float> Port::state(uint64_t floats) const {
  const std::vector<uint32_t> words = sram.read(layout.resident(work_op).state, 0, floats);
  std::vector<float> out(floats);
  if (floats > 0) std::memcpy(out.data(), words.data(), floats * 4);
  return out;
}

}  // namespace sluice::lpu
