#include "runtime/bound_ops.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace sluice::runtime {
namespace {

// The step's segments with this op's part of each sequence's state.
std::span<const kernels::StateSegment> with_offset(const Step& step, Scratch& scratch, size_t state_floats) {
  for (size_t i = 0; i < step.segments.size(); ++i) {
    scratch.segments[i] = step.segments[i];
    scratch.segments[i].state += state_floats;
  }
  return scratch.segments.first(step.segments.size());
}

// Strips of a matrix that are taken at once: a multiple of the four that a block of many rows holds, and long enough that reading them hides the taking.
// Static halves cost more the slower memory is, for of two threads the one that gets less of it keeps the other waiting at 250 barriers a step: a decode step
// of Jamba 3B Q4_K_M took 60.0 ms in chunks of 8 strips and 62.3 in halves (medians of 150 steps each, by turns; 16: 60.2, 32: 61.0; 4 and 2 no better).
constexpr size_t kStripsTaken = 8;

// Units [0, n), those of this thread's part first, then what the others have not taken yet.
template <typename Run>
void take_in_turns(const Parts& parts, const Step& step, uint32_t thread, size_t n, Run run) {
  for (uint32_t i = 0; i < step.threads; ++i) {
    const uint32_t owner = (thread + i) % step.threads;
    const Range part = share(n, owner, step.threads);
    const auto next = [&] { return part.begin + parts[owner].take(step.number); };
    for (size_t unit = next(); unit < part.end; unit = next()) run(unit);
  }
}

size_t chunks_of(size_t strips) { return (strips + kStripsTaken - 1) / kStripsTaken; }

void run_chunk(kernels::MatmulFn kernel, kernels::MatmulArgs& args, size_t strips, size_t chunk) {
  args.strip_begin = chunk * kStripsTaken;
  args.strip_end = std::min(args.strip_begin + kStripsTaken, strips);
  kernel(args);
}

}  // namespace

void EmbedOp::run(const Step& step, Scratch&, uint32_t thread) const {
  const Range rows = share(step.rows(), thread, step.threads);
  for (size_t r = rows.begin; r < rows.end; ++r) {
    float* row = out.floats() + r * out.stride_floats();
    kernels::unpack_row(dtype, table, n, k, static_cast<uint64_t>(step.tokens[r]), row);
    for (size_t i = 0; i < k; ++i) row[i] *= scale;
    for (size_t i = k; i < out.padded(); ++i) row[i] = 0;
  }
}

void RmsNormOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::RmsNormArgs a = args;
  const Range rows = share(x.count(step), thread, step.threads);
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

void QuantizeOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::QuantizeArgs a = args;
  const Range rows = share(x.count(step), thread, step.threads);
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

void MatmulOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::MatmulArgs a = args;
  a.rows = x.count(step);
  if (a.rows == 0) return;
  take_in_turns(parts, step, thread, chunks_of(strips), [&](size_t chunk) { run_chunk(kernel, a, strips, chunk); });
}

void RopeTableOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::RopeTableArgs a = args;
  const Range rows = share(step.rows(), thread, step.threads);
  a.positions = step.positions.data();
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

void RopeOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::RopeArgs a = args;
  const Range rows = share(step.rows(), thread, step.threads);
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

void KvWriteOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::KvWriteArgs a = args;
  const Range rows = share(step.rows(), thread, step.threads);
  a.rows = step.kv_rows.data();
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

void AttentionOp::run(const Step& step, Scratch& scratch, uint32_t thread) const {
  kernels::AttentionArgs a = args;
  const Range items = share(step.rows() * a.shape.heads * a.head_parts, thread, step.threads);
  a.rows = step.kv_rows.data();
  a.row_count = step.rows();
  a.scratch = scratch.floats.data();
  a.item_begin = items.begin;
  a.item_end = items.end;
  if (items.begin < items.end) kernel(a);
}

void Conv1dOp::run(const Step& step, Scratch& scratch, uint32_t thread) const {
  kernels::Conv1dArgs a = args;
  const Range blocks = share(a.channels_padded / 16, thread, step.threads);
  if (blocks.begin == blocks.end) return;
  const auto segments = with_offset(step, scratch, state_floats);
  a.segments = segments.data();
  a.segment_count = segments.size();
  a.channel_begin = blocks.begin * 16;
  a.channel_end = blocks.end * 16;
  kernel(a);
}

void SsmScanOp::run(const Step& step, Scratch& scratch, uint32_t thread) const {
  kernels::SsmScanArgs a = args;
  const Range blocks = share(channels / 16, thread, step.threads);
  if (blocks.begin == blocks.end) return;
  const auto segments = with_offset(step, scratch, state_floats);
  a.segments = segments.data();
  a.segment_count = segments.size();
  a.channel_begin = blocks.begin * 16;
  a.channel_end = blocks.end * 16;
  kernel(a);
}

void GluOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::GluArgs a = args;
  const Range rows = share(gate.count(step), thread, step.threads);
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

void ElementwiseOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::ElementwiseArgs e = args;
  const Range rows = share(a.count(step), thread, step.threads);
  e.row_begin = rows.begin;
  e.row_end = rows.end;
  if (rows.begin < rows.end) kernel(e);
}

void MoeTopkOp::run(const Step& step, Scratch& scratch, uint32_t thread) const {
  kernels::MoeTopkArgs a = args;
  const Range rows = share(step.rows(), thread, step.threads);
  a.scratch = scratch.floats.data();
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

// Slots sorted by expert (counting sort): an expert's rows share one pass over its weights. Every thread makes the same lists.
std::span<const ExpertSlots> MoeMatmulOp::sort_slots(const Step& step, Scratch& scratch) const {
  const size_t chosen = ids.width, slots = step.rows() * chosen;
  const int32_t* expert_of = ids.integers();
  std::fill_n(scratch.expert_begin.begin(), experts + 1, 0);
  for (size_t s = 0; s < slots; ++s) ++scratch.expert_begin[static_cast<size_t>(expert_of[s]) + 1];
  for (size_t e = 0; e < experts; ++e) scratch.expert_begin[e + 1] += scratch.expert_begin[e];
  size_t used = 0;
  for (size_t e = 0; e < experts; ++e) {
    const ExpertSlots of = {static_cast<int32_t>(e), scratch.expert_begin[e], scratch.expert_begin[e + 1]};
    if (of.begin < of.end) scratch.experts[used++] = of;
  }
  for (size_t s = 0; s < slots; ++s) {
    const size_t place = static_cast<size_t>(scratch.expert_begin[static_cast<size_t>(expert_of[s])]++);
    scratch.slot_rows[place] = static_cast<int32_t>(s);
    scratch.slot_inputs[place] = static_cast<int32_t>(x_is_slots ? s : s / chosen);
  }
  return scratch.experts.first(used);
}

void MoeMatmulOp::run(const Step& step, Scratch& scratch, uint32_t thread) const {
  const std::span<const ExpertSlots> used = sort_slots(step, scratch);
  kernels::MatmulArgs a = args;
  const size_t chunks = chunks_of(strips);
  take_in_turns(parts, step, thread, used.size() * chunks, [&](size_t unit) {
    const ExpertSlots& of = used[unit / chunks];
    a.weights = args.weights + static_cast<size_t>(of.expert) * expert_bytes;
    a.in_rows = scratch.slot_inputs.data() + of.begin;
    a.out_rows = scratch.slot_rows.data() + of.begin;
    a.rows = static_cast<size_t>(of.end - of.begin);
    run_chunk(kernel, a, strips, unit % chunks);
  });
}

void MoeCombineOp::run(const Step& step, Scratch&, uint32_t thread) const {
  kernels::MoeCombineArgs a = args;
  const Range rows = share(step.rows(), thread, step.threads);
  a.row_begin = rows.begin;
  a.row_end = rows.end;
  if (rows.begin < rows.end) kernel(a);
}

void SelectRowsOp::run(const Step& step, Scratch&, uint32_t thread) const {
  const Range rows = share(step.logit_rows.size(), thread, step.threads);
  for (size_t r = rows.begin; r < rows.end; ++r) {
    std::memcpy(out.data + r * out.stride, x.data + static_cast<size_t>(step.logit_rows[r]) * x.stride, x.padded() * sizeof(float));
  }
}

void ObserveOp::run(const Step& step, Scratch&, uint32_t thread) const {
  if (thread != 0 || step.observer == nullptr || step.observer->see == nullptr) return;
  step.observer->see(step.observer->context, index, x.floats(), x.count(step), x.width, x.stride_floats());
}

}  // namespace sluice::runtime
