// Lifetimes to offsets: the greedy-by-size planner of Pisarchyk and Lee (2020, "Efficient Memory Management for Deep Neural Net Inference", 4.2): the
// largest value first, each at the lowest offset that is free while it lives. Values that take over a buffer are planned as one.
#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "compiler/passes.h"
#include "kernels/quantize/quantize.h"

namespace sluice::compiler {

using program::Element;
using program::kNoValue;
using program::Op;
using program::OperandRole;
using program::Program;
using program::Value;
using program::ValueId;
using program::ValueKind;

namespace {

uint64_t bytes_of_row(const Value& value) {
  switch (value.element) {
    case Element::kF32:
    case Element::kI32: return program::round_up(value.width, 16) * 4;
    case Element::kQ8: return kernels::quantized_row_bytes(value.width);
  }
  return 0;
}

// One buffer: the values that share it and the time in which it lives.
struct Buffer {
  std::vector<ValueId> values;
  size_t first = SIZE_MAX;
  size_t last = 0;
  uint64_t bytes = 0;
  uint64_t offset = 0;
};

// Which values share a buffer: each value's representative, found through takeovers.
std::vector<ValueId> share_buffers(const Program& program) {
  std::vector<ValueId> parent(program.values.size());
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](ValueId id) {
    while (parent[id] != id) id = parent[id] = parent[parent[id]];
    return id;
  };
  for (const Op& op : program.ops) {
    const program::OpSchema& s = program::schema(op.code);
    ValueId out = kNoValue;
    for (size_t i = 0; i < s.operands.size(); ++i) {
      if (s.operands[i].role == OperandRole::kOut) out = op.operands[i];
    }
    for (size_t i = 0; i < s.operands.size(); ++i) {
      const bool takes_over = s.operands[i].role == OperandRole::kAddend || s.operands[i].role == OperandRole::kInPlace;
      if (takes_over && op.operands[i] != kNoValue) parent[root(out)] = root(op.operands[i]);
    }
  }
  for (ValueId id = 0; id < parent.size(); ++id) parent[id] = root(id);
  return parent;
}

std::vector<Buffer> buffers_of(Program& program, const PlanOptions& options) {
  const std::vector<program::Lifetime> lives = program::lifetimes(program);
  const std::vector<ValueId> root = share_buffers(program);
  std::vector<Buffer> by_root(program.values.size());
  for (ValueId id = 0; id < program.values.size(); ++id) {
    Value& value = program.values[id];
    if (value.kind != ValueKind::kActivation || lives[id].first > lives[id].last) continue;
    value.bytes = bytes_of_row(value);
    Buffer& buffer = by_root[root[id]];
    buffer.values.push_back(id);
    buffer.first = std::min(buffer.first, lives[id].first);
    buffer.last = std::max(buffer.last, lives[id].last);
    buffer.bytes = std::max(buffer.bytes, value.bytes * program::row_count(value, options.rows_max, options.logit_rows_max));
  }
  std::erase_if(by_root, [](const Buffer& buffer) { return buffer.values.empty(); });
  return by_root;
}

uint64_t place(std::vector<Buffer>& buffers) {
  std::stable_sort(buffers.begin(), buffers.end(), [](const Buffer& a, const Buffer& b) { return a.bytes > b.bytes; });
  std::vector<const Buffer*> placed;  // in order of offset
  uint64_t arena = 0;
  for (Buffer& buffer : buffers) {
    uint64_t offset = 0;
    for (const Buffer* other : placed) {
      const bool together = other->first <= buffer.last && buffer.first <= other->last;
      if (!together) continue;
      if (offset + buffer.bytes <= other->offset) break;
      offset = std::max(offset, other->offset + other->bytes);
    }
    buffer.offset = offset;
    placed.insert(std::upper_bound(placed.begin(), placed.end(), &buffer, [](const Buffer* a, const Buffer* b) { return a->offset < b->offset; }), &buffer);
    arena = std::max(arena, offset + buffer.bytes);
  }
  return arena;
}

}  // namespace

program::PlanSizes plan(Program& program, const PlanOptions& options) {
  SLUICE_CHECK(options.rows_max >= 1 && options.logit_rows_max >= 1);
  program::PlanSizes sizes{options.rows_max, options.logit_rows_max, 0, 0, 0, 0};
  std::vector<Buffer> buffers = buffers_of(program, options);
  sizes.arena_bytes = place(buffers);
  for (const Buffer& buffer : buffers) {
    for (const ValueId id : buffer.values) program.values[id].offset = buffer.offset;
  }
  for (Value& value : program.values) {
    if (value.kind == ValueKind::kState) {
      value.offset = sizes.state_bytes;
      value.bytes = program::round_up(value.floats * 4, 64);
      sizes.state_bytes += value.bytes;
    } else if (value.kind == ValueKind::kKv) {
      value.offset = sizes.page_bytes;
      value.bytes = kernels::kv_page_bytes({options.kv_type, value.kv_heads, value.head_dim_k, value.head_dim_v});
      sizes.page_bytes += value.bytes;
    } else if (value.kind == ValueKind::kWeight) {
      sizes.weight_bytes = std::max(sizes.weight_bytes, value.offset + value.bytes);
    }
  }
  return sizes;
}

}  // namespace sluice::compiler
