#include <algorithm>

#include "base/check.h"
#include "compiler/passes.h"

namespace sluice::compiler {

using program::kNoValue;
using program::Op;
using program::OpCode;
using program::Program;
using program::ValueId;

namespace {

size_t operand_index(OpCode code, std::string_view name) {
  const program::OpSchema& s = program::schema(code);
  for (size_t i = 0; i < s.operands.size(); ++i) {
    if (s.operands[i].name == name) return i;
  }
  SLUICE_CHECK(false && "no such operand");
  return 0;
}

bool can_take_addend(OpCode code) { return code == OpCode::kMatmul || code == OpCode::kMoeCombine; }

struct Uses {
  std::vector<size_t> producer;            // op that writes a value
  std::vector<std::vector<size_t>> reads;  // ops that read it, in order
};

Uses uses_of(const Program& program) {
  Uses uses{std::vector<size_t>(program.values.size(), SIZE_MAX), std::vector<std::vector<size_t>>(program.values.size())};
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    const program::OpSchema& s = program::schema(op.code);
    for (size_t j = 0; j < op.operands.size(); ++j) {
      if (op.operands[j] == kNoValue) continue;
      if (s.operands[j].role == program::OperandRole::kOut) {
        uses.producer[op.operands[j]] = i;
      } else {
        uses.reads[op.operands[j]].push_back(i);
      }
    }
  }
  return uses;
}

// The side of `add` that may become an addend of the op that made the other side, or kNoValue.
ValueId fusable_addend(const Program& program, const Uses& uses, size_t add, ValueId kept, ValueId product) {
  const size_t maker = uses.producer[product];
  if (maker == SIZE_MAX || !can_take_addend(program.ops[maker].code)) return kNoValue;
  if (program.operand(program.ops[maker], "addend") != kNoValue) return kNoValue;
  if (uses.reads[product].size() != 1 || product == program.logits) return kNoValue;
  // `kept` must exist before the maker runs and be read for the last time by this add.
  if (uses.producer[kept] == SIZE_MAX || uses.producer[kept] >= maker || kept == program.logits) return kNoValue;
  for (const size_t reader : uses.reads[kept]) {
    if (reader != add && reader >= maker) return kNoValue;
  }
  return kept;
}

}  // namespace

void fuse(Program& program) {
  const Uses uses = uses_of(program);
  std::vector<bool> dropped(program.ops.size());
  for (size_t i = 0; i < program.ops.size(); ++i) {
    if (program.ops[i].code != OpCode::kAdd) continue;
    ValueId kept = program.operand(program.ops[i], "a"), product = program.operand(program.ops[i], "b");
    if (kept == product) continue;
    if (fusable_addend(program, uses, i, kept, product) == kNoValue) std::swap(kept, product);
    if (fusable_addend(program, uses, i, kept, product) == kNoValue) continue;
    Op& maker = program.ops[uses.producer[product]];
    maker.operands[operand_index(maker.code, "addend")] = kept;
    maker.operands[operand_index(maker.code, "out")] = program.operand(program.ops[i], "out");
    dropped[i] = true;
  }
  size_t next = 0;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    if (!dropped[i]) {
      if (next != i) program.ops[next] = std::move(program.ops[i]);
      ++next;
    }
  }
  program.ops.resize(next);
}

void strip_observers(Program& program) {
  const int64_t last_norm = static_cast<int64_t>(program.facts.layers) + 1;
  std::erase_if(program.ops, [&](const Op& op) { return op.code == OpCode::kObserve && program.integer(op, "index") != last_norm; });
}

}  // namespace sluice::compiler
