// Table of quantize; contract in quantize.h, the rule in code in quantize_reference.cc.
#include "kernels/quantize/quantize.h"

#include "kernels/quantize/quantize_isa.h"

namespace sluice::kernels {

QuantizeFn quantize_for(Isa isa) {
  switch (isa) {
    case Isa::kBaseline: return quantize_reference;
    case Isa::kAvx2: return quantize_avx2;
    case Isa::kAvx512: return quantize_avx512;
  }
  return quantize_reference;
}

}  // namespace sluice::kernels
