// The forms of quantize, one an instruction set. Use quantize_for (quantize.h).
#pragma once

#include "kernels/quantize/quantize.h"

namespace sluice::kernels {

void quantize_reference(const QuantizeArgs& args);
void quantize_avx2(const QuantizeArgs& args);
void quantize_avx512(const QuantizeArgs& args);

}  // namespace sluice::kernels
