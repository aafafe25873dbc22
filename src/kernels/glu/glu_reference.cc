// Gated units, the definition: plain scalar code in the order that the contract (glu.h) states. Also the baseline path.
#include "kernels/glu/glu.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {
namespace {

float relu2(float x) {
  const float positive = max32(0.0f, x);  // NaN stays
  return positive * positive;
}

template <float (*kActivation)(float)>
void glu(const GluArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* gate = args.gate + row * args.gate_stride;
    float* out = args.out + row * args.out_stride;
    for (size_t i = 0; i < args.width_padded; ++i) {
      const float y = kActivation(gate[i]);
      out[i] = args.up != nullptr ? y * args.up[row * args.up_stride + i] : y;
    }
  }
}

}  // namespace

GluFn glu_reference(Activation activation) {
  switch (activation) {
    case Activation::kSilu: return glu<silu32>;
    case Activation::kGeluTanh: return glu<gelu_tanh32>;
    case Activation::kRelu2: return glu<relu2>;
  }
  return nullptr;
}

}  // namespace sluice::kernels
