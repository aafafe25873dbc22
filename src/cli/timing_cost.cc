#include "cli/timing_cost.h"

#include <algorithm>
#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/matmul/matmul.h"

namespace sluice::cli {

using program::Op;
using program::OpCode;
using program::Program;
using program::Value;

namespace {

double number(uint64_t n) { return static_cast<double>(n); }

Cost matrix_cost(const Value& weight, double rows, double matrices) {
  Cost cost;
  const double operations = 2 * rows * number(weight.n) * number(weight.k);
  (kernels::activation_format(weight.dtype) == kernels::ActivationFormat::kQ8 ? cost.int8_operations : cost.float_operations) = operations;
  cost.bytes = matrices * number(weight.bytes) / number(weight.count);
  return cost;
}

double rows_of(const Value& value, const StepShape& shape) {
  switch (value.rows) {
    case program::RowSpace::kStep: return number(shape.rows);
    case program::RowSpace::kLogits: return shape.logits ? number(shape.sequences) : 0;
    case program::RowSpace::kSlots: return number(shape.rows) * value.slots;
  }
  return 0;
}

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  int8_operations += other.int8_operations;
  float_operations += other.float_operations;
  bytes += other.bytes;
  return *this;
}

double Cost::seconds(const Limits& limits, bool by_cpu) const {
  const auto of = [&](Rate rate) { return by_cpu ? rate.cpu : rate.wall; };
  return std::max(int8_operations / of(limits.int8) + float_operations / of(limits.fma), bytes / of(limits.bytes));
}

Cost cost_of(const Program& program, const Op& op, const StepShape& shape) {
  const auto value = [&](std::string_view operand) -> const Value& { return program.value(program.operand(op, operand)); };
  Cost cost;
  switch (op.code) {
    case OpCode::kMatmul: {
      const double rows = rows_of(value("x"), shape);
      if (rows > 0) cost = matrix_cost(value("weight"), rows, 1);
      break;
    }
    case OpCode::kMoeMatmul: {
      // Experts that a step touches when routing is uniform.
      const double slots = rows_of(value("out"), shape), experts = number(value("weight").count);
      cost = matrix_cost(value("weight"), slots, experts * (1 - std::pow(1 - 1 / experts, slots)));
      break;
    }
    case OpCode::kAttention: {
      const Value& kv = value("kv");
      const double each = number(shape.rows) / number(shape.sequences);
      const double window = static_cast<double>(program.integer(op, "window"));
      double seen = number(shape.depth) + (each + 1) / 2, held = number(shape.depth) + each;
      if (window > 0) {
        seen = std::min(seen, window);
        held = std::min(held, window + each);
      }
      cost.float_operations = 2 * number(shape.rows) * seen * static_cast<double>(program.integer(op, "heads")) * number(kv.head_dim_k + kv.head_dim_v);
      const kernels::KvShape layer{shape.kv_type, kv.kv_heads, kv.head_dim_k, kv.head_dim_v};
      cost.bytes = number(shape.sequences) * held * number(kernels::kv_page_bytes(layer)) / kernels::kPageTokens;
      break;
    }
    case OpCode::kSsmScan: {
      // A state element and token: decay (a product and the exponential's 8 multiply-adds), update and output.
      const double elements = number(value("state").floats);
      cost.float_operations = number(shape.rows) * elements * 22;
      cost.bytes = number(shape.sequences) * elements * 4 * 2 + number(value("a").bytes);
      break;
    }
    case OpCode::kConv1d: cost.bytes = number(shape.sequences) * number(value("state").floats) * 4 * 2 + number(value("weight").bytes); break;
    default: break;
  }
  return cost;
}

Cost cost_of(const Program& program, const StepShape& shape) {
  Cost cost;
  for (const Op& op : program.ops) cost += cost_of(program, op, shape);
  return cost;
}

double shortest_seconds(const Program& program, const StepShape& shape, const Limits& limits, bool by_cpu) {
  double seconds = 0;
  for (const Op& op : program.ops) seconds += cost_of(program, op, shape).seconds(limits, by_cpu);
  return seconds;
}

}  // namespace sluice::cli
