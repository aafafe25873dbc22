// Mixture of experts: choice of experts per row, and the weighted sum of their outputs. The experts' matrices are ordinary matmuls over gathered rows.
// Softmax over all experts: m = max, e = exp(x - m), sum by 16 interleaved partial sums (index mod 16) and the tree of matmul.h, p = e / sum.
// top-k by value, lowest index first on ties, in order of falling value; weights are p, divided by their sum (in that order) when renormalised.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

struct MoeTopkArgs {
  const float* logits;  // [rows, experts], stride logits_stride floats
  size_t logits_stride;
  uint32_t experts, k;
  bool renormalize;
  int32_t* ids;         // [rows, k]
  float* weights;       // [rows, k]
  float* scratch;       // [experts padded to 16], one per thread
  size_t row_begin, row_end;
};
using MoeTopkFn = void (*)(const MoeTopkArgs&);
MoeTopkFn moe_topk_for(Isa isa);

// out[r] (+)= sum_j weights[r, j] * y[r * k + j], by fma in order of j, from 0; then + out[r] if accumulate.
struct MoeCombineArgs {
  const float* y;  // [rows * k, width], stride y_stride floats
  size_t y_stride;
  const float* weights;  // [rows, k]
  uint32_t k;
  float* out;
  size_t out_stride;
  size_t width_padded;
  bool accumulate;
  size_t row_begin, row_end;
};
using MoeCombineFn = void (*)(const MoeCombineArgs&);
MoeCombineFn moe_combine_for(Isa isa);

}  // namespace sluice::kernels
