// RMSNorm (Zhang and Sennrich 2019): y = (x * r) * w, r = 1 / sqrt(mean(x^2) + eps), over `width` columns of each group.
// The sum of squares has 16 interleaved partial sums (column mod 16) by fma and the tree of matmul.h; mean is sum / width; 1, sqrt and / are correctly rounded.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

struct RmsNormArgs {
  const float* x;       // [rows, groups * width], stride x_stride floats; may equal out
  size_t x_stride;
  const float* weight;  // [width padded to 16], shared by the groups; null: no weight
  float* out;
  size_t out_stride;
  uint64_t width;       // columns of a group (head_dim for q/k norms); any value
  uint64_t groups;      // 1, or heads, lying at group * width
  float epsilon;
  size_t row_begin, row_end;
};
using RmsNormFn = void (*)(const RmsNormArgs&);
RmsNormFn rmsnorm_for(Isa isa);

}  // namespace sluice::kernels
