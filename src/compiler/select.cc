#include <fmt/format.h>

#include <map>

#include "compiler/passes.h"
#include "kernels/matmul/matmul.h"

namespace sluice::compiler {

using program::Element;
using program::kNoValue;
using program::Op;
using program::OpCode;
using program::Program;
using program::Value;
using program::ValueId;

namespace {

Element element_of(kernels::ActivationFormat format) { return format == kernels::ActivationFormat::kQ8 ? Element::kQ8 : Element::kF32; }

}  // namespace

void select(Program& program) {
  std::map<std::pair<ValueId, Element>, ValueId> quantized;
  std::vector<Op> ops;
  ops.reserve(program.ops.size() * 2);
  for (Op& op : program.ops) {
    if (op.code == OpCode::kMatmul || op.code == OpCode::kMoeMatmul) {
      const ValueId x = op.operands[0];  // "x" in both schemas
      const Element element = element_of(kernels::activation_format(program.value(program.operand(op, "weight")).dtype));
      if (element != Element::kF32 && program.value(x).element == Element::kF32) {
        auto [found, is_new] = quantized.try_emplace({x, element}, kNoValue);
        if (is_new) {
          Value value;
          value.name = fmt::format("{}_q8", program.value(x).name);
          value.element = element;
          value.width = program.value(x).width;
          value.rows = program.value(x).rows;
          value.slots = program.value(x).slots;
          found->second = static_cast<ValueId>(program.values.size());
          program.values.push_back(std::move(value));
          ops.push_back({OpCode::kQuantize, {x, found->second}, {}, op.label});
        }
        op.operands[0] = found->second;
      }
    }
    ops.push_back(std::move(op));
  }
  program.ops = std::move(ops);
}

}  // namespace sluice::compiler
