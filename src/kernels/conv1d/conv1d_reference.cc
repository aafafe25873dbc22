// Causal convolution, the definition: plain scalar code in the order that the contract (conv1d.h) states. Also the baseline path.
#include "kernels/conv1d/conv1d.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {

void conv1d_reference(const Conv1dArgs& args) {
  const size_t history = args.taps - 1;
  for (size_t s = 0; s < args.segment_count; ++s) {
    const StateSegment& segment = args.segments[s];
    for (size_t c = args.channel_begin; c < args.channel_end; ++c) {
      float* state = segment.state + c;  // state[j * channels_padded]: the input history - j rows ago
      for (size_t row = segment.row_begin; row < segment.row_end; ++row) {
        const float x = args.x[row * args.x_stride + c];
        float y = args.bias != nullptr ? args.bias[c] : 0.0f;
        for (size_t j = 0; j < history; ++j) y = fma_exact(args.weight[j * args.channels_padded + c], state[j * args.channels_padded], y);
        y = fma_exact(args.weight[history * args.channels_padded + c], x, y);
        for (size_t j = 0; j + 1 < history; ++j) state[j * args.channels_padded] = state[(j + 1) * args.channels_padded];
        state[(history - 1) * args.channels_padded] = x;
        args.out[row * args.out_stride + c] = args.silu ? silu32(y) : y;
      }
    }
  }
}

}  // namespace sluice::kernels
