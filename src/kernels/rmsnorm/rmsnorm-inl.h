// RMSNorm on the vocabulary of vec_*-inl.h: the 16 partial sums are the 16 lanes. Contract: rmsnorm.h; definition: rmsnorm_reference.cc.
#pragma once

#include "kernels/rmsnorm/rmsnorm.h"

namespace sluice::kernels {
namespace {

float inverse_rms(const float* x, size_t width, float epsilon) {
  V sum = set<V>(0.0f);
  size_t i = 0;
  for (; i + 16 <= width; i += 16) {
    const V v = load<V>(x + i);
    sum = fma(v, v, sum);
  }
  if (i < width) {
    const V v = load_first(x + i, width - i);
    sum = fma(v, v, sum);  // 0 * 0 + s is s: no partial sum is -0
  }
  return 1.0f / __builtin_sqrtf(sum_tree(sum) / static_cast<float>(width) + epsilon);
}

template <bool kWeighted>
void normalize(const RmsNormArgs& args, const float* x, float* out) {
  const size_t width = args.width;
  const V r = set<V>(inverse_rms(x, width, args.epsilon));
  size_t i = 0;
  for (; i + 16 <= width; i += 16) {
    V y = mul(load<V>(x + i), r);
    if constexpr (kWeighted) y = mul(y, load<V>(args.weight + i));
    store(out + i, y);
  }
  if (i < width) {
    V y = mul(load_first(x + i, width - i), r);
    if constexpr (kWeighted) y = mul(y, load<V>(args.weight + i));
    store_first(out + i, y, width - i);
  }
}

void rmsnorm(const RmsNormArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    for (size_t group = 0; group < args.groups; ++group) {
      const float* x = args.x + row * args.x_stride + group * args.width;
      float* out = args.out + row * args.out_stride + group * args.width;
      if (args.weight != nullptr) {
        normalize<true>(args, x, out);
      } else {
        normalize<false>(args, x, out);
      }
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
