#include "program/program.h"

#include "base/check.h"

namespace sluice::program {

ValueId Program::operand(const Op& op, std::string_view name) const {
  const OpSchema& s = schema(op.code);
  for (size_t i = 0; i < s.operands.size(); ++i) {
    if (s.operands[i].name == name) return op.operands[i];
  }
  SLUICE_CHECK(false && "no such operand");
  return kNoValue;
}

namespace {
const Attribute& attribute(const Op& op, std::string_view name, bool is_integer) {
  const OpSchema& s = schema(op.code);
  for (size_t i = 0; i < s.attributes.size(); ++i) {
    if (s.attributes[i].name == name && s.attributes[i].is_integer == is_integer) return op.attributes[i];
  }
  SLUICE_CHECK(false && "no such attribute");
  return op.attributes[0];
}
}  // namespace

int64_t Program::integer(const Op& op, std::string_view name) const { return attribute(op, name, true).integer; }
double Program::number(const Op& op, std::string_view name) const { return attribute(op, name, false).number; }

uint64_t state_floats(const Program& program) {
  uint64_t floats = 0;
  for (const Value& value : program.values) {
    if (value.kind == ValueKind::kState) floats += value.floats;
  }
  return floats;
}

uint64_t kv_elements_per_token(const Program& program) {
  uint64_t elements = 0;
  for (const Value& value : program.values) {
    if (value.kind == ValueKind::kKv) elements += uint64_t{value.kv_heads} * (value.head_dim_k + value.head_dim_v);
  }
  return elements;
}

}  // namespace sluice::program
