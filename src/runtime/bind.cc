#include "runtime/bind.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace sluice::runtime {

using program::kNoValue;
using program::Op;
using program::OpCode;
using program::Program;
using program::Value;
using program::ValueId;

namespace {

kernels::ActivationFormat format_of(program::Element element) {
  return element == program::Element::kQ8 ? kernels::ActivationFormat::kQ8 : kernels::ActivationFormat::kF32;
}

// One op's view of the program: operands as pointers, attributes by name.
class Binder {
 public:
  Binder(const Program& program, std::byte* arena, std::span<const std::byte> weights, const Options& options, const Op& op)
      : program_(program), arena_(arena), weights_(weights), options_(options), op_(op) {}

  Result<BoundOp> bind() const {
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
      case OpCode::kAdd: return elementwise(kernels::Elementwise::kAdd, "a", 0);
      case OpCode::kScale: return elementwise(kernels::Elementwise::kScale, "x", number("factor"));
      case OpCode::kSoftcap: return elementwise(kernels::Elementwise::kSoftcap, "x", number("factor"));
      case OpCode::kMoeTopk: return moe_topk();
      case OpCode::kMoeMatmul: return moe_matmul();
      case OpCode::kMoeCombine: return moe_combine();
      case OpCode::kSelectRows: return BoundOp{SelectRowsOp{buffer("x"), buffer("out")}};
      case OpCode::kObserve: return BoundOp{ObserveOp{buffer("x"), integer("index")}};
    }
    return Error{"program: unknown op"};
  }

 private:
  ValueId id(std::string_view name) const { return program_.operand(op_, name); }
  const Value& value(std::string_view name) const { return program_.value(id(name)); }
  bool has(std::string_view name) const { return id(name) != kNoValue; }
  int64_t integer(std::string_view name) const { return program_.integer(op_, name); }
  float number(std::string_view name) const { return static_cast<float>(program_.number(op_, name)); }

  Buffer buffer(std::string_view name) const {
    const Value& v = value(name);
    return {arena_ + v.offset, v.bytes, v.width, v.rows, v.slots};
  }
  const uint8_t* weight(std::string_view name) const { return reinterpret_cast<const uint8_t*>(weights_.data() + value(name).offset); }
  const float* vector(std::string_view name) const { return has(name) ? reinterpret_cast<const float*>(weight(name)) : nullptr; }
  Error wrong(std::string_view what) const { return Error{fmt::format("package: op {} ({}): {}", program::schema(op_.code).name, op_.label, what)}; }

  // The bytes that kernels will read of a weight, against those that the package gives it.
  Status check_bytes(std::string_view name, uint64_t bytes) const {
    if (!has(name) || value(name).bytes >= bytes) return {};
    return wrong(fmt::format("weight {} has {} bytes, needs {}", value(name).name, value(name).bytes, bytes));
  }
  Status check_vector(std::string_view name, uint64_t n) const { return check_bytes(name, program::round_up(n, 16) * sizeof(float)); }

  Result<BoundOp> embed() const {
    const Value& table = value("table");
    SLUICE_TRY_VOID(check_bytes("table", kernels::packed_bytes(table.dtype, table.n, table.k)));
    return BoundOp{EmbedOp{table.dtype, weight("table"), table.n, table.k, number("scale"), buffer("out")}};
  }
  Result<BoundOp> rmsnorm() const {
    const Buffer x = buffer("x"), out = buffer("out");
    const uint64_t groups = static_cast<uint64_t>(integer("groups"));
    SLUICE_TRY_VOID(check_vector("weight", x.width / groups));
    return BoundOp{RmsNormOp{kernels::rmsnorm_for(options_.isa),
                             {.x = x.floats(), .x_stride = x.stride_floats(), .weight = vector("weight"), .out = out.floats(),
                              .out_stride = out.stride_floats(), .width = x.width / groups, .groups = groups, .epsilon = number("epsilon")},
                             x}};
  }
  Result<BoundOp> quantize() const {
    const Buffer x = buffer("x"), out = buffer("out");
    if (out.stride < kernels::quantized_row_bytes(x.width)) return wrong("quantised rows do not fit their stride");
    return BoundOp{QuantizeOp{kernels::quantize_for(options_.isa),
                              {.x = x.floats(), .x_stride = x.stride_floats(), .out = reinterpret_cast<uint8_t*>(out.data),
                               .out_stride = out.stride, .k = x.width},
                              x}};
  }
  Status check_activations(const Value& x, const Value& w) const {
    if (format_of(x.element) != kernels::activation_format(w.dtype)) {
      return wrong(fmt::format("activations are not in the format of {} weights", info(w.dtype).name));
    }
    if (x.element == program::Element::kQ8 && x.bytes < kernels::quantized_row_bytes(x.width)) return wrong("rows are too short");
    return {};
  }
  static size_t strips_of(const Value& w) { return static_cast<size_t>(program::round_up(w.n, 16) / 16); }
  Parts parts() const { return std::make_unique<PartTaken[]>(options_.threads); }
  Result<BoundOp> matmul() const {
    const Value& w = value("weight");
    const Buffer x = buffer("x"), out = buffer("out");
    SLUICE_TRY_VOID(check_bytes("weight", kernels::packed_bytes(w.dtype, w.n, w.k)));
    SLUICE_TRY_VOID(check_vector("bias", w.n));
    SLUICE_TRY_VOID(check_activations(value("x"), w));
    const bool accumulate = has("addend");
    if (accumulate && value("addend").offset != value("out").offset) return wrong("addend and out are two buffers");
    return BoundOp{MatmulOp{kernels::matmul_for(w.dtype, options_.isa),
                            {.weights = weight("weight"), .n = w.n, .k = w.k, .activations = reinterpret_cast<const uint8_t*>(x.data),
                             .activation_stride = x.stride, .bias = vector("bias"), .out = out.floats(),
                             .out_stride = out.stride_floats(), .accumulate = accumulate},
                            x, strips_of(w), parts()}};
  }
  Result<BoundOp> rope_table() const {
    const Buffer out = buffer("out");
    const uint64_t pairs = value("frequencies").n;
    SLUICE_TRY_VOID(check_bytes("frequencies", pairs * sizeof(double)));
    return BoundOp{RopeTableOp{kernels::rope_table_for(options_.isa),
                               {.frequencies = reinterpret_cast<const double*>(weight("frequencies")), .pairs = static_cast<size_t>(pairs),
                                .magnitude = number("magnitude"), .cos_sin = out.floats(), .stride = out.stride_floats()}}};
  }
  Result<BoundOp> rope() const {
    const Buffer x = buffer("out"), table = buffer("table");
    if (value("x").offset != value("out").offset) return wrong("x and out are two buffers");
    return BoundOp{RopeOp{kernels::rope_for(options_.isa),
                          {.x = x.floats(), .x_stride = x.stride_floats(), .cos_sin = table.floats(), .cos_sin_stride = table.stride_floats(),
                           .pairs = table.width / 2, .heads = static_cast<size_t>(integer("heads")), .head_dim = static_cast<size_t>(integer("head_dim")),
                           .interleaved = integer("interleaved") != 0}}};
  }
  kernels::KvShape kv_shape() const {
    const Value& kv = value("kv");
    return {options_.kv_type, kv.kv_heads, kv.head_dim_k, kv.head_dim_v};
  }
  Result<BoundOp> kv_write() const {
    const Buffer k = buffer("k"), v = buffer("v");
    SLUICE_TRY_VOID(check_bytes("kv", kernels::kv_page_bytes(kv_shape())));
    return BoundOp{KvWriteOp{kernels::kv_write_for(options_.kv_type, options_.isa),
                             {.shape = kv_shape(), .k = k.floats(), .k_stride = k.stride_floats(), .v = v.floats(), .v_stride = v.stride_floats(),
                              .layer_offset = static_cast<size_t>(value("kv").offset)}}};
  }
  Result<BoundOp> attention() const {
    const Buffer q = buffer("q"), out = buffer("out");
    const kernels::KvShape kv = kv_shape();
    const uint32_t q_heads = static_cast<uint32_t>(integer("heads"));
    return BoundOp{AttentionOp{kernels::attention_for(options_.kv_type, options_.isa),
                               {.shape = kv, .q = q.floats(), .q_stride = q.stride_floats(), .out = out.floats(), .out_stride = out.stride_floats(),
                                .q_heads = q_heads, .scale = number("scale"), .softcap = number("softcap"),
                                .window = static_cast<int32_t>(integer("window")), .sinks = nullptr, .rows = nullptr, .row_count = 0,
                                // With fewer KV heads than threads, a row's query heads are cut among threads.
                                .head_parts = kv.heads < options_.threads ? std::min(q_heads / kv.heads, options_.threads) : 1,
                                .layer_offset = static_cast<size_t>(value("kv").offset)}}};
  }
  Result<BoundOp> conv1d() const {
    const Value& w = value("weight");
    const Buffer x = buffer("x"), out = buffer("out");
    const uint64_t channels = program::round_up(w.n, 16);
    SLUICE_TRY_VOID(check_bytes("weight", channels * w.k * sizeof(float)));
    SLUICE_TRY_VOID(check_vector("bias", w.n));
    return BoundOp{Conv1dOp{kernels::conv1d_for(options_.isa),
                            {.x = x.floats(), .x_stride = x.stride_floats(), .weight = vector("weight"), .bias = vector("bias"), .out = out.floats(),
                             .out_stride = out.stride_floats(), .taps = w.k, .channels_padded = channels, .silu = integer("silu") != 0},
                            static_cast<size_t>(value("state").offset / sizeof(float))}};
  }
  Result<BoundOp> ssm_scan() const {
    const Value& a = value("a");
    const uint64_t channels = program::round_up(a.n, 16);
    SLUICE_TRY_VOID(check_bytes("a", channels * a.k * sizeof(float)));
    SLUICE_TRY_VOID(check_vector("d", a.n));
    const Buffer x = buffer("x"), dt = buffer("dt"), b = buffer("b"), c = buffer("c"), out = buffer("out");
    const Buffer z = has("z") ? buffer("z") : Buffer{};
    return BoundOp{SsmScanOp{kernels::ssm_scan_for(options_.isa),
                             {.x = x.floats(), .x_stride = x.stride_floats(), .dt = dt.floats(), .dt_stride = dt.stride_floats(), .b = b.floats(),
                              .b_stride = b.stride_floats(), .c = c.floats(), .c_stride = c.stride_floats(), .z = z.floats(), .z_stride = z.stride_floats(),
                              .a = vector("a"), .d = vector("d"), .out = out.floats(), .out_stride = out.stride_floats(), .states = a.k},
                             static_cast<size_t>(value("state").offset / sizeof(float)), static_cast<size_t>(channels)}};
  }
  Result<BoundOp> glu() const {
    const Buffer gate = buffer("gate"), out = buffer("out");
    const Buffer up = has("up") ? buffer("up") : Buffer{};
    return BoundOp{GluOp{kernels::glu_for(static_cast<kernels::Activation>(integer("activation")), options_.isa),
                         {.gate = gate.floats(), .gate_stride = gate.stride_floats(), .up = up.floats(), .up_stride = up.stride_floats(), .out = out.floats(),
                          .out_stride = out.stride_floats(), .width_padded = gate.padded()},
                         gate}};
  }
  Result<BoundOp> elementwise(kernels::Elementwise what, std::string_view first, float factor) const {
    const Buffer a = buffer(first), out = buffer("out");
    const Buffer b = what == kernels::Elementwise::kAdd ? buffer("b") : Buffer{};
    return BoundOp{ElementwiseOp{kernels::elementwise_for(what, options_.isa),
                                 {.a = a.floats(), .a_stride = a.stride_floats(), .b = b.floats(), .b_stride = b.stride_floats(), .out = out.floats(),
                                  .out_stride = out.stride_floats(), .factor = factor, .width_padded = a.padded()},
                                 a}};
  }
  Result<BoundOp> moe_topk() const {
    const Buffer logits = buffer("logits");
    return BoundOp{MoeTopkOp{kernels::moe_topk_for(options_.isa),
                             {.logits = logits.floats(), .logits_stride = logits.stride_floats(), .experts = static_cast<uint32_t>(logits.width),
                              .k = static_cast<uint32_t>(integer("k")), .renormalize = integer("renormalize") != 0, .ids = buffer("ids").integers(),
                              .weights = buffer("weights").floats()}}};
  }
  Result<BoundOp> moe_matmul() const {
    const Value& w = value("weight");
    const Buffer x = buffer("x"), out = buffer("out");
    const uint64_t expert = kernels::packed_bytes(w.dtype, w.n, w.k);
    SLUICE_TRY_VOID(check_bytes("weight", expert * w.count));
    SLUICE_TRY_VOID(check_activations(value("x"), w));
    return BoundOp{MoeMatmulOp{kernels::matmul_for(w.dtype, options_.isa),
                               {.weights = weight("weight"), .n = w.n, .k = w.k, .activations = reinterpret_cast<const uint8_t*>(x.data),
                                .activation_stride = x.stride, .bias = nullptr, .out = out.floats(), .out_stride = out.stride_floats(), .accumulate = false},
                               buffer("ids"), w.count, expert, x.rows == program::RowSpace::kSlots, strips_of(w), parts()}};
  }
  Result<BoundOp> moe_combine() const {
    const Buffer y = buffer("y"), out = buffer("out");
    if (has("addend") && value("addend").offset != value("out").offset) return wrong("addend and out are two buffers");
    return BoundOp{MoeCombineOp{kernels::moe_combine_for(options_.isa),
                                {.y = y.floats(), .y_stride = y.stride_floats(), .weights = buffer("weights").floats(), .k = y.slots, .out = out.floats(),
                                 .out_stride = out.stride_floats(), .width_padded = out.padded(), .accumulate = has("addend")}}};
  }

  const Program& program_;
  std::byte* arena_;
  std::span<const std::byte> weights_;
  const Options& options_;
  const Op& op_;
};

}  // namespace

Result<std::vector<BoundOp>> bind_ops(const Program& program, const program::PlanSizes&, std::byte* arena, std::span<const std::byte> weights,
                                      const Options& options) {
  std::vector<BoundOp> ops;
  ops.reserve(program.ops.size());
  for (const Op& op : program.ops) {
    SLUICE_TRY(BoundOp bound, Binder(program, arena, weights, options, op).bind());
    ops.push_back(std::move(bound));
  }
  return ops;
}

size_t ScratchSizes::total_bytes() const {
  const size_t integers = 2 * slots_max + experts + 1;
  const size_t bytes = float_count * sizeof(float) + rows_max * sizeof(kernels::StateSegment) + integers * sizeof(int32_t) + experts * sizeof(ExpertSlots);
  return program::round_up(bytes, 64) + 6 * 64;
}

ScratchSizes scratch_sizes(const Program& program, const program::PlanSizes& sizes, const Options& options) {
  ScratchSizes out;
  out.rows_max = sizes.rows_max;
  for (const Op& op : program.ops) {
    if (op.code == OpCode::kAttention) {
      const Value& kv = program.value(program.operand(op, "kv"));
      const kernels::KvShape shape{options.kv_type, kv.kv_heads, kv.head_dim_k, kv.head_dim_v};
      out.float_count = std::max(out.float_count, kernels::attention_scratch_floats(shape, static_cast<uint32_t>(program.integer(op, "heads"))));
    } else if (op.code == OpCode::kMoeTopk) {
      const uint64_t experts = program.value(program.operand(op, "logits")).width;
      out.float_count = std::max<size_t>(out.float_count, program::round_up(experts, 16));
      out.slots_max = std::max<size_t>(out.slots_max, sizes.rows_max * static_cast<size_t>(program.integer(op, "k")));
    } else if (op.code == OpCode::kMoeMatmul) {
      // ids are below the router's width; the weights' count is checked to be that many.
      out.experts = std::max<size_t>(out.experts, program.value(program.operand(op, "weight")).count);
    }
  }
  return out;
}

Scratch cut_scratch(const ScratchSizes& sizes, std::span<std::byte> memory) {
  Scratch scratch;
  std::byte* next = memory.data();
  const auto take = [&](auto& span, size_t count) {
    using T = typename std::remove_reference_t<decltype(span)>::element_type;
    span = {reinterpret_cast<T*>(next), count};
    next += program::round_up(count * sizeof(T), 64);
  };
  take(scratch.floats, sizes.float_count);
  take(scratch.segments, sizes.rows_max);
  take(scratch.slot_rows, sizes.slots_max);
  take(scratch.slot_inputs, sizes.slots_max);
  take(scratch.expert_begin, sizes.experts + 1);
  take(scratch.experts, sizes.experts);
  SLUICE_CHECK(next <= memory.data() + memory.size());
  return scratch;
}

}  // namespace sluice::runtime
