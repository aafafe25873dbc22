// Gated units: out = act(gate) * up, element by element, columns padded to 16. silu(x) = x / (1 + exp(-x)); gelu_tanh as PyTorch's "tanh" form;
// relu2(x) = max(x, 0)^2. The functions are defined in kernels/vec/math.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

enum class Activation : uint8_t { kSilu, kGeluTanh, kRelu2 };

struct GluArgs {
  const float* gate;  // [rows, width], stride gate_stride floats
  size_t gate_stride;
  const float* up;    // [rows, width]; null: out = act(gate)
  size_t up_stride;
  float* out;         // may be gate or up
  size_t out_stride;
  size_t width_padded;  // multiple of 16
  size_t row_begin, row_end;
};
using GluFn = void (*)(const GluArgs&);
GluFn glu_for(Activation activation, Isa isa);

}  // namespace sluice::kernels
