// Selective scan of Mamba-1 (Gu and Dao 2023, algorithm 2), in time order, channels in the vector lanes:
//   dt = softplus(dt_raw[c]);  u = dt * x[c];  for n in order: h[n] = fma(exp(dt * A[n]), h[n], u * B[n]);  y = sum_n fma(h[n], C[n], y), y from 0;
//   y = fma(D[c], x[c], y);  if z: y = y * silu(z[c]).
// exp(dt * A[n]) is 2^((dt * log2 e) * A[n]) by exp2_decay (kernels/vec/math.h), which saves the range reduction by ln 2; decays below 2^-126 are 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"
#include "kernels/conv1d/conv1d.h"

namespace sluice::kernels {

struct SsmScanArgs {
  const float* x;   // [rows, channels], after convolution and silu; stride x_stride floats (likewise below)
  size_t x_stride;
  const float* dt;  // [rows, channels], before softplus, bias added
  size_t dt_stride;
  const float* b;   // [rows, states]
  size_t b_stride;
  const float* c;   // [rows, states]
  size_t c_stride;
  const float* z;   // [rows, channels] gate, or null
  size_t z_stride;
  const float* a;   // [channels_padded / 16, states, 16], not positive, not NaN (already -exp(A_log))
  const float* d;   // [channels padded to 16]
  float* out;       // [rows, channels]; may be x or z (same element read before written)
  size_t out_stride;
  size_t states;
  const StateSegment* segments;  // state: [channels_padded / 16, states, 16]
  size_t segment_count;
  size_t channel_begin, channel_end;  // multiples of 16
};
using SsmScanFn = void (*)(const SsmScanArgs&);
SsmScanFn ssm_scan_for(Isa isa);

}  // namespace sluice::kernels
