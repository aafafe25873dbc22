// Causal depthwise convolution with state, as every Mamba-like mixer has it: y[t, c] = act(bias[c] + sum_j w[j, c] * x[t - (taps-1) + j, c]), by fma
// in order of j, starting from the bias. The state holds the taps-1 last raw inputs (before bias and activation), oldest first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

// Rows of one sequence that lie together in a step, in time order.
struct StateSegment {
  size_t row_begin, row_end;
  float* state;  // this sequence's state for this op (see each op for its shape); updated in place
};

struct Conv1dArgs {
  const float* x;       // [rows, channels], stride x_stride floats
  size_t x_stride;
  const float* weight;  // [taps, channels padded to 16], tap taps-1 multiplies the current row
  const float* bias;    // [channels padded to 16], or null: zero
  float* out;           // [rows, channels], stride out_stride floats; not x
  size_t out_stride;
  size_t taps;          // 2..8
  size_t channels_padded;
  bool silu;
  const StateSegment* segments;  // state: [taps - 1, channels_padded]
  size_t segment_count;
  size_t channel_begin, channel_end;  // multiples of 16
};
using Conv1dFn = void (*)(const Conv1dArgs&);
Conv1dFn conv1d_for(Isa isa);

}  // namespace sluice::kernels
