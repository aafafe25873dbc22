#include "program/builder.h"

#include "base/check.h"

namespace sluice::program {
namespace {
Attribute integer(uint64_t value) { return {static_cast<int64_t>(value), 0}; }
Attribute number(double value) { return {0, value}; }
}  // namespace

ValueId Builder::add_value(Value value, const char* prefix) {
  const ValueId id = static_cast<ValueId>(program_.values.size());
  value.name = prefix + std::to_string(id);
  program_.values.push_back(std::move(value));
  return id;
}

ValueId Builder::add_weight(Value value, const Source& source) {
  SLUICE_CHECK(!source.names.empty());
  value.kind = ValueKind::kWeight;
  value.sources = source.names;
  value.source_row = source.row;
  value.source_rows = source.rows_total ? source.rows_total : value.n;
  std::vector<ValueId>& same_source = weights_of_[value.sources.front()];
  for (const ValueId id : same_source) {
    const Value& other = program_.values[id];
    if (other.form == value.form && other.sources == value.sources && other.source_row == value.source_row && other.n == value.n &&
        other.k == value.k && other.transform == value.transform) {
      return id;
    }
  }
  same_source.push_back(static_cast<ValueId>(program_.values.size()));
  return add_value(std::move(value), "w");
}

ValueId Builder::matrix(const Source& source, uint64_t n, uint64_t k, uint64_t count) {
  Value value;
  value.form = WeightForm::kMatrix;
  value.n = n;
  value.k = k;
  value.count = count;
  return add_weight(std::move(value), source);
}

ValueId Builder::vector(const Source& source, uint64_t n, WeightTransform transform) {
  Value value;
  value.form = WeightForm::kVector;
  value.n = n;
  value.k = 1;
  value.transform = transform;
  return add_weight(std::move(value), source);
}

ValueId Builder::conv_weight(const Source& source, uint64_t channels, uint64_t taps) {
  Value value;
  value.form = WeightForm::kConv;
  value.n = channels;
  value.k = taps;
  return add_weight(std::move(value), source);
}

ValueId Builder::scan_a(const Source& source, uint64_t channels, uint64_t states, WeightTransform transform) {
  Value value;
  value.form = WeightForm::kScanA;
  value.n = channels;
  value.k = states;
  value.transform = transform;
  return add_weight(std::move(value), source);
}

ValueId Builder::frequencies(std::vector<double> radians_per_position, const std::string& divisors) {
  std::vector<std::string> sources;
  if (!divisors.empty()) sources.push_back(divisors);
  for (ValueId id = 0; id < program_.values.size(); ++id) {
    const Value& other = program_.values[id];
    if (other.form == WeightForm::kFrequencies && other.literals == radians_per_position && other.sources == sources) return id;
  }
  Value value;
  value.kind = ValueKind::kWeight;
  value.form = WeightForm::kFrequencies;
  value.n = radians_per_position.size();
  value.k = 1;
  value.source_rows = value.n;
  value.literals = std::move(radians_per_position);
  value.source_rows = sources.empty() ? 0 : value.n;
  value.sources = std::move(sources);
  return add_value(std::move(value), "w");
}

ValueId Builder::state(uint64_t floats) {
  Value value;
  value.kind = ValueKind::kState;
  value.floats = floats;
  return add_value(std::move(value), "s");
}

ValueId Builder::kv(uint32_t heads, uint32_t head_dim_k, uint32_t head_dim_v) {
  Value value;
  value.kind = ValueKind::kKv;
  value.kv_heads = heads;
  value.head_dim_k = head_dim_k;
  value.head_dim_v = head_dim_v;
  return add_value(std::move(value), "kv");
}

ValueId Builder::activation(uint64_t width, RowSpace rows, uint32_t slots, Element element) {
  Value value;
  value.kind = ValueKind::kActivation;
  value.width = width;
  value.rows = rows;
  value.slots = slots;
  value.element = element;
  return add_value(std::move(value), "v");
}

ValueId Builder::like(ValueId x) {
  const Value& value = program_.values[x];
  return activation(value.width, value.rows, value.slots, value.element);
}

void Builder::op(OpCode code, std::vector<ValueId> operands, std::vector<Attribute> attributes) {
  program_.ops.push_back({code, std::move(operands), std::move(attributes), label_});
}

ValueId Builder::embed(ValueId table, double factor) {
  const ValueId out = activation(value(table).k);
  op(OpCode::kEmbed, {table, out}, {number(factor)});
  return out;
}

ValueId Builder::rmsnorm(ValueId x, ValueId weight, double epsilon, uint64_t groups) {
  const ValueId out = like(x);
  op(OpCode::kRmsNorm, {x, weight, out}, {number(epsilon), integer(groups)});
  return out;
}

ValueId Builder::matmul(ValueId x, ValueId weight, ValueId bias) {
  const ValueId out = activation(value(weight).n, value(x).rows, value(x).slots);
  op(OpCode::kMatmul, {x, weight, bias, kNoValue, out});
  return out;
}

ValueId Builder::rope_table(ValueId frequencies, double magnitude) {
  const ValueId out = activation(2 * value(frequencies).n);
  op(OpCode::kRopeTable, {frequencies, out}, {number(magnitude)});
  return out;
}

ValueId Builder::rope(ValueId table, ValueId x, uint64_t heads, uint64_t head_dim, bool interleaved) {
  const ValueId out = like(x);
  op(OpCode::kRope, {table, x, out}, {integer(heads), integer(head_dim), integer(interleaved)});
  return out;
}

void Builder::kv_write(ValueId k, ValueId v, ValueId kv) { op(OpCode::kKvWrite, {k, v, kv}); }

ValueId Builder::attention(ValueId q, ValueId kv, uint64_t heads, double factor, double cap, uint64_t window) {
  const ValueId out = activation(heads * value(kv).head_dim_v);
  op(OpCode::kAttention, {q, kv, out}, {integer(heads), number(factor), number(cap), integer(window)});
  return out;
}

ValueId Builder::conv1d(ValueId x, ValueId weight, ValueId bias, bool silu) {
  const ValueId history = state((value(weight).k - 1) * round_up(value(weight).n, 16));
  const ValueId out = like(x);
  op(OpCode::kConv1d, {x, weight, bias, history, out}, {integer(silu)});
  return out;
}

ValueId Builder::ssm_scan(ValueId x, ValueId dt, ValueId b, ValueId c, ValueId z, ValueId a, ValueId d, uint64_t states) {
  const ValueId h = state(round_up(value(x).width, 16) * states);
  const ValueId out = like(x);
  op(OpCode::kSsmScan, {x, dt, b, c, z, a, d, h, out});
  return out;
}

ValueId Builder::glu(ValueId gate, ValueId up, int activation_code) {
  const ValueId out = like(gate);
  op(OpCode::kGlu, {gate, up, out}, {integer(static_cast<uint64_t>(activation_code))});
  return out;
}

ValueId Builder::add(ValueId a, ValueId b) {
  const ValueId out = like(a);
  op(OpCode::kAdd, {a, b, out});
  return out;
}

ValueId Builder::scale(ValueId x, double factor) {
  const ValueId out = like(x);
  op(OpCode::kScale, {x, out}, {number(factor)});
  return out;
}

ValueId Builder::softcap(ValueId x, double cap) {
  const ValueId out = like(x);
  op(OpCode::kSoftcap, {x, out}, {number(cap)});
  return out;
}

std::pair<ValueId, ValueId> Builder::moe_topk(ValueId logits, uint64_t k, bool renormalize) {
  const ValueId ids = activation(k, RowSpace::kStep, 1, Element::kI32);
  const ValueId weights = activation(k);
  op(OpCode::kMoeTopk, {logits, ids, weights}, {integer(k), integer(renormalize)});
  return {ids, weights};
}

ValueId Builder::moe_matmul(ValueId x, ValueId ids, ValueId weight) {
  const ValueId out = activation(value(weight).n, RowSpace::kSlots, static_cast<uint32_t>(value(ids).width));
  op(OpCode::kMoeMatmul, {x, ids, weight, out});
  return out;
}

ValueId Builder::moe_combine(ValueId y, ValueId weights) {
  const ValueId out = activation(value(y).width);
  op(OpCode::kMoeCombine, {y, weights, kNoValue, out});
  return out;
}

ValueId Builder::select_rows(ValueId x) {
  const ValueId out = activation(value(x).width, RowSpace::kLogits);
  op(OpCode::kSelectRows, {x, out});
  return out;
}

void Builder::observe(ValueId x, uint64_t index) { op(OpCode::kObserve, {x}, {integer(index)}); }

Program Builder::finish(ValueId logits) {
  SLUICE_CHECK(logits < program_.values.size());
  program_.logits = logits;
  return std::move(program_);
}

}  // namespace sluice::program
