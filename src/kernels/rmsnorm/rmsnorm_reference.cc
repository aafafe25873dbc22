// RMSNorm, the definition: plain scalar code in the order that the contract (rmsnorm.h) states. Also the baseline path.
#include <cmath>

#include "kernels/rmsnorm/rmsnorm.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {

void rmsnorm_reference(const RmsNormArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    for (size_t group = 0; group < args.groups; ++group) {
      const float* x = args.x + row * args.x_stride + group * args.width;
      float* out = args.out + row * args.out_stride + group * args.width;
      float partial[16] = {};
      for (size_t i = 0; i < args.width; ++i) partial[i % 16] = fma_exact(x[i], x[i], partial[i % 16]);
      const float mean = tree_sum(partial) / static_cast<float>(args.width);
      const float r = 1.0f / std::sqrt(mean + args.epsilon);
      for (size_t i = 0; i < args.width; ++i) {
        const float y = x[i] * r;
        out[i] = args.weight != nullptr ? y * args.weight[i] : y;
      }
    }
  }
}

}  // namespace sluice::kernels
