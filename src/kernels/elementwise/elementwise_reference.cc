// Elementwise ops, the definition: plain scalar code in the order that the contract (elementwise.h) states. Also the baseline path.
#include "kernels/elementwise/elementwise.h"
#include "kernels/vec/math.h"

namespace sluice::kernels {
namespace {

float add(float a, float b, float) { return a + b; }
float scale(float a, float, float factor) { return a * factor; }
float softcap(float a, float, float cap) { return cap * tanh32(a / cap); }

template <float (*kOp)(float, float, float), bool kHasB>
void elementwise(const ElementwiseArgs& args) {
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const float* a = args.a + row * args.a_stride;
    float* out = args.out + row * args.out_stride;
    for (size_t i = 0; i < args.width_padded; ++i) {
      float b = 0.0f;
      if constexpr (kHasB) b = args.b[row * args.b_stride + i];
      out[i] = kOp(a[i], b, args.factor);
    }
  }
}

}  // namespace

ElementwiseFn elementwise_reference(Elementwise op) {
  switch (op) {
    case Elementwise::kAdd: return elementwise<add, true>;
    case Elementwise::kScale: return elementwise<scale, false>;
    case Elementwise::kSoftcap: return elementwise<softcap, false>;
  }
  return nullptr;
}

}  // namespace sluice::kernels
