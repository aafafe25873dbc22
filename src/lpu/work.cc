#include "lpu/work.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "kernels/matmul/matmul.h"

namespace sluice::lpu {
namespace {

using program::Op;
using program::OpCode;
using program::OperandRole;
using program::Program;
using program::Value;
using program::ValueKind;

constexpr uint64_t kVectorWeightBytes = 2;  // norms, biases, convolutions, scan parameters
constexpr uint64_t kExactBytes = 4;
constexpr uint64_t kChannelGranule = 16;    // of convolution and scan, and of outputs whose weights are blocks
constexpr uint64_t kStateElementBytes = 4;

// Vector-unit operations an output element; exp counts as 4. Assumptions, listed in docs/lpu.md.
uint64_t vector_ops_per_element(OpCode code) {
  switch (code) {
    case OpCode::kRmsNorm: return 4;
    case OpCode::kQuantize: return 2;
    case OpCode::kRope: return 3;
    case OpCode::kGlu: return 8;
    case OpCode::kSoftcap: return 8;
    case OpCode::kMoeTopk: return 8;
    case OpCode::kConv1d: return 14;
    default: return 1;
  }
}

// Activations of which an op needs, for a column of its output, the same column only.
std::vector<uint32_t> aligned_columns(const Program& program, const Op& op) {
  std::vector<uint32_t> out;
  const auto specs = program::schema(op.code).operands;
  for (size_t i = 0; i < specs.size(); ++i) {
    const std::string_view name = specs[i].name;
    const bool activation = op.operands[i] != program::kNoValue && program.value(op.operands[i]).kind == ValueKind::kActivation;
    bool aligned = name == "out" || name == "addend";
    switch (op.code) {
      case OpCode::kEmbed:
      case OpCode::kMatmul:
      case OpCode::kMoeMatmul: break;
      case OpCode::kMoeCombine: aligned |= name == "y"; break;
      case OpCode::kRmsNorm: aligned = program.integer(op, "groups") > 1; break;
      case OpCode::kRope:
      case OpCode::kConv1d:
      case OpCode::kSsmScan: aligned |= name == "x" || name == "dt" || name == "z"; break;
      case OpCode::kGlu:
      case OpCode::kAdd:
      case OpCode::kScale:
      case OpCode::kSoftcap:
      case OpCode::kSelectRows: aligned = true; break;
      default: aligned = false;
    }
    if (activation && aligned) out.push_back(op.operands[i]);
  }
  return out;
}

bool has_blocks(const Value& weight) { return kernels::activation_format(weight.dtype) == kernels::ActivationFormat::kQ8; }

// Words of 32 bits of an activation's row.
uint64_t row_words(const Value& value) {
  return value.element == program::Element::kQ8 ? value.width / 32 * (sizeof(kernels::QuantizedGroup) / 4) : value.width;
}

// Of an exact schedule: as wide as the widest matrices.
int exact_bits(const Program& program) {
  int bits = 8;
  for (const Op& op : program.ops) {
    const bool matrix = op.code == OpCode::kMatmul || op.code == OpCode::kMoeMatmul;
    if (matrix && !has_blocks(program.value(program.operand(op, "weight")))) bits = 8 * static_cast<int>(kExactBytes);
  }
  return bits;
}

class Lowering {
 public:
  Lowering(const Program& program, const WorkOptions& options) : program_(program), options_(options) {
    out_.name = program.facts.name.empty() ? program.facts.family : program.facts.name;
    out_.layers = std::max<uint64_t>(program.facts.layers, 1);
    out_.bits = options.exact ? exact_bits(program) : options.bits;
    out_.exact = options.exact;
    out_.context = options.context;
    out_.users = options.users;
    out_.params_total = program.facts.params_total;
    out_.params_active = program.facts.params_active;
    for (const Value& value : program.values) {
      const bool activation = value.kind == ValueKind::kActivation;
      out_.values.push_back(activation ? ValueShape{.width = row_words(value), .slots = value.slots, .strict = options.exact} : ValueShape{});
    }
    home_.assign(program.values.size(), kNone);
  }

  Workload take() {
    set_granules();
    for (const Op& op : program_.ops) {
      // Cosines and sines of a position: every chip makes its own, ahead of the token.
      if (op.code == OpCode::kObserve || op.code == OpCode::kRopeTable) continue;
      lower(op);
      out_.ops.back().source = static_cast<uint32_t>(&op - program_.ops.data());
    }
    return std::move(out_);
  }

 private:
  uint64_t elements(uint32_t id) const { return out_.values[id].elements(); }

  // Values that an op reads and writes column by column are cut alike; what must stay together anywhere stays together in all of them.
  void set_granules() {
    std::vector<uint32_t> parent(program_.values.size());
    std::iota(parent.begin(), parent.end(), 0u);
    const auto root = [&](uint32_t id) {
      while (parent[id] != id) id = parent[id] = parent[parent[id]];
      return id;
    };
    const auto need = [&](uint32_t id, uint64_t granule) {
      uint64_t& have = out_.values[root(id)].granule;
      have = std::lcm(have, granule);
    };
    for (const Op& op : program_.ops) {
      const std::vector<uint32_t> aligned = aligned_columns(program_, op);
      for (const uint32_t id : aligned) {
        const uint32_t first = root(aligned[0]), other = root(id);
        need(first, out_.values[other].granule);
        parent[other] = first;
      }
      const auto integer = [&](const char* name) { return static_cast<uint64_t>(program_.integer(op, name)); };
      switch (op.code) {
        case OpCode::kRope: need(program_.operand(op, "x"), integer("head_dim")); break;
        case OpCode::kRmsNorm:
          if (integer("groups") > 1) need(program_.operand(op, "x"), program_.value(program_.operand(op, "x")).width / integer("groups"));
          break;
        case OpCode::kConv1d:
        case OpCode::kSsmScan:
          if (options_.exact) need(program_.operand(op, "x"), kChannelGranule);
          break;
        case OpCode::kMatmul:
        case OpCode::kMoeMatmul:
          if (options_.exact && has_blocks(program_.value(program_.operand(op, "weight")))) need(program_.operand(op, "out"), kChannelGranule);
          break;
        case OpCode::kKvWrite:
          need(program_.operand(op, "k"), program_.value(program_.operand(op, "kv")).head_dim_k);
          need(program_.operand(op, "v"), program_.value(program_.operand(op, "kv")).head_dim_v);
          break;
        case OpCode::kAttention: {
          const Value& kv = program_.value(program_.operand(op, "kv"));
          need(program_.operand(op, "q"), integer("heads") / kv.kv_heads * kv.head_dim_k);
          need(program_.operand(op, "out"), integer("heads") / kv.kv_heads * kv.head_dim_v);
          break;
        }
        default: break;
      }
    }
    for (uint32_t id = 0; id < parent.size(); ++id) out_.values[id].granule = out_.values[root(id)].granule;
  }

  uint32_t layer_of(const std::string& label) const {
    uint32_t layer = 0;
    if (label.starts_with("blk.")) std::from_chars(label.data() + 4, label.data() + label.size(), layer);
    if (label == "head") layer = static_cast<uint32_t>(out_.layers - 1);
    return std::min(layer, static_cast<uint32_t>(out_.layers - 1));
  }

  bool is_position_table(uint32_t id) const {
    for (const Op& op : program_.ops) {
      if (op.code == OpCode::kRopeTable && op.operands.back() == id) return true;
      if (op.code != OpCode::kRopeTable && op.code != OpCode::kEmbed && op.code != OpCode::kScale) break;
    }
    return false;
  }

  uint64_t weight_bytes(const Value& value) const {
    const uint64_t elements = (value.form == program::WeightForm::kVector ? value.n : value.n * std::max<uint64_t>(value.k, 1)) * value.count;
    if (value.form == program::WeightForm::kFrequencies) return 0;
    if (options_.exact && value.form == program::WeightForm::kMatrix && has_blocks(value)) {
      return kernels::packed_bytes(value.dtype, value.n, value.k) * value.count;
    }
    if (options_.exact) return elements * kExactBytes;
    return value.form == program::WeightForm::kMatrix ? elements * static_cast<uint64_t>(options_.bits) / 8 : elements * kVectorWeightBytes;
  }

  void add_weight(Work& work, uint32_t id) {
    if (home_[id] != kNone) {  // a tied head computes where the table lies
      work.layer = 0;
      work.home = home_[id];
      return;
    }
    home_[id] = static_cast<uint32_t>(out_.ops.size());
    work.weight_bytes += weight_bytes(program_.value(id));
  }

  void lower(const Op& op) {
    Work work;
    work.label = op.label;
    work.name = program::schema(op.code).name;
    work.layer = layer_of(op.label);
    const auto specs = program::schema(op.code).operands;
    for (size_t i = 0; i < specs.size(); ++i) {
      const uint32_t id = op.operands[i];
      if (id == program::kNoValue) continue;
      const Value& value = program_.value(id);
      switch (specs[i].role) {
        case OperandRole::kOut: work.writes.push_back(id); break;
        case OperandRole::kWeight:
        case OperandRole::kOptionalWeight: add_weight(work, id); break;
        case OperandRole::kState:
          work.state_bytes += value.floats * kStateElementBytes * options_.users;
          work.state_traffic += 2 * value.floats * kStateElementBytes;
          break;
        case OperandRole::kKv: (op.code == OpCode::kKvWrite ? work.writes : work.reads).push_back(id); break;
        default:
          if (!is_position_table(id)) work.reads.push_back(id);
      }
    }
    const uint64_t outputs = work.writes.empty() ? 0 : elements(work.writes[0]);
    work.vector_ops = outputs * vector_ops_per_element(op.code);
    lower_kind(op, work);
    out_.ops.push_back(std::move(work));
  }

  void lower_kind(const Op& op, Work& work) {
    switch (op.code) {
      case OpCode::kMatmul:
      case OpCode::kMoeMatmul: lower_matmul(op, work); break;
      case OpCode::kAttention: lower_attention(op, work); break;
      case OpCode::kEmbed: {
        const Value& table = program_.value(program_.operand(op, "table"));
        const bool blocks = options_.exact && has_blocks(table);  // rows of blocks lie on one chip
        work.n = table.n;
        work.one_row = blocks || head_shares(program_.operand(op, "table"));
        work.row_granule = blocks ? kChannelGranule : 1;
        break;
      }
      case OpCode::kRope: work.heads = true; break;
      case OpCode::kRmsNorm:
        work.replicated = work.heads = program_.integer(op, "groups") > 1;  // of heads: each on its chip
        if (work.replicated) break;
        work.whole = true;
        work.gathers = work.reads;
        break;
      case OpCode::kQuantize:
        work.whole = true;  // 16 numbers share a scale: every chip makes all of them
        work.gathers = work.reads;
        break;
      case OpCode::kSsmScan: {
        const Value& a = program_.value(program_.operand(op, "a"));
        work.gathers = {program_.operand(op, "b"), program_.operand(op, "c")};
        work.vector_ops = a.n * a.k * 10;  // exp(dt a), two multiply-adds, the sum over states
        break;
      }
      case OpCode::kMoeTopk:
        work.whole = true;
        work.gathers = work.reads;
        work.vector_ops = elements(work.reads[0]) * 8;
        break;
      case OpCode::kMoeCombine:
        work.vector_ops = elements(work.reads[0]) * 2;
        work.gathers = {program_.operand(op, "weights")};
        break;
      case OpCode::kKvWrite:
        work.heads = true;
        work.vector_ops = elements(work.reads[0]) + elements(work.reads[1]);
        break;
      default: break;
    }
  }

  void lower_matmul(const Op& op, Work& work) {
    const Value& weight = program_.value(program_.operand(op, "weight"));
    work.kind = Kind::kMatmul;
    work.n = weight.n;
    work.k = weight.k;
    work.count = weight.count;
    if (op.code == OpCode::kMoeMatmul) {
      work.uses = program_.value(program_.operand(op, "ids")).width;
      work.gathers = {program_.operand(op, "ids")};
    }
    work.macs = work.n * work.k * work.uses;
    work.read_bytes = work.macs * static_cast<uint64_t>(out_.bits) / 8;
  }

  void lower_attention(const Op& op, Work& work) {
    const Value& kv = program_.value(program_.operand(op, "kv"));
    const auto heads = static_cast<uint64_t>(program_.integer(op, "heads"));
    const auto window = static_cast<uint64_t>(program_.integer(op, "window"));
    work.kind = Kind::kAttention;
    work.heads = true;
    work.count = kv.kv_heads;
    work.m = heads / std::max<uint64_t>(kv.kv_heads, 1);
    work.k = kv.head_dim_k;
    work.n = kv.head_dim_v;
    work.context = window ? std::min(window, options_.context) : options_.context;
    const uint64_t per_token = kv.kv_heads * (kv.head_dim_k + kv.head_dim_v);
    work.kv_bytes = per_token * out_.cache_bytes() * work.context * options_.users;
    work.read_bytes = per_token * out_.cache_bytes() * work.context;
    work.macs = heads * (kv.head_dim_k + kv.head_dim_v) * work.context;
    work.vector_ops = heads * work.context * 8;
  }

  bool head_shares(uint32_t table) const {
    return std::any_of(program_.ops.begin(), program_.ops.end(), [&](const Op& op) {
      return op.code == OpCode::kMatmul && program_.operand(op, "weight") == table;
    });
  }

  const Program& program_;
  const WorkOptions& options_;
  Workload out_;
  std::vector<uint32_t> home_;  // op that a weight lies at, of each value
};

uint64_t sum(const Workload& w, uint64_t Work::*field) {
  return std::accumulate(w.ops.begin(), w.ops.end(), uint64_t{0}, [&](uint64_t total, const Work& op) { return total + op.*field; });
}

}  // namespace

uint64_t Workload::weight_bytes() const { return sum(*this, &Work::weight_bytes); }
uint64_t Workload::kv_bytes() const { return sum(*this, &Work::kv_bytes); }
uint64_t Workload::state_bytes() const { return sum(*this, &Work::state_bytes); }
uint64_t Workload::macs() const { return sum(*this, &Work::macs); }
uint64_t Workload::read_bytes() const { return sum(*this, &Work::read_bytes); }

Workload workload_of(const program::Program& program, const WorkOptions& options) { return Lowering(program, options).take(); }

namespace {

struct EncoderBuilder {
  Workload out;
  uint64_t tokens;
  uint32_t layer = 0;

  uint64_t granule = 1;  // of the next values: parts of heads

  uint32_t value(uint64_t width) {
    out.values.push_back({.width = width, .slots = tokens, .granule = granule});
    return static_cast<uint32_t>(out.values.size() - 1);
  }
  uint32_t matmul(const char* name, std::vector<uint32_t> reads, uint64_t k, uint64_t n) {
    Work w{.label = name, .name = "matmul", .kind = Kind::kMatmul, .layer = layer, .m = tokens, .n = n, .k = k};
    w.weight_bytes = w.read_bytes = n * k * static_cast<uint64_t>(out.bits) / 8;
    w.macs = n * k * tokens;
    return push(std::move(w), std::move(reads), n);
  }
  uint32_t local(const char* name, uint32_t read, uint64_t width, uint64_t cost) {
    Work w{.label = name, .name = name, .layer = layer};
    w.vector_ops = width * tokens * cost;
    return push(std::move(w), {read}, width);
  }
  uint32_t push(Work w, std::vector<uint32_t> reads, uint64_t width) {
    w.reads = std::move(reads);
    w.writes = {value(width)};
    out.ops.push_back(std::move(w));
    return out.ops.back().writes[0];
  }
};

}  // namespace

Workload encoder_workload(const EncoderShape& s, int bits) {
  EncoderBuilder b{.tokens = s.tokens};
  b.out.name = "encoder";
  b.out.layers = s.layers;
  b.out.bits = bits;
  b.out.context = s.tokens;
  uint32_t x = b.local("embed", b.value(s.hidden), s.hidden, 1);
  b.out.ops.back().reads.clear();
  const uint64_t dim = s.hidden / s.heads;
  for (b.layer = 0; b.layer < s.layers; ++b.layer) {
    b.granule = 3 * dim;
    const uint32_t qkv = b.matmul("qkv", {x}, s.hidden, 3 * s.hidden);
    Work attend{.label = "attention", .name = "attention", .kind = Kind::kAttention, .layer = b.layer, .m = s.tokens, .n = dim, .k = dim, .count = s.heads};
    attend.heads = true;
    attend.context = s.tokens;
    attend.macs = s.tokens * s.tokens * s.hidden * 2;
    attend.vector_ops = s.heads * s.tokens * s.tokens * 8;
    b.granule = dim;
    const uint32_t attended = b.push(std::move(attend), {qkv}, s.hidden);
    b.granule = 1;
    x = b.local("norm", b.matmul("out", {attended, x}, s.hidden, s.hidden), s.hidden, 4);
    const uint32_t inner = b.local("gelu", b.matmul("ffn1", {x}, s.hidden, s.inner), s.inner, 8);
    x = b.local("norm", b.matmul("ffn2", {inner, x}, s.inner, s.hidden), s.hidden, 4);
  }
  return std::move(b.out);
}

}  // namespace sluice::lpu
