// Mixture of experts, the definition: plain scalar code in the order that the contract (moe.h) states. Also the baseline path.
#include <limits>

#include "kernels/moe/moe.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {
namespace {

void softmax(const float* logits, uint32_t experts, float* p) {
  float partial_max[16];
  for (float& m : partial_max) m = -std::numeric_limits<float>::infinity();
  for (uint32_t e = 0; e < experts; ++e) partial_max[e % 16] = max32(partial_max[e % 16], logits[e]);
  const float m = tree_max(partial_max);
  float partial[16] = {};
  for (uint32_t e = 0; e < experts; ++e) {
    p[e] = exp32(logits[e] - m);
    partial[e % 16] = partial[e % 16] + p[e];
  }
  const float sum = tree_sum(partial);
  for (uint32_t e = 0; e < experts; ++e) p[e] = p[e] / sum;
}

}  // namespace

void moe_topk_reference(const MoeTopkArgs& args) {
  constexpr float kTaken = -1.0f;  // probabilities are never negative
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    float* p = args.scratch;
    softmax(args.logits + row * args.logits_stride, args.experts, p);
    int32_t* ids = args.ids + row * args.k;
    float* weights = args.weights + row * args.k;
    float sum = 0.0f;
    for (uint32_t j = 0; j < args.k; ++j) {
      uint32_t best = 0;
      while (p[best] == kTaken) ++best;
      for (uint32_t e = best + 1; e < args.experts; ++e) {
        if (p[e] > p[best]) best = e;
      }
      ids[j] = static_cast<int32_t>(best);
      weights[j] = p[best];
      sum = sum + p[best];
      p[best] = kTaken;
    }
    if (!args.renormalize) continue;
    for (uint32_t j = 0; j < args.k; ++j) weights[j] = weights[j] / sum;
  }
}

void moe_combine_reference(const MoeCombineArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    float* out = args.out + row * args.out_stride;
    for (size_t i = 0; i < args.width_padded; ++i) {
      float sum = 0.0f;
      for (uint32_t j = 0; j < args.k; ++j) sum = fma_exact(args.weights[row * args.k + j], args.y[(row * args.k + j) * args.y_stride + i], sum);
      out[i] = args.accumulate ? sum + out[i] : sum;
    }
  }
}

}  // namespace sluice::kernels
