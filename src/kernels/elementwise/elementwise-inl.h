// Elementwise ops on the vocabulary of vec_*-inl.h. Contract: elementwise.h; definition: elementwise_reference.cc.
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

template <Elementwise kOp>
void elementwise(const ElementwiseArgs& args) {
  const V factor = set<V>(args.factor);
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* a = args.a + row * args.a_stride;
    const float* b = kOp == Elementwise::kAdd ? args.b + row * args.b_stride : nullptr;
    float* out = args.out + row * args.out_stride;
    for (size_t i = 0; i < args.width_padded; i += 16) {
      const V x = load<V>(a + i);
      if constexpr (kOp == Elementwise::kAdd) store(out + i, add(x, load<V>(b + i)));
      if constexpr (kOp == Elementwise::kScale) store(out + i, mul(x, factor));
      if constexpr (kOp == Elementwise::kSoftcap) store(out + i, mul(factor, tanh(div(x, factor))));
    }
  }
}

ElementwiseFn elementwise_function(Elementwise op) {
  switch (op) {
    case Elementwise::kAdd: return elementwise<Elementwise::kAdd>;
    case Elementwise::kScale: return elementwise<Elementwise::kScale>;
    case Elementwise::kSoftcap: return elementwise<Elementwise::kSoftcap>;
  }
  return nullptr;
}

}  // namespace
}  // namespace sluice::kernels
