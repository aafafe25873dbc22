#include "lpu/work.h"

#include <algorithm>
#include <charconv>
#include <numeric>

namespace sluice::lpu {
namespace {

using program::Op;
using program::OpCode;
using program::OperandRole;
using program::Program;
using program::Value;
using program::ValueKind;

constexpr uint64_t kVectorWeightBytes = 2;  // norms, biases, convolutions, scan parameters
constexpr uint64_t kKvElementBytes = 2;
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

class Lowering {
 public:
  Lowering(const Program& program, const WorkOptions& options) : program_(program), options_(options) {
    out_.name = program.facts.name.empty() ? program.facts.family : program.facts.name;
    out_.layers = std::max<uint64_t>(program.facts.layers, 1);
    out_.bits = options.bits;
    out_.context = options.context;
    out_.users = options.users;
    out_.params_total = program.facts.params_total;
    out_.params_active = program.facts.params_active;
    out_.elements.resize(program.values.size());
    for (size_t i = 0; i < program.values.size(); ++i) out_.elements[i] = elements(program.values[i]);
    resident_.resize(program.values.size());
  }

  Workload take() {
    for (const Op& op : program_.ops) {
      // Cosines and sines of a position: every chip makes its own, ahead of the token.
      if (op.code == OpCode::kObserve || op.code == OpCode::kRopeTable) continue;
      lower(op);
    }
    return std::move(out_);
  }

 private:
  static uint64_t elements(const Value& value) { return value.kind == ValueKind::kActivation ? value.width * value.slots : 0; }

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
    const uint64_t elements = value.n * std::max<uint64_t>(value.k, 1) * value.count;
    if (value.form == program::WeightForm::kFrequencies) return 0;
    return value.form == program::WeightForm::kMatrix ? elements * static_cast<uint64_t>(options_.bits) / 8 : elements * kVectorWeightBytes;
  }

  void add_weight(Work& work, uint32_t id) {
    if (resident_[id]) {  // a tied head computes where the table lies
      work.layer = 0;
      return;
    }
    resident_[id] = true;
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
    const uint64_t outputs = work.writes.empty() ? 0 : out_.elements[work.writes[0]];
    work.vector_ops = outputs * vector_ops_per_element(op.code);
    lower_kind(op, work);
    out_.ops.push_back(std::move(work));
  }

  void lower_kind(const Op& op, Work& work) {
    switch (op.code) {
      case OpCode::kMatmul:
      case OpCode::kMoeMatmul: lower_matmul(op, work); break;
      case OpCode::kAttention: lower_attention(op, work); break;
      case OpCode::kSsmScan: {
        const Value& a = program_.value(program_.operand(op, "a"));
        work.gathers = {program_.operand(op, "b"), program_.operand(op, "c")};
        work.vector_ops = a.n * a.k * 10;  // exp(dt a), two multiply-adds, the sum over states
        break;
      }
      case OpCode::kMoeTopk:
        work.whole = true;
        work.gathers = work.reads;
        work.vector_ops = out_.elements[work.reads[0]] * 8;
        break;
      case OpCode::kMoeCombine: work.vector_ops = out_.elements[work.reads[0]] * 2; break;
      case OpCode::kKvWrite: work.vector_ops = out_.elements[work.reads[0]] + out_.elements[work.reads[1]]; break;
      default: break;
    }
  }

  void lower_matmul(const Op& op, Work& work) {
    const Value& weight = program_.value(program_.operand(op, "weight"));
    work.kind = Kind::kMatmul;
    work.n = weight.n;
    work.k = weight.k;
    work.count = weight.count;
    if (op.code == OpCode::kMoeMatmul) work.uses = program_.value(program_.operand(op, "ids")).width;
    work.macs = work.n * work.k * work.uses;
    work.read_bytes = work.macs * static_cast<uint64_t>(options_.bits) / 8;
  }

  void lower_attention(const Op& op, Work& work) {
    const Value& kv = program_.value(program_.operand(op, "kv"));
    const auto heads = static_cast<uint64_t>(program_.integer(op, "heads"));
    const auto window = static_cast<uint64_t>(program_.integer(op, "window"));
    work.kind = Kind::kAttention;
    work.count = kv.kv_heads;
    work.m = heads / std::max<uint64_t>(kv.kv_heads, 1);
    work.k = kv.head_dim_k;
    work.n = kv.head_dim_v;
    work.context = window ? std::min(window, options_.context) : options_.context;
    const uint64_t per_token = kv.kv_heads * (kv.head_dim_k + kv.head_dim_v);
    work.kv_bytes = per_token * kKvElementBytes * work.context * options_.users;
    work.read_bytes = per_token * kKvElementBytes * work.context;
    work.macs = heads * (kv.head_dim_k + kv.head_dim_v) * work.context;
    work.vector_ops = heads * work.context * 8;
  }

  const Program& program_;
  const WorkOptions& options_;
  Workload out_;
  std::vector<bool> resident_;
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

  uint32_t value(uint64_t width) {
    out.elements.push_back(width * tokens);
    return static_cast<uint32_t>(out.elements.size() - 1);
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
    const uint32_t qkv = b.matmul("qkv", {x}, s.hidden, 3 * s.hidden);
    Work attend{.label = "attention", .name = "attention", .kind = Kind::kAttention, .layer = b.layer, .m = s.tokens, .n = dim, .k = dim, .count = s.heads};
    attend.context = s.tokens;
    attend.macs = s.tokens * s.tokens * s.hidden * 2;
    attend.vector_ops = s.heads * s.tokens * s.tokens * 8;
    const uint32_t attended = b.push(std::move(attend), {qkv}, s.hidden);
    x = b.local("norm", b.matmul("out", {attended, x}, s.hidden, s.hidden), s.hidden, 4);
    const uint32_t inner = b.local("gelu", b.matmul("ffn1", {x}, s.hidden, s.inner), s.inner, 8);
    x = b.local("norm", b.matmul("ffn2", {inner, x}, s.inner, s.hidden), s.hidden, 4);
  }
  return std::move(b.out);
}

}  // namespace sluice::lpu
