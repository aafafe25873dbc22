// The table of the elementwise ops' forms. Contract: elementwise.h. Definition: elementwise_reference.cc; vectors: elementwise-inl.h.
#include "kernels/elementwise/elementwise.h"

namespace sluice::kernels {

ElementwiseFn elementwise_reference(Elementwise op);
ElementwiseFn elementwise_avx2(Elementwise op);
ElementwiseFn elementwise_avx512(Elementwise op);

ElementwiseFn elementwise_for(Elementwise op, Isa isa) {
  static constexpr ElementwiseFn (*kTable[kIsaCount])(Elementwise) = {elementwise_reference, elementwise_avx2, elementwise_avx512};
  return kTable[static_cast<size_t>(isa)](op);
}

}  // namespace sluice::kernels
