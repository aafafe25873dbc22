// The rotation, the definition: plain scalar code in the order that the contract (rope.h) states. Also the baseline path.
#include "kernels/rope/rope.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {

void rope_reference(const RopeArgs& args) {
  const size_t step = args.interleaved ? 2 : 1;
  const size_t second = args.interleaved ? 1 : args.pairs;
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* cosine = args.cos_sin + row * args.cos_sin_stride;
    const float* sine = cosine + args.pairs;
    for (size_t head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.x_stride + head * args.head_dim;
      for (size_t i = 0; i < args.pairs; ++i) {
        const float x0 = x[i * step];
        const float x1 = x[i * step + second];
        x[i * step] = fma_exact(x0, cosine[i], -(x1 * sine[i]));
        x[i * step + second] = fma_exact(x1, cosine[i], x0 * sine[i]);
      }
    }
  }
}

}  // namespace sluice::kernels
