// The rotation on the vocabulary of vec_*-inl.h. Contract: rope.h; definition: rope_reference.cc.
#pragma once

#include "kernels/rope/rope.h"

namespace sluice::kernels {
namespace {

// Pairs (i, i + pairs).
void rotate_halves(float* x, const float* cosine, const float* sine, size_t pairs) {
  for (size_t i = 0; i < pairs; i += 16) {
    const size_t n = pairs - i < 16 ? pairs - i : 16;
    const V c = load_first(cosine + i, n);
    const V s = load_first(sine + i, n);
    const V x0 = load_first(x + i, n);
    const V x1 = load_first(x + pairs + i, n);
    store_first(x + i, fma(x0, c, negate(mul(x1, s))), n);
    store_first(x + pairs + i, fma(x1, c, mul(x0, s)), n);
  }
}

// Pairs (2i, 2i + 1): the even lane adds -(x1 * s), the odd one x0 * s.
void rotate_pairs(float* x, const float* cosine, const float* sine, size_t pairs) {
  for (size_t i = 0; i < pairs; i += 8) {
    const size_t n = pairs - i < 8 ? pairs - i : 8;
    const V c = duplicate(cosine + i, n);
    const V s = duplicate(sine + i, n);
    const V v = load_first(x + 2 * i, 2 * n);
    store_first(x + 2 * i, fma(v, c, negate_even(mul(swap_pairs(v), s))), 2 * n);
  }
}

void rope(const RopeArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* cosine = args.cos_sin + row * args.cos_sin_stride;
    const float* sine = cosine + args.pairs;
    for (size_t head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.x_stride + head * args.head_dim;
      if (args.interleaved) {
        rotate_pairs(x, cosine, sine, args.pairs);
      } else {
        rotate_halves(x, cosine, sine, args.pairs);
      }
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
