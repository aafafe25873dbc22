// Causal convolution on the vocabulary of vec_*-inl.h: channels in the lanes, the last inputs in registers. Rows are taken kRowChunk at a time for all
// channels. Contract: conv1d.h; definition: conv1d_reference.cc.
#pragma once

#include "kernels/conv1d/conv1d.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

inline constexpr size_t kRowChunk = 16;
inline constexpr size_t kPrefetchChannels = 32;  // ahead in the same row: rows lie pages apart, so no hardware prefetcher sees the walk

template <size_t kTaps, bool kSilu>
void convolve(const Conv1dArgs& args, float* state, size_t channel, size_t row_begin, size_t row_end) {
  const size_t stride = args.channels_padded;
  V weight[kTaps];
  V window[kTaps];  // inputs, oldest first; the last is the current row's
  SLUICE_UNROLL
  for (size_t j = 0; j < kTaps; ++j) weight[j] = load<V>(args.weight + j * stride + channel);
  SLUICE_UNROLL
  for (size_t j = 0; j + 1 < kTaps; ++j) window[j] = load<V>(state + j * stride + channel);
  const V bias = args.bias != nullptr ? load<V>(args.bias + channel) : set<V>(0.0f);
  for (size_t row = row_begin; row < row_end; ++row) {
    prefetch(args.x + row * args.x_stride + channel + kPrefetchChannels);
    window[kTaps - 1] = load<V>(args.x + row * args.x_stride + channel);
    V y = bias;
    SLUICE_UNROLL
    for (size_t j = 0; j < kTaps; ++j) y = fma(weight[j], window[j], y);
    if constexpr (kSilu) y = silu(y);
    store(args.out + row * args.out_stride + channel, y);
    SLUICE_UNROLL
    for (size_t j = 0; j + 1 < kTaps; ++j) window[j] = window[j + 1];
  }
  SLUICE_UNROLL
  for (size_t j = 0; j + 1 < kTaps; ++j) store(state + j * stride + channel, window[j]);
}

template <size_t kTaps>
void convolve_all(const Conv1dArgs& args) {
  for (size_t s = 0; s < args.segment_count; ++s) {
    const StateSegment& segment = args.segments[s];
    for (size_t row = segment.row_begin; row < segment.row_end; row += kRowChunk) {
      const size_t end = segment.row_end - row < kRowChunk ? segment.row_end : row + kRowChunk;
      for (size_t channel = args.channel_begin; channel < args.channel_end; channel += 16) {
        if (args.silu) {
          convolve<kTaps, true>(args, segment.state, channel, row, end);
        } else {
          convolve<kTaps, false>(args, segment.state, channel, row, end);
        }
      }
    }
  }
}

void conv1d(const Conv1dArgs& args) {
  switch (args.taps) {
    case 2: return convolve_all<2>(args);
    case 3: return convolve_all<3>(args);
    case 4: return convolve_all<4>(args);
    case 5: return convolve_all<5>(args);
    case 6: return convolve_all<6>(args);
    case 7: return convolve_all<7>(args);
    case 8: return convolve_all<8>(args);
    default: return;  // the contract says 2..8
  }
}

}  // namespace
}  // namespace sluice::kernels
