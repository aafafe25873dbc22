#include "program/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "base/limits.h"

namespace sluice::program {
namespace {

using enum OperandRole;

ValueKind kind_for(OperandRole role) {
  switch (role) {
    case kWeight:
    case kOptionalWeight: return ValueKind::kWeight;
    case kState: return ValueKind::kState;
    case kKv: return ValueKind::kKv;
    default: return ValueKind::kActivation;
  }
}

bool is_optional(OperandRole role) { return role == kOptional || role == kAddend || role == kOptionalWeight; }

Error at(const Op& op, size_t index, std::string what) {
  return Error{fmt::format("program: op {} ({}, {}): {}", index, schema(op.code).name, op.label, what)};
}

Status verify_value(const Value& value) {
  const auto bad = [&](std::string_view what, uint64_t got, uint64_t limit) {
    return Error{fmt::format("program: value {}: {} is {}, must be 1 to {}", value.name, what, got, limit)};
  };
  const auto within = [](uint64_t got, uint64_t limit) { return got >= 1 && got <= limit; };
  switch (value.kind) {
    case ValueKind::kActivation:
      if (!within(value.width, limits::kDimensionMax)) return bad("width", value.width, limits::kDimensionMax);
      if (!within(value.slots, limits::kExpertsMax)) return bad("slots", value.slots, limits::kExpertsMax);
      if ((value.rows != RowSpace::kSlots) && value.slots != 1) return bad("slots", value.slots, 1);
      break;
    case ValueKind::kWeight:
      if (!within(value.n, limits::kDimensionMax)) return bad("n", value.n, limits::kDimensionMax);
      if (!within(value.k, limits::kDimensionMax)) return bad("k", value.k, limits::kDimensionMax);
      if (!within(value.count, limits::kExpertsMax)) return bad("count", value.count, limits::kExpertsMax);
      if (value.form == WeightForm::kMatrix && value.k % info(value.dtype).block_elements != 0) {
        return Error{fmt::format("program: weight {}: rows of {} elements do not divide into {} blocks of {}", value.name, value.k,
                                 info(value.dtype).name, info(value.dtype).block_elements)};
      }
      break;
    case ValueKind::kState:
      if (!within(value.floats, 1ull << 32)) return bad("floats", value.floats, 1ull << 32);
      break;
    case ValueKind::kKv:
      if (!within(value.kv_heads, 65536)) return bad("kv heads", value.kv_heads, 65536);
      if (!within(value.head_dim_k, 65536)) return bad("key head dimension", value.head_dim_k, 65536);
      if (!within(value.head_dim_v, 65536)) return bad("value head dimension", value.head_dim_v, 65536);
      break;
  }
  return {};
}

bool same_rows(const Value& a, const Value& b) { return a.rows == b.rows && a.slots == b.slots; }
bool same_shape(const Value& a, const Value& b) { return a.width == b.width && same_rows(a, b) && a.element == b.element; }
bool is_vector(const Value* w, uint64_t n) { return w == nullptr || (w->form == WeightForm::kVector && w->n == n); }

// The shape rule of each op: empty when the operands fit, else what is wrong.
class Shapes {
 public:
  Shapes(const Program& program, const Op& op) : program_(program), op_(op) {}

  std::string check() const {
    switch (op_.code) {
      case OpCode::kEmbed: return embed();
      case OpCode::kRmsNorm: return rmsnorm();
      case OpCode::kQuantize: return quantize();
      case OpCode::kMatmul: return matmul();
      case OpCode::kRopeTable: return rope_table();
      case OpCode::kRope: return rope();
      case OpCode::kKvWrite: return kv_write();
      case OpCode::kAttention: return attention();
      case OpCode::kConv1d: return conv1d();
      case OpCode::kSsmScan: return ssm_scan();
      case OpCode::kGlu: return glu();
      case OpCode::kAdd: return same_shape(v("a"), v("b")) && same_shape(v("a"), v("out")) ? "" : "a, b and out differ in shape";
      case OpCode::kScale:
      case OpCode::kSoftcap: return same_shape(v("x"), v("out")) ? "" : "x and out differ in shape";
      case OpCode::kMoeTopk: return moe_topk();
      case OpCode::kMoeMatmul: return moe_matmul();
      case OpCode::kMoeCombine: return moe_combine();
      case OpCode::kSelectRows:
        return v("x").rows == RowSpace::kStep && v("out").rows == RowSpace::kLogits && v("x").width == v("out").width ? "" : "shapes differ";
      case OpCode::kObserve: return v("x").element == Element::kF32 ? "" : "only f32 can be observed";
    }
    return "unknown op";
  }

 private:
  const Value* find(std::string_view name) const {
    const ValueId id = program_.operand(op_, name);
    return id == kNoValue ? nullptr : &program_.value(id);
  }
  const Value& v(std::string_view name) const { return *find(name); }
  int64_t integer(std::string_view name) const { return program_.integer(op_, name); }

  std::string embed() const {
    const Value& table = v("table");
    if (table.form != WeightForm::kMatrix || table.count != 1) return "table is not one matrix";
    return v("out").width == table.k && v("out").rows == RowSpace::kStep ? "" : "out does not have the table's columns";
  }
  std::string rmsnorm() const {
    const int64_t groups = integer("groups");
    if (groups < 1 || v("x").width % static_cast<uint64_t>(groups) != 0) return "groups do not divide the width";
    if (!same_shape(v("x"), v("out"))) return "x and out differ in shape";
    return is_vector(find("weight"), v("x").width / static_cast<uint64_t>(groups)) ? "" : "weight does not have a group's width";
  }
  std::string quantize() const {
    if (v("x").element != Element::kF32 || !same_rows(v("x"), v("out")) || v("x").width != v("out").width) return "shapes differ";
    if (v("x").width % 32 != 0) return fmt::format("rows of {} columns do not divide into groups of 32", v("x").width);
    return v("out").element == Element::kQ8 ? "" : "out is not quantised";
  }
  std::string matmul() const {
    const Value &x = v("x"), &w = v("weight"), &out = v("out");
    if (w.form != WeightForm::kMatrix || w.count != 1) return "weight is not one matrix";
    if (x.width != w.k) return fmt::format("x has {} columns, the weight {}", x.width, w.k);
    if (out.width != w.n || !same_rows(x, out) || out.element != Element::kF32) return "out has the wrong shape";
    if (!is_vector(find("bias"), w.n)) return "bias does not have the outputs' width";
    const Value* addend = find("addend");
    return addend == nullptr || same_shape(*addend, out) ? "" : "addend and out differ in shape";
  }
  std::string rope_table() const {
    const Value& f = v("frequencies");
    return f.form == WeightForm::kFrequencies && v("out").width == 2 * f.n && v("out").rows == RowSpace::kStep ? "" : "shapes differ";
  }
  std::string rope() const {
    const int64_t heads = integer("heads"), head_dim = integer("head_dim");
    if (heads < 1 || head_dim < 1 || static_cast<uint64_t>(heads) > v("x").width) return "heads or head_dim out of range";
    if (v("x").width != static_cast<uint64_t>(heads) * static_cast<uint64_t>(head_dim)) return "x is not heads x head_dim";
    if (v("table").width > static_cast<uint64_t>(head_dim)) return "more pairs than the head has";
    return same_shape(v("x"), v("out")) && v("x").rows == RowSpace::kStep && v("table").width % 2 == 0 ? "" : "shapes differ";
  }
  std::string kv_write() const {
    const Value& kv = v("kv");
    const bool fits = v("k").width == uint64_t{kv.kv_heads} * kv.head_dim_k && v("v").width == uint64_t{kv.kv_heads} * kv.head_dim_v;
    return fits && v("k").rows == RowSpace::kStep && v("v").rows == RowSpace::kStep ? "" : "k or v is not kv heads x head dimension";
  }
  std::string attention() const {
    const Value& kv = v("kv");
    const int64_t heads = integer("heads");
    if (heads < 1 || static_cast<uint64_t>(heads) % kv.kv_heads != 0) return "KV heads do not divide the heads";
    if (v("q").width != static_cast<uint64_t>(heads) * kv.head_dim_k) return "q is not heads x head dimension";
    if (integer("window") < 0) return "window is negative";
    return v("out").width == static_cast<uint64_t>(heads) * kv.head_dim_v && same_rows(v("q"), v("out")) ? "" : "out has the wrong shape";
  }
  std::string conv1d() const {
    const Value &x = v("x"), &w = v("weight");
    if (w.form != WeightForm::kConv || w.n != x.width) return "weight does not have x's channels";
    if (w.k < 2 || w.k > 8) return fmt::format("{} taps, must be 2 to 8", w.k);
    if (!same_shape(x, v("out")) || x.rows != RowSpace::kStep) return "x and out differ in shape";
    if (v("state").floats != (w.k - 1) * round_up(w.n, 16)) return "state has the wrong size";
    return is_vector(find("bias"), w.n) ? "" : "bias does not have x's channels";
  }
  std::string ssm_scan() const {
    const Value &x = v("x"), &a = v("a");
    if (a.form != WeightForm::kScanA || a.n != x.width) return "a does not have x's channels";
    if (!same_shape(x, v("dt")) || !same_shape(x, v("out")) || x.rows != RowSpace::kStep) return "x, dt and out differ in shape";
    if (find("z") != nullptr && !same_shape(x, v("z"))) return "z has the wrong shape";
    if (v("b").width != a.k || v("c").width != a.k) return "b or c does not have a's states";
    if (v("state").floats != round_up(x.width, 16) * a.k) return "state has the wrong size";
    return is_vector(&v("d"), x.width) ? "" : "d does not have x's channels";
  }
  std::string glu() const {
    if (integer("activation") < 0 || integer("activation") > 2) return "unknown activation";
    if (find("up") != nullptr && !same_shape(v("gate"), v("up"))) return "gate and up differ in shape";
    return same_shape(v("gate"), v("out")) ? "" : "gate and out differ in shape";
  }
  std::string moe_topk() const {
    const int64_t k = integer("k");
    if (k < 1 || static_cast<uint64_t>(k) > v("logits").width) return fmt::format("top-{} of {} experts", k, v("logits").width);
    const bool fits = v("ids").width == static_cast<uint64_t>(k) && v("weights").width == static_cast<uint64_t>(k);
    return fits && v("ids").element == Element::kI32 && v("logits").rows == RowSpace::kStep ? "" : "ids or weights has the wrong shape";
  }
  std::string moe_matmul() const {
    const Value &x = v("x"), &w = v("weight"), &out = v("out"), &ids = v("ids");
    if (w.form != WeightForm::kMatrix || x.width != w.k || out.width != w.n) return "x, weight and out do not fit";
    if (ids.element != Element::kI32 || ids.rows != RowSpace::kStep) return "ids are not step rows of integers";
    if (x.rows != RowSpace::kStep && !(x.rows == RowSpace::kSlots && x.slots == ids.width)) return "x is neither step rows nor the slots of ids";
    return out.rows == RowSpace::kSlots && out.slots == ids.width && out.element == Element::kF32 ? "" : "out has the wrong shape";
  }
  std::string moe_combine() const {
    const Value &y = v("y"), &out = v("out");
    if (y.rows != RowSpace::kSlots || v("weights").width != y.slots) return "y does not have a slot for every weight";
    if (out.rows != RowSpace::kStep || out.width != y.width) return "out has the wrong shape";
    return find("addend") == nullptr || same_shape(v("addend"), out) ? "" : "addend and out differ in shape";
  }

  const Program& program_;
  const Op& op_;
};

Status verify_operands(const Program& program, const Op& op, size_t index, std::vector<uint8_t>& written, std::vector<uint8_t>& gone) {
  const OpSchema& s = schema(op.code);
  if (op.operands.size() != s.operands.size()) return at(op, index, "wrong number of operands");
  if (op.attributes.size() != s.attributes.size()) return at(op, index, "wrong number of attributes");
  for (size_t i = 0; i < s.operands.size(); ++i) {
    const auto [name, role] = s.operands[i];
    const ValueId id = op.operands[i];
    if (id == kNoValue && is_optional(role)) continue;
    if (id >= program.values.size()) return at(op, index, fmt::format("operand {} is missing", name));
    if (program.value(id).kind != kind_for(role)) return at(op, index, fmt::format("operand {} ({}) is of the wrong kind", name, program.value(id).name));
    if (program.value(id).kind != ValueKind::kActivation) continue;
    if (role == kOut) {
      if (written[id]) return at(op, index, fmt::format("{} is written twice", program.value(id).name));
      written[id] = 1;
      continue;
    }
    if (!written[id]) return at(op, index, fmt::format("{} is read before it is written", program.value(id).name));
    if (gone[id]) return at(op, index, fmt::format("{} is read after its buffer was taken over", program.value(id).name));
    if (role == kAddend || role == kInPlace) gone[id] = 1;
  }
  return {};
}

bool takes_over(OperandRole role) { return role == kAddend || role == kInPlace; }

}  // namespace

Status verify(const Program& program) {
  std::unordered_set<std::string_view> names;
  for (const Value& value : program.values) {
    SLUICE_TRY_VOID(verify_value(value));
    if (!names.insert(value.name).second) return Error{fmt::format("program: two values are called {}", value.name)};
  }
  std::vector<uint8_t> written(program.values.size()), gone(program.values.size());
  std::vector<uint64_t> experts(program.values.size());  // how many experts a value's ids choose from
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    if (static_cast<size_t>(op.code) >= kOpCount) return Error{fmt::format("program: op {} has an unknown code", i)};
    SLUICE_TRY_VOID(verify_operands(program, op, i, written, gone));
    if (std::string wrong = Shapes(program, op).check(); !wrong.empty()) return at(op, i, wrong);
    if (op.code == OpCode::kMoeTopk) experts[program.operand(op, "ids")] = program.value(program.operand(op, "logits")).width;
    if (op.code == OpCode::kMoeMatmul && experts[program.operand(op, "ids")] != program.value(program.operand(op, "weight")).count) {
      return at(op, i, "the router chooses from another number of experts than the weight has");
    }
  }
  if (program.logits >= program.values.size() || !written[program.logits]) return Error{"program: the logits are never written"};
  const Value& logits = program.value(program.logits);
  if (logits.rows != RowSpace::kLogits || logits.width != program.facts.vocabulary || gone[program.logits]) {
    return Error{fmt::format("program: logits are {} wide, the vocabulary has {}", logits.width, program.facts.vocabulary)};
  }
  return {};
}

uint64_t row_count(const Value& value, uint64_t rows_max, uint64_t logit_rows_max) {
  switch (value.rows) {
    case RowSpace::kStep: return rows_max;
    case RowSpace::kLogits: return logit_rows_max;
    case RowSpace::kSlots: return rows_max * value.slots;
  }
  return 0;
}

std::vector<Lifetime> lifetimes(const Program& program) {
  std::vector<Lifetime> lives(program.values.size(), Lifetime{1, 0});
  for (size_t i = 0; i < program.ops.size(); ++i) {
    for (const ValueId id : program.ops[i].operands) {
      if (id == kNoValue || program.value(id).kind != ValueKind::kActivation) continue;
      if (lives[id].first > lives[id].last) lives[id] = {i, i};
      lives[id].last = i;
    }
  }
  if (program.logits < lives.size()) lives[program.logits].last = program.ops.size();
  return lives;
}

namespace {

Status inside(const Value& value, uint64_t bytes, uint64_t limit, std::string_view what) {
  if (value.offset % 64 != 0) return Error{fmt::format("program: {} has offset {}, not a multiple of 64", value.name, value.offset)};
  if (value.offset > limit || bytes > limit - value.offset) {
    return Error{fmt::format("program: {} ({} bytes at {}) lies outside the {} of {} bytes", value.name, bytes, value.offset, what, limit)};
  }
  return {};
}

// Pairs whose buffers are one by design.
std::vector<ValueId> takeovers(const Program& program) {
  std::vector<ValueId> heir(program.values.size(), kNoValue);
  for (const Op& op : program.ops) {
    const OpSchema& s = schema(op.code);
    ValueId out = kNoValue;
    for (size_t i = 0; i < s.operands.size(); ++i) {
      if (s.operands[i].role == kOut) out = op.operands[i];
    }
    for (size_t i = 0; i < s.operands.size(); ++i) {
      if (takes_over(s.operands[i].role) && op.operands[i] != kNoValue) heir[op.operands[i]] = out;
    }
  }
  return heir;
}

Status no_overlaps(const Program& program, const PlanSizes& sizes) {
  const std::vector<Lifetime> lives = lifetimes(program);
  const std::vector<ValueId> heir = takeovers(program);
  std::vector<std::vector<ValueId>> born(program.ops.size());
  for (ValueId id = 0; id < program.values.size(); ++id) {
    if (lives[id].first <= lives[id].last) born[lives[id].first].push_back(id);
  }
  const auto bytes = [&](ValueId id) { return program.value(id).bytes * row_count(program.value(id), sizes.rows_max, sizes.logit_rows_max); };
  std::vector<ValueId> live;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    std::erase_if(live, [&](ValueId id) { return lives[id].last < i; });
    for (const ValueId id : born[i]) {
      for (const ValueId other : live) {
        const uint64_t a = program.value(id).offset, b = program.value(other).offset;
        const bool apart = a + bytes(id) <= b || b + bytes(other) <= a;
        if (!apart && heir[other] != id && heir[id] != other) {
          return Error{fmt::format("program: {} and {} live at op {} in the same bytes", program.value(id).name, program.value(other).name, i)};
        }
      }
      live.push_back(id);
    }
  }
  return {};
}

}  // namespace

Status verify_plan(const Program& program, const PlanSizes& sizes) {
  const std::vector<Lifetime> lives = lifetimes(program);
  for (ValueId id = 0; id < program.values.size(); ++id) {
    const Value& value = program.value(id);
    switch (value.kind) {
      case ValueKind::kActivation: {
        if (lives[id].first > lives[id].last) break;
        const uint64_t rows = row_count(value, sizes.rows_max, sizes.logit_rows_max);
        if (value.bytes % 64 != 0 || (value.element != Element::kQ8 && value.bytes < 4 * value.width)) {
          return Error{fmt::format("program: {} has rows of {} bytes for {} columns", value.name, value.bytes, value.width)};
        }
        if (value.bytes > sizes.arena_bytes / std::max<uint64_t>(rows, 1)) return Error{fmt::format("program: {} is larger than the arena", value.name)};
        SLUICE_TRY_VOID(inside(value, rows * value.bytes, sizes.arena_bytes, "arena"));
        break;
      }
      case ValueKind::kWeight: SLUICE_TRY_VOID(inside(value, value.bytes, sizes.weight_bytes, "weights")); break;
      case ValueKind::kState: SLUICE_TRY_VOID(inside(value, value.floats * 4, sizes.state_bytes, "state")); break;
      case ValueKind::kKv: SLUICE_TRY_VOID(inside(value, value.bytes, sizes.page_bytes, "page")); break;
    }
  }
  return no_overlaps(program, sizes);
}

}  // namespace sluice::program
