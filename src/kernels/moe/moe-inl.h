// Mixture of experts on the vocabulary of vec_*-inl.h. Contract: moe.h; definition: moe_reference.cc.
#pragma once

#include "kernels/moe/moe.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

// Softmax of `experts` logits to p, which has room for a whole last vector.
void softmax(const float* logits, size_t experts, float* p) {
  const V lowest = set<V>(-__builtin_inff());
  V largest = lowest;
  for (size_t e = 0; e < experts; e += 16) {
    const size_t n = experts - e < 16 ? experts - e : 16;
    largest = max(largest, keep_lanes(load_first(logits + e, n), 0, n, largest));  // a lane against itself changes nothing
  }
  const V m = set<V>(max_tree(largest));
  V sum = set<V>(0.0f);
  for (size_t e = 0; e < experts; e += 16) {
    const size_t n = experts - e < 16 ? experts - e : 16;
    const V y = keep_lanes(exp(sub(load_first(logits + e, n), m)), 0, n, set<V>(0.0f));
    store(p + e, y);
    sum = add(sum, y);
  }
  const V total = set<V>(sum_tree(sum));
  for (size_t e = 0; e < experts; e += 16) store(p + e, div(load<V>(p + e), total));
}

// The k largest of p in falling order, the lowest index first among equals. Taken ones become -1.
float choose(float* p, uint32_t experts, uint32_t k, int32_t* ids, float* weights) {
  constexpr float kTaken = -1.0f;  // probabilities are never negative
  float sum = 0.0f;
  for (uint32_t j = 0; j < k; ++j) {
    uint32_t best = 0;
    while (p[best] == kTaken) ++best;
    float best_p = p[best];
    for (uint32_t e = best + 1; e < experts; ++e) {
      if (p[e] > best_p) {
        best = e;
        best_p = p[e];
      }
    }
    ids[j] = static_cast<int32_t>(best);
    weights[j] = best_p;
    sum = sum + best_p;
    p[best] = kTaken;
  }
  return sum;
}

void moe_topk(const MoeTopkArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    softmax(args.logits + row * args.logits_stride, args.experts, args.scratch);
    float* weights = args.weights + row * args.k;
    const float sum = choose(args.scratch, args.experts, args.k, args.ids + row * args.k, weights);
    if (!args.renormalize) continue;
    for (uint32_t j = 0; j < args.k; ++j) weights[j] = weights[j] / sum;
  }
}

void moe_combine(const MoeCombineArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    float* out = args.out + row * args.out_stride;
    for (size_t i = 0; i < args.width_padded; i += 16) {
      V sum = set<V>(0.0f);
      for (uint32_t j = 0; j < args.k; ++j) {
        sum = fma(set<V>(args.weights[row * args.k + j]), load<V>(args.y + (row * args.k + j) * args.y_stride + i), sum);
      }
      store(out + i, args.accumulate ? add(sum, load<V>(out + i)) : sum);
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
