#include "runtime/barriers.h"

#include <optional>

namespace sluice::runtime {

using program::kNoValue;
using program::Op;
using program::OpCode;
using program::OperandRole;
using program::Program;
using program::Value;
using program::ValueId;
using program::ValueKind;

namespace {

// The rows that an op is cut by, as its bound op does it (bound_ops.cc): those of its first activation. Nothing: it is cut otherwise.
std::optional<std::pair<program::RowSpace, uint32_t>> row_cut(const Program& program, const Op& op) {
  const auto of = [&](std::string_view operand) {
    const Value& v = program.value(program.operand(op, operand));
    return std::pair(v.rows, v.slots);
  };
  switch (op.code) {
    case OpCode::kRmsNorm:
    case OpCode::kQuantize: return of("x");
    case OpCode::kGlu: return of("gate");
    case OpCode::kAdd: return of("a");
    case OpCode::kScale:
    case OpCode::kSoftcap: return of("x");
    case OpCode::kEmbed:
    case OpCode::kRopeTable:
    case OpCode::kRope:
    case OpCode::kKvWrite:
    case OpCode::kMoeTopk: return std::pair(program::RowSpace::kStep, 1u);
    default: return std::nullopt;
  }
}

struct Touch {
  const Value* value;
  uint64_t begin, end;  // bytes of the arena, or of a page for KV
  bool writes;
  std::optional<std::pair<program::RowSpace, uint32_t>> cut;
};

std::vector<Touch> touches_of(const Program& program, const program::PlanSizes& sizes, const Op& op) {
  const program::OpSchema& s = program::schema(op.code);
  const auto cut = row_cut(program, op);
  std::vector<Touch> out;
  for (size_t i = 0; i < s.operands.size(); ++i) {
    const ValueId id = op.operands[i];
    if (id == kNoValue) continue;
    const Value& v = program.value(id);
    if (v.kind == ValueKind::kActivation) {
      const uint64_t bytes = v.bytes * program::row_count(v, sizes.rows_max, sizes.logit_rows_max);
      const bool writes = s.operands[i].role == OperandRole::kOut || s.operands[i].role == OperandRole::kInPlace || s.operands[i].role == OperandRole::kAddend;
      out.push_back({&v, v.offset, v.offset + bytes, writes, cut});
    } else if (v.kind == ValueKind::kKv) {
      out.push_back({&v, v.offset, v.offset + v.bytes, op.code == OpCode::kKvWrite, std::nullopt});
    }
  }
  return out;
}

bool conflict(const Touch& a, const Touch& b) {
  if (!(a.writes || b.writes) || a.value->kind != b.value->kind) return false;
  if (a.end <= b.begin || b.end <= a.begin) return false;
  const bool same_rows = a.cut && b.cut && *a.cut == *b.cut && a.value->kind == ValueKind::kActivation && a.begin == b.begin &&
                         a.value->bytes == b.value->bytes && a.value->rows == b.value->rows && a.value->slots == b.value->slots &&
                         std::pair(a.value->rows, a.value->slots) == *a.cut;
  return !same_rows;
}

}  // namespace

std::vector<bool> barriers_before(const Program& program, const program::PlanSizes& sizes) {
  std::vector<bool> out(program.ops.size());
  std::vector<Touch> since;  // what was touched since the last barrier
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const std::vector<Touch> now = touches_of(program, sizes, program.ops[i]);
    for (const Touch& a : now) {
      for (const Touch& b : since) out[i] = out[i] || conflict(a, b);
    }
    if (out[i]) since.clear();
    since.insert(since.end(), now.begin(), now.end());
  }
  return out;
}

}  // namespace sluice::runtime
