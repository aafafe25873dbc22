// Selective scan on the vocabulary of vec_*-inl.h: channels in the lanes, so no horizontal sums, and B and C are broadcast. With 16 states and AVX-512 the
// state of 16 channels stays in registers over kRowChunk rows; otherwise it lives in L1. Contract: ssm_scan.h; definition: ssm_scan_reference.cc.
#pragma once

#include "kernels/ssm_scan/ssm_scan.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

inline constexpr size_t kRowChunk = 16;

// One row's inputs of 16 channels, before and after the walk over the states.
struct Step {
  V x, u, dt2;
};

SLUICE_VEC Step begin_step(const SsmScanArgs& args, size_t row, size_t channel) {
  const V x = load<V>(args.x + row * args.x_stride + channel);
  const V dt = softplus(load<V>(args.dt + row * args.dt_stride + channel));
  return {x, mul(dt, x), mul(dt, set<V>(kLog2E))};
}

SLUICE_VEC void end_step(const SsmScanArgs& args, size_t row, size_t channel, const Step& step, V y) {
  y = fma(load<V>(args.d + channel), step.x, y);
  if (args.z != nullptr) y = mul(y, silu(load<V>(args.z + row * args.z_stride + channel)));
  store(args.out + row * args.out_stride + channel, y);
}

SLUICE_VEC V next_state(const Step& step, const float* a, float b, V h) {
  return fma(exp2_decay(mul(step.dt2, load<V>(a))), h, mul(step.u, set<V>(b)));
}

// 16 states held in an array that the compiler keeps in registers.
void scan_in_registers(const SsmScanArgs& args, float* state, const float* a, size_t channel, size_t row_begin, size_t row_end) {
  V h[16];
  SLUICE_UNROLL
  for (size_t n = 0; n < 16; ++n) h[n] = load<V>(state + 16 * n);
  for (size_t row = row_begin; row < row_end; ++row) {
    const Step step = begin_step(args, row, channel);
    const float* b = args.b + row * args.b_stride;
    const float* c = args.c + row * args.c_stride;
    V y = set<V>(0.0f);
    SLUICE_UNROLL
    for (size_t n = 0; n < 16; ++n) {
      h[n] = next_state(step, a + 16 * n, b[n], h[n]);
      y = fma(h[n], set<V>(c[n]), y);
    }
    end_step(args, row, channel, step, y);
  }
  SLUICE_UNROLL
  for (size_t n = 0; n < 16; ++n) store(state + 16 * n, h[n]);
}

void scan_in_memory(const SsmScanArgs& args, float* state, const float* a, size_t channel, size_t row_begin, size_t row_end) {
  for (size_t row = row_begin; row < row_end; ++row) {
    const Step step = begin_step(args, row, channel);
    const float* b = args.b + row * args.b_stride;
    const float* c = args.c + row * args.c_stride;
    V y = set<V>(0.0f);
    for (size_t n = 0; n < args.states; ++n) {
      const V h = next_state(step, a + 16 * n, b[n], load<V>(state + 16 * n));
      store(state + 16 * n, h);
      y = fma(h, set<V>(c[n]), y);
    }
    end_step(args, row, channel, step, y);
  }
}

void ssm_scan(const SsmScanArgs& args) {
  for (size_t s = 0; s < args.segment_count; ++s) {
    const StateSegment& segment = args.segments[s];
    for (size_t row = segment.row_begin; row < segment.row_end; row += kRowChunk) {
      const size_t end = segment.row_end - row < kRowChunk ? segment.row_end : row + kRowChunk;
      for (size_t channel = args.channel_begin; channel < args.channel_end; channel += 16) {
        float* state = segment.state + channel * args.states;
        const float* a = args.a + channel * args.states;
        if (kAvx512 && args.states == 16) {
          scan_in_registers(args, state, a, channel, row, end);
        } else {
          scan_in_memory(args, state, a, channel, row, end);
        }
      }
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
