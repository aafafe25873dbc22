// The memory of simulated chips, and one op's view of it on one chip: operands by name, from this chip's bytes only. Part of values.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "lpu/schedule.h"
#include "program/program.h"

namespace sluice::lpu {

// The slices of one chip, in pages that exist once they are written: words of 32 bits, each with whether its owner has written it. Words of a place are
// counted from its beginning.
class Sram {
 public:
  explicit Sram(const SliceMap& map) : slices_(map.slices), lines_(map.lines) {}
  void write(const Region& at, uint64_t first, std::span<const uint32_t> words);
  void spoil(const Region& at);  // a new owner, who has written nothing yet
  bool readable(const Region& at, uint64_t first, uint64_t words) const;
  uint32_t word(const Region& at, uint64_t index) const;
  std::vector<uint32_t> read(const Region& at, uint64_t first, uint64_t words) const;

 private:
  static constexpr uint64_t kPageWords = 1024;
  struct Page {
    uint32_t words[kPageWords] = {};
    bool written[kPageWords] = {};
  };
  struct Place {
    uint64_t slice, page, word;
  };
  Place place(const Region& at, uint64_t index) const;
  Page& page(const Place& place);
  const Page* find(const Place& place) const;
  template <typename Visit>
  bool for_each_run(const Region& at, uint64_t first, uint64_t words, Visit visit) const;

  std::vector<std::vector<std::unique_ptr<Page>>> slices_;
  uint64_t lines_;
};

struct Columns {
  uint64_t begin = 0, end = 0;
  uint64_t count() const { return end - begin; }
};
// Of chip `chip` among `chips` that share a value.
Columns columns_of(const ValueShape& value, uint64_t chips, uint64_t chip);

// Rows as kernels want them: 64-byte aligned, padded to 16 columns with zeros.
class Rows {
 public:
  Rows(uint64_t count, uint64_t width) : width_(width), lines_((width + 15) / 16), data_(count * lines_ + 1) {}
  float* row(uint64_t r) { return data_[r * lines_].floats; }
  float* data() { return row(0); }
  uint64_t width() const { return width_; }
  uint64_t stride() const { return lines_ * 16; }

 private:
  struct alignas(64) Line {
    float floats[16] = {};
  };
  uint64_t width_, lines_;
  std::vector<Line> data_;
};

// Weights of an op as they lie in a chip's share of its region, one after the other: floats without padding, or strips of 16 rows of packed blocks.
struct WeightPart {
  uint32_t value;
  uint64_t first, words;  // from the region's beginning
};

// Matrices of block types stay in blocks; all others are widened to 32 bits.
bool has_blocks(const program::Value& weight);

struct Layout {
  const program::Program& program;
  const Workload& work;
  const Schedule& schedule;
  std::vector<uint32_t> home;  // op of the workload in whose region a weight or KV lies
  Layout(const program::Program& program, const Workload& work, const Schedule& schedule);

  uint64_t chips(uint32_t op) const { return schedule.stages[schedule.stage_of_op[op]].chips; }
  Columns outputs(uint32_t op, uint64_t chip) const;  // columns (rows of a table that is cut by rows) whose weights lie on the chip
  std::vector<WeightPart> weights(uint32_t op, uint64_t chip) const;
  const Resident& resident(uint32_t op) const { return schedule.resident[op]; }
};

// Words to be written when the op's result is ready.
struct Effect {
  Region at;
  uint64_t first;
  std::vector<uint32_t> words;
};

// One op on one chip.
struct Port {
  const Layout& layout;
  const Sram& sram;
  uint32_t work_op;
  const Slot& slot;
  uint64_t chip;
  int32_t token;
  uint64_t position;
  std::span<const std::byte> constants;  // the package's weights: frequencies are made, not stored

  const Work& work() const { return layout.work.ops[work_op]; }
  const program::Op& op() const { return layout.program.ops[work().source]; }
  uint64_t chips() const { return layout.chips(work_op); }
  uint32_t id(std::string_view name) const { return layout.program.operand(op(), name); }
  bool has(std::string_view name) const { return id(name) != program::kNoValue; }
  const program::Value& value(std::string_view name) const { return layout.program.value(id(name)); }
  const ValueShape& shape(std::string_view name) const { return layout.work.values[id(name)]; }
  Columns own(std::string_view name) const { return columns_of(shape(name), chips(), chip); }

  Rows all(std::string_view name) const;   // an activation, every column
  Rows mine(std::string_view name) const;  // this chip's columns of it
  std::vector<float> weight(std::string_view name) const;
  Rows packed(std::string_view name, uint64_t index) const;  // matrix `index` of a weight of blocks, as the kernels take it
  std::vector<float> state(uint64_t floats) const;

 private:
  Rows rows(std::string_view name, Columns columns) const;
  void copy_weight(std::string_view name, uint64_t first, uint64_t words, float* out) const;
  uint64_t weight_words(std::string_view name) const;
};

// Computes the part of the op; `out` is what its slot's place gets.
Status compute(const Port& port, std::vector<uint32_t>& out, std::vector<Effect>& effects);

}  // namespace sluice::lpu
