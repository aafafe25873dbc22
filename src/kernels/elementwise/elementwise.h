// Small per-element ops over [rows, width] (columns padded to 16): out = a + b; out = a * factor; out = cap * tanh(a / cap).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

enum class Elementwise : uint8_t { kAdd, kScale, kSoftcap };

struct ElementwiseArgs {
  const float* a;
  size_t a_stride;
  const float* b;  // kAdd only
  size_t b_stride;
  float* out;      // may be a or b
  size_t out_stride;
  float factor;    // kScale: factor; kSoftcap: cap
  size_t width_padded;
  size_t row_begin, row_end;
};
using ElementwiseFn = void (*)(const ElementwiseArgs&);
ElementwiseFn elementwise_for(Elementwise op, Isa isa);

}  // namespace sluice::kernels
