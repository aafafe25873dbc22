// What the units compute: each op on one chip's columns, by the scalar reference kernels, so that every output is the reduction that the CPU makes.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "kernels/attention/attention.h"
#include "kernels/conv1d/conv1d.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/glu/glu.h"
#include "kernels/matmul/matmul.h"
#include "kernels/moe/moe.h"
#include "kernels/quantize/quantize.h"
#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/rope/rope.h"
#include "kernels/ssm_scan/ssm_scan.h"
#include "lpu/value_memory.h"

namespace sluice::lpu {
namespace {

using kernels::kPageTokens;
using program::OpCode;
using Words = std::vector<uint32_t>;

constexpr Isa kScalar = Isa::kBaseline;
constexpr uint64_t kLanes = 16;

float number(const Port& port, std::string_view name) { return static_cast<float>(port.layout.program.number(port.op(), name)); }
uint64_t integer(const Port& port, std::string_view name) { return static_cast<uint64_t>(port.layout.program.integer(port.op(), name)); }

Words words_of(Rows& rows, uint64_t count) {
  Words out(count * rows.width());
  for (uint64_t r = 0; r < count && rows.width() > 0; ++r) std::memcpy(out.data() + r * rows.width(), rows.row(r), rows.width() * 4);
  return out;
}

// `lines` of `columns` floats each, stored without padding, as rows padded to 16.
Rows padded(const std::vector<float>& dense, uint64_t lines, uint64_t columns) {
  Rows out(lines, columns);
  for (uint64_t r = 0; r < lines && columns > 0; ++r) std::copy_n(dense.begin() + static_cast<ptrdiff_t>(r * columns), columns, out.row(r));
  return out;
}

// [lines, columns] to and from blocks of 16 columns, [block][line][16].
void to_blocks(Rows& rows, uint64_t lines, float* blocks) {
  for (uint64_t c = 0; c < rows.stride(); ++c) {
    for (uint64_t r = 0; r < lines; ++r) blocks[(c / kLanes * lines + r) * kLanes + c % kLanes] = rows.row(r)[c];
  }
}
void from_blocks(const float* blocks, uint64_t lines, Rows& rows) {
  for (uint64_t c = 0; c < rows.stride(); ++c) {
    for (uint64_t r = 0; r < lines; ++r) rows.row(r)[c] = blocks[(c / kLanes * lines + r) * kLanes + c % kLanes];
  }
}

// This chip's rows of one of a weight's matrices, packed for the kernels: blocks as they are, all else in 32 bits.
struct Packed {
  DType type = DType::kF32;
  uint64_t columns, k;
  Rows data;
  const uint8_t* bytes() { return reinterpret_cast<const uint8_t*>(data.data()); }
};

Packed matrix_of(const Port& port, uint64_t index) {
  const program::Value& w = port.value("weight");
  const uint64_t columns = port.own("out").count();
  const DType type = has_blocks(w) ? w.dtype : DType::kF32;
  if (has_blocks(w)) return {type, columns, w.k, port.packed("weight", index)};
  Packed out{type, columns, w.k, Rows(1, kernels::packed_bytes(type, columns, w.k) / 4)};
  const std::vector<float> all = port.weight("weight");
  kernels::pack(type, reinterpret_cast<const uint8_t*>(all.data() + index * columns * w.k), columns, w.k, reinterpret_cast<uint8_t*>(out.data.data()));
  return out;
}

// out[columns] (+)= x W^T for one row.
void multiply(Packed& w, const float* x, uint64_t x_stride, const float* bias, float* out, bool accumulate) {
  kernels::matmul_for(w.type, kScalar)({.weights = w.bytes(), .n = w.columns, .k = w.k, .activations = reinterpret_cast<const uint8_t*>(x),
                                        .activation_stride = x_stride * 4, .bias = bias, .out = out, .out_stride = (w.columns + 15) / 16 * 16,
                                        .accumulate = accumulate, .in_rows = nullptr, .out_rows = nullptr, .rows = 1, .strip_begin = 0,
                                        .strip_end = (w.columns + 15) / 16});
}

Words embed(const Port& port) {
  const program::Value& table = port.value("table");
  const Columns columns = port.work().one_row ? Columns{0, table.k} : port.own("out");
  Rows out(1, columns.count());
  const Columns rows = port.layout.outputs(port.work_op, port.chip);
  const auto token = static_cast<uint64_t>(port.token);
  const uint64_t first = port.work().one_row ? rows.begin : 0, last = port.work().one_row ? rows.end : table.n;
  if (token < first || token >= last) return words_of(out, 1);  // another chip has the row
  if (has_blocks(table)) {
    Rows packed = port.packed("table", 0);
    kernels::unpack_row(table.dtype, reinterpret_cast<const uint8_t*>(packed.data()), rows.count(), table.k, token - first, out.data());
    for (uint64_t i = 0; i < columns.count(); ++i) out.row(0)[i] *= number(port, "scale");
    return words_of(out, 1);
  }
  const std::vector<float> weights = port.weight("table");
  for (uint64_t i = 0; i < columns.count(); ++i) out.row(0)[i] = weights[(token - first) * columns.count() + i] * number(port, "scale");
  return words_of(out, 1);
}

Words rmsnorm(const Port& port) {
  const uint64_t groups = integer(port, "groups"), width = port.shape("x").width / groups;
  Rows x = groups > 1 ? port.mine("x") : port.all("x");
  Rows out(1, x.width());
  const std::vector<float> stored = port.has("weight") ? port.weight("weight") : std::vector<float>();
  Rows weight = padded(stored, stored.empty() ? 0 : 1, stored.size());
  if (x.width() == 0) return {};
  kernels::rmsnorm_for(kScalar)({.x = x.data(), .x_stride = x.stride(), .weight = stored.empty() ? nullptr : weight.data(), .out = out.data(),
                                 .out_stride = out.stride(), .width = width, .groups = x.width() / width, .epsilon = number(port, "epsilon"), .row_begin = 0,
                                 .row_end = 1});
  return words_of(out, 1);
}

Words matmul(const Port& port) {
  const uint64_t columns = port.own("out").count();
  if (columns == 0) return {};
  const std::vector<float> stored = port.has("bias") ? port.weight("bias") : std::vector<float>();
  Packed weights = matrix_of(port, 0);
  Rows x = port.all("x"), bias = padded(stored, stored.empty() ? 0 : 1, stored.size());
  Rows out = port.has("addend") ? port.mine("addend") : Rows(1, columns);
  multiply(weights, x.data(), x.stride(), stored.empty() ? nullptr : bias.data(), out.data(), port.has("addend"));
  return words_of(out, 1);
}

Result<Words> moe_matmul(const Port& port) {
  const program::Value& w = port.value("weight");
  const uint64_t columns = port.own("out").count(), slots = port.shape("out").slots;
  if (columns == 0) return Words{};
  Rows x = port.all("x"), ids = port.all("ids"), out(slots, columns);
  for (uint64_t s = 0; s < slots; ++s) {
    const auto expert = std::bit_cast<uint32_t>(ids.row(0)[s]);
    if (expert >= w.count) return Error{"values: the router chose an expert that is not there"};
    Packed weights = matrix_of(port, expert);
    multiply(weights, x.row(port.shape("x").slots > 1 ? s : 0), x.stride(), nullptr, out.row(s), false);
  }
  return words_of(out, slots);
}

Words rope(const Port& port) {
  Rows x = port.mine("x");
  if (x.width() == 0) return {};
  const program::Op* table = nullptr;
  for (const program::Op& op : port.layout.program.ops) {
    if (op.code == OpCode::kRopeTable && port.layout.program.operand(op, "out") == port.id("table")) table = &op;
  }
  SLUICE_CHECK(table != nullptr);
  const program::Value& frequencies = port.layout.program.value(port.layout.program.operand(*table, "frequencies"));
  Rows cos_sin(1, 2 * frequencies.n);
  const auto position = static_cast<int32_t>(port.position);
  kernels::rope_table_for(kScalar)({.positions = &position, .frequencies = reinterpret_cast<const double*>(port.constants.data() + frequencies.offset),
                                    .pairs = frequencies.n, .magnitude = static_cast<float>(port.layout.program.number(*table, "magnitude")),
                                    .cos_sin = cos_sin.data(), .stride = cos_sin.stride(), .row_begin = 0, .row_end = 1});
  const uint64_t dim = integer(port, "head_dim");
  kernels::rope_for(kScalar)({.x = x.data(), .x_stride = x.stride(), .cos_sin = cos_sin.data(), .cos_sin_stride = cos_sin.stride(), .pairs = frequencies.n,
                              .heads = x.width() / dim, .head_dim = dim, .interleaved = integer(port, "interleaved") != 0, .row_begin = 0, .row_end = 1});
  return words_of(x, 1);
}

// A token's keys and values of this chip's heads lie together; a window's places are used in turn.
void kv_write(const Port& port, std::vector<Effect>& effects) {
  Rows k = port.mine("k"), v = port.mine("v");
  const uint32_t home = port.layout.home[port.id("kv")];
  const uint64_t place = port.position % port.layout.work.ops[home].context;
  Words words = words_of(k, 1);
  const Words values = words_of(v, 1);
  words.insert(words.end(), values.begin(), values.end());
  const uint64_t count = words.size();
  if (count > 0) effects.push_back({port.layout.resident(home).kv, place * count, std::move(words)});
}

Result<Words> attention(const Port& port) {
  const program::Value& kv = port.value("kv");
  Rows q = port.mine("q"), out(1, port.own("out").count());
  const auto q_heads = static_cast<uint32_t>(q.width() / kv.head_dim_k);
  if (q_heads == 0) return Words{};
  const auto heads = static_cast<uint32_t>(q_heads / (integer(port, "heads") / kv.kv_heads));
  const kernels::KvShape shape{kernels::KvType::kF32, heads, kv.head_dim_k, kv.head_dim_v};
  const uint64_t window = integer(port, "window"), first = window > 0 && port.position >= window ? port.position + 1 - window : 0;
  const uint64_t token_floats = heads * (kv.head_dim_k + kv.head_dim_v), page_floats = kernels::kv_page_bytes(shape) / 4;
  const uint64_t page_count = port.position / kPageTokens + 1;
  Rows memory(page_count, page_floats);
  std::vector<uint8_t*> pages;
  for (uint64_t p = 0; p < page_count; ++p) pages.push_back(reinterpret_cast<uint8_t*>(memory.row(p)));
  for (uint64_t at = first; at <= port.position; ++at) {
    const Region& kept = port.layout.resident(port.work_op).kv;
    const uint64_t first_word = at % port.work().context * token_floats;
    if (!port.sram.readable(kept, first_word, token_floats)) return Error{"values: attention reads keys and values that were not written"};
    const kernels::KvRow row{pages.data(), static_cast<int32_t>(at)};
    Rows token(1, token_floats), values(1, heads * kv.head_dim_v);
    std::memcpy(token.data(), port.sram.read(kept, first_word, token_floats).data(), token_floats * 4);
    std::copy_n(token.data() + heads * kv.head_dim_k, values.width(), values.data());
    kernels::kv_write_for(shape.type, kScalar)({.shape = shape, .k = token.data(), .k_stride = token.stride(), .v = values.data(), .v_stride = values.stride(),
                                                .rows = &row, .layer_offset = 0, .row_begin = 0, .row_end = 1});
  }
  const kernels::KvRow row{pages.data(), static_cast<int32_t>(port.position)};
  Rows scratch(1, kernels::attention_scratch_floats(shape, q_heads));
  kernels::attention_for(shape.type, kScalar)({.shape = shape, .q = q.data(), .q_stride = q.stride(), .out = out.data(), .out_stride = out.stride(),
                                               .q_heads = q_heads, .scale = number(port, "scale"), .softcap = number(port, "softcap"),
                                               .window = static_cast<int32_t>(window), .sinks = nullptr, .rows = &row, .row_count = 1, .head_parts = 1,
                                               .layer_offset = 0, .scratch = scratch.data(), .item_begin = 0, .item_end = heads});
  return words_of(out, 1);
}

// The chip's share of a state, [lines, columns], kept without padding.
void keep_state(const Port& port, Rows& state, uint64_t lines, std::vector<Effect>& effects) {
  effects.push_back({port.layout.resident(port.work_op).state, 0, words_of(state, lines)});
}

Words conv1d(const Port& port, std::vector<Effect>& effects) {
  Rows x = port.mine("x"), out(1, x.width());
  const uint64_t columns = x.width(), taps = port.value("weight").k;
  if (columns == 0) return {};
  const std::vector<float> stored = port.has("bias") ? port.weight("bias") : std::vector<float>();
  Rows weight = padded(port.weight("weight"), taps, columns), bias = padded(stored, stored.empty() ? 0 : 1, columns);
  Rows state = padded(port.state((taps - 1) * columns), taps - 1, columns);
  const kernels::StateSegment segment{0, 1, state.data()};
  kernels::conv1d_for(kScalar)({.x = x.data(), .x_stride = x.stride(), .weight = weight.data(), .bias = stored.empty() ? nullptr : bias.data(),
                                .out = out.data(), .out_stride = out.stride(), .taps = taps, .channels_padded = x.stride(),
                                .silu = integer(port, "silu") != 0, .segments = &segment, .segment_count = 1, .channel_begin = 0,
                                .channel_end = x.stride()});
  keep_state(port, state, taps - 1, effects);
  return words_of(out, 1);
}

Words ssm_scan(const Port& port, std::vector<Effect>& effects) {
  Rows x = port.mine("x"), dt = port.mine("dt"), b = port.all("b"), c = port.all("c"), out(1, x.width());
  const uint64_t columns = x.width(), states = port.value("a").k;
  if (columns == 0) return {};
  Rows z = port.has("z") ? port.mine("z") : Rows(0, 0);
  Rows a = padded(port.weight("a"), states, columns), d = padded(port.weight("d"), 1, columns), state = padded(port.state(states * columns), states, columns);
  Rows a_blocks(1, states * x.stride()), state_blocks(1, states * x.stride());
  to_blocks(a, states, a_blocks.data());
  to_blocks(state, states, state_blocks.data());
  const kernels::StateSegment segment{0, 1, state_blocks.data()};
  kernels::ssm_scan_for(kScalar)({.x = x.data(), .x_stride = x.stride(), .dt = dt.data(), .dt_stride = dt.stride(), .b = b.data(), .b_stride = b.stride(),
                                  .c = c.data(), .c_stride = c.stride(), .z = port.has("z") ? z.data() : nullptr, .z_stride = z.stride(),
                                  .a = a_blocks.data(), .d = d.data(), .out = out.data(), .out_stride = out.stride(), .states = states,
                                  .segments = &segment, .segment_count = 1, .channel_begin = 0, .channel_end = x.stride()});
  from_blocks(state_blocks.data(), states, state);
  keep_state(port, state, states, effects);
  return words_of(out, 1);
}

Words glu(const Port& port) {
  Rows gate = port.mine("gate"), up = port.has("up") ? port.mine("up") : Rows(0, 0);
  const uint64_t rows = port.shape("gate").slots;
  if (gate.width() == 0) return {};
  kernels::glu_for(static_cast<kernels::Activation>(integer(port, "activation")), kScalar)(
      {.gate = gate.data(), .gate_stride = gate.stride(), .up = port.has("up") ? up.data() : nullptr, .up_stride = up.stride(), .out = gate.data(),
       .out_stride = gate.stride(), .width_padded = gate.stride(), .row_begin = 0, .row_end = rows});
  return words_of(gate, rows);
}

Words elementwise(const Port& port, kernels::Elementwise what, std::string_view first, float factor) {
  Rows a = port.mine(first), b = what == kernels::Elementwise::kAdd ? port.mine("b") : Rows(0, 0);
  const uint64_t rows = port.shape(first).slots;
  if (a.width() == 0) return {};
  kernels::elementwise_for(what, kScalar)({.a = a.data(), .a_stride = a.stride(), .b = b.data(), .b_stride = b.stride(), .out = a.data(),
                                           .out_stride = a.stride(), .factor = factor, .width_padded = a.stride(), .row_begin = 0, .row_end = rows});
  return words_of(a, rows);
}

// Every chip makes the router's choice for itself, from all logits: the same on all.
Words moe_topk(const Port& port) {
  Rows logits = port.all("logits"), scratch(1, logits.width());
  const uint64_t k = integer(port, "k");
  std::vector<int32_t> ids(k);
  std::vector<float> weights(k);
  kernels::moe_topk_for(kScalar)({.logits = logits.data(), .logits_stride = logits.stride(), .experts = static_cast<uint32_t>(logits.width()),
                                  .k = static_cast<uint32_t>(k), .renormalize = integer(port, "renormalize") != 0, .ids = ids.data(),
                                  .weights = weights.data(), .scratch = scratch.data(), .row_begin = 0, .row_end = 1});
  Words out(k);
  const bool is_ids = port.layout.schedule.placed[port.slot.writes].value == port.id("ids");
  std::memcpy(out.data(), is_ids ? static_cast<const void*>(ids.data()) : weights.data(), k * 4);
  return out;
}

Words moe_combine(const Port& port) {
  Rows y = port.mine("y"), weights = port.all("weights");
  Rows out = port.has("addend") ? port.mine("addend") : Rows(1, y.width());
  if (y.width() == 0) return {};
  kernels::moe_combine_for(kScalar)({.y = y.data(), .y_stride = y.stride(), .weights = weights.data(), .k = static_cast<uint32_t>(port.shape("y").slots),
                                     .out = out.data(), .out_stride = out.stride(), .width_padded = out.stride(), .accumulate = port.has("addend"),
                                     .row_begin = 0, .row_end = 1});
  return words_of(out, 1);
}

// Every chip makes all groups of 32: their scales, sums and 8-bit numbers lie together.
Words quantize(const Port& port) {
  Rows x = port.all("x"), out(port.shape("out").slots, port.shape("out").width);
  kernels::quantize_for(kScalar)({.x = x.data(), .x_stride = x.stride(), .out = reinterpret_cast<uint8_t*>(out.data()), .out_stride = out.stride() * 4,
                                  .k = x.width(), .row_begin = 0, .row_end = port.shape("x").slots});
  return words_of(out, port.shape("out").slots);
}

Words select_row(const Port& port) {
  Rows x = port.mine("x");
  return words_of(x, 1);
}

}  // namespace

Status compute(const Port& port, Words& out, std::vector<Effect>& effects) {
  switch (port.op().code) {
    case OpCode::kEmbed: out = embed(port); break;
    case OpCode::kRmsNorm: out = rmsnorm(port); break;
    case OpCode::kMatmul: out = matmul(port); break;
    case OpCode::kRope: out = rope(port); break;
    case OpCode::kKvWrite: kv_write(port, effects); break;
    case OpCode::kAttention: {
      SLUICE_TRY(out, attention(port));
      break;
    }
    case OpCode::kConv1d: out = conv1d(port, effects); break;
    case OpCode::kSsmScan: out = ssm_scan(port, effects); break;
    case OpCode::kGlu: out = glu(port); break;
    case OpCode::kAdd: out = elementwise(port, kernels::Elementwise::kAdd, "a", 0); break;
    case OpCode::kScale: out = elementwise(port, kernels::Elementwise::kScale, "x", number(port, "factor")); break;
    case OpCode::kSoftcap: out = elementwise(port, kernels::Elementwise::kSoftcap, "x", number(port, "factor")); break;
    case OpCode::kMoeTopk: out = moe_topk(port); break;
    case OpCode::kMoeMatmul: {
      SLUICE_TRY(out, moe_matmul(port));
      break;
    }
    case OpCode::kMoeCombine: out = moe_combine(port); break;
    case OpCode::kSelectRows: out = select_row(port); break;
    case OpCode::kQuantize: out = quantize(port); break;
    case OpCode::kRopeTable:
    case OpCode::kObserve: return Error{"values: " + std::string(program::schema(port.op().code).name) + " is not computed on chips"};
  }
  return {};
}

}  // namespace sluice::lpu
