// Gated units on the vocabulary of vec_*-inl.h. Contract: glu.h; definition: glu_reference.cc.
#pragma once

#include "kernels/glu/glu.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

template <Activation kActivation>
SLUICE_VEC V activate(V x) {
  if constexpr (kActivation == Activation::kSilu) return silu(x);
  if constexpr (kActivation == Activation::kGeluTanh) return gelu_tanh(x);
  if constexpr (kActivation == Activation::kRelu2) return relu2(x);
}

template <Activation kActivation>
void glu(const GluArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* gate = args.gate + row * args.gate_stride;
    const float* up = args.up != nullptr ? args.up + row * args.up_stride : nullptr;
    float* out = args.out + row * args.out_stride;
    if (up != nullptr) {
      for (size_t i = 0; i < args.width_padded; i += 16) store(out + i, mul(activate<kActivation>(load<V>(gate + i)), load<V>(up + i)));
    } else {
      for (size_t i = 0; i < args.width_padded; i += 16) store(out + i, activate<kActivation>(load<V>(gate + i)));
    }
  }
}

GluFn glu_function(Activation activation) {
  switch (activation) {
    case Activation::kSilu: return glu<Activation::kSilu>;
    case Activation::kGeluTanh: return glu<Activation::kGeluTanh>;
    case Activation::kRelu2: return glu<Activation::kRelu2>;
  }
  return nullptr;
}

}  // namespace
}  // namespace sluice::kernels
