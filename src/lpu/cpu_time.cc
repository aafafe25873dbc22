#include "lpu/cpu_time.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::lpu {
namespace {

using program::OpCode;
using program::Value;

double as(uint64_t v) { return static_cast<double>(v); }

double rows_of(const Value& value, const CpuStep& step) {
  switch (value.rows) {
    case program::RowSpace::kStep: return as(step.rows);
    case program::RowSpace::kLogits: return 1;
    case program::RowSpace::kSlots: return as(step.rows * value.slots);
  }
  return 0;
}

}  // namespace

std::string op_kind(const program::Program& program, const program::Op& op) {
  if (op.code != OpCode::kMatmul && op.code != OpCode::kMoeMatmul) return std::string(program::schema(op.code).name);
  return fmt::format("matmul {}", info(program.value(program.operand(op, "weight")).dtype).name);
}

double op_units(const program::Program& program, const program::Op& op, const CpuStep& step) {
  const auto value = [&](const char* name) -> const Value& { return program.value(program.operand(op, name)); };
  const auto elements = [&](const char* name) { return as(value(name).width) * rows_of(value(name), step); };
  switch (op.code) {
    case OpCode::kMatmul: return elements("out") * as(value("weight").k);
    case OpCode::kMoeMatmul: return elements("out") * as(value("weight").k);
    case OpCode::kAttention: {
      const auto window = static_cast<double>(program.integer(op, "window"));
      const double seen = as(step.depth) + (as(step.rows) + 1) / 2;
      return elements("q") * (window > 0 ? std::min(seen, window) : seen);
    }
    case OpCode::kConv1d: return elements("x") * as(value("weight").k);
    case OpCode::kSsmScan: return elements("x") * as(value("a").k);
    case OpCode::kGlu: return elements("gate");
    case OpCode::kAdd: return elements("a");
    case OpCode::kKvWrite: return elements("k") + elements("v");
    case OpCode::kMoeTopk: return elements("logits");
    case OpCode::kMoeCombine: return elements("y");
    case OpCode::kEmbed:
    case OpCode::kRopeTable:
    case OpCode::kSelectRows: return elements("out");
    default: return elements("x");
  }
}

// Least squares of (base + unit * u) / s - 1.
CpuRate fit_rate(const std::vector<CpuSample>& samples) {
  double n = 0, a = 0, aa = 0, b = 0, bb = 0, ab = 0;  // sums over a = 1 / s and b = u / s
  for (const CpuSample& s : samples) {
    if (s.seconds <= 0) continue;
    const double x = 1 / s.seconds, y = s.units / s.seconds;
    n += 1;
    a += x;
    aa += x * x;
    b += y;
    bb += y * y;
    ab += x * y;
  }
  if (n == 0) return {};
  const double determinant = aa * bb - ab * ab;
  CpuRate rate;
  if (determinant > 1e-9 * aa * bb) {
    rate.base_s = (a * bb - b * ab) / determinant;
    rate.unit_s = (b * aa - a * ab) / determinant;
  }
  if (determinant > 1e-9 * aa * bb && rate.base_s >= 0 && rate.unit_s >= 0) return rate;
  if (rate.unit_s < 0) return {a / aa, 0};
  return {0, b / bb};
}

Result<double> predict_seconds(const program::Program& program, const CpuStep& step, const CpuRates& rates) {
  double seconds = rates.walk_s * as(program.ops.size());
  for (const program::Op& op : program.ops) {
    const auto it = rates.of_kind.find(op_kind(program, op));
    if (it == rates.of_kind.end()) return Error{fmt::format("no rate was measured for {}", op_kind(program, op))};
    seconds += it->second.base_s + it->second.unit_s * op_units(program, op, step);
  }
  return seconds;
}

}  // namespace sluice::lpu
