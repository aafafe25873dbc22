// Selective scan, the definition: plain scalar code in the order that the contract (ssm_scan.h) states. Also the baseline path.
#include "kernels/ssm_scan/ssm_scan.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {

void ssm_scan_reference(const SsmScanArgs& args) {
  for (size_t s = 0; s < args.segment_count; ++s) {
    const StateSegment& segment = args.segments[s];
    for (size_t channel = args.channel_begin; channel < args.channel_end; ++channel) {
      const size_t block = channel / 16 * args.states * 16 + channel % 16;
      float* h = segment.state + block;  // h[16 * n]
      const float* a = args.a + block;
      for (size_t row = segment.row_begin; row < segment.row_end; ++row) {
        const float x = args.x[row * args.x_stride + channel];
        const float dt = softplus32(args.dt[row * args.dt_stride + channel]);
        const float u = dt * x;
        const float dt2 = dt * kLog2E;
        float y = 0.0f;
        for (size_t n = 0; n < args.states; ++n) {
          const float decay = exp2_decay32(dt2 * a[16 * n]);
          h[16 * n] = fma_exact(decay, h[16 * n], u * args.b[row * args.b_stride + n]);
          y = fma_exact(h[16 * n], args.c[row * args.c_stride + n], y);
        }
        y = fma_exact(args.d[channel], x, y);
        if (args.z != nullptr) y = y * silu32(args.z[row * args.z_stride + channel]);
        args.out[row * args.out_stride + channel] = y;
      }
    }
  }
}

}  // namespace sluice::kernels
