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
  const Range part = share(strips, thread, step.threads);
  a.strip_begin = part.begin;
  a.strip_end = part.end;
  if (a.rows > 0 && part.begin < part.end) kernel(a);
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

void MoeMatmulOp::run(const Step& step, Scratch& scratch, uint32_t thread) const {
  const Range part = share(strips, thread, step.threads);
  if (part.begin == part.end) return;
  // Slots sorted by expert (counting sort): an expert's rows share one pass over its weights. Every thread makes the same lists.
  const size_t chosen = ids.width, slots = step.rows() * chosen;
  const int32_t* expert_of = ids.integers();
  std::fill_n(scratch.expert_begin.begin(), experts + 1, 0);
  for (size_t s = 0; s < slots; ++s) ++scratch.expert_begin[static_cast<size_t>(expert_of[s]) + 1];
  for (size_t e = 0; e < experts; ++e) scratch.expert_begin[e + 1] += scratch.expert_begin[e];
  for (size_t s = 0; s < slots; ++s) {
    const size_t place = static_cast<size_t>(scratch.expert_begin[static_cast<size_t>(expert_of[s])]++);
    scratch.slot_rows[place] = static_cast<int32_t>(s);
    scratch.slot_inputs[place] = static_cast<int32_t>(x_is_slots ? s : s / chosen);
  }
  kernels::MatmulArgs a = args;
  a.strip_begin = part.begin;
  a.strip_end = part.end;
  size_t begin = 0;
  for (size_t e = 0; e < experts; ++e) {
    const size_t end = static_cast<size_t>(scratch.expert_begin[e]);  // after the sort, where the next expert begins
    if (begin < end) {
      a.weights = args.weights + e * expert_bytes;
      a.in_rows = scratch.slot_inputs.data() + begin;
      a.out_rows = scratch.slot_rows.data() + begin;
      a.rows = end - begin;
      kernel(a);
    }
    begin = end;
  }
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
