// The table of glu's forms. Contract: glu.h. Definition: glu_reference.cc; vectors: glu-inl.h.
#include "kernels/glu/glu.h"

namespace sluice::kernels {

GluFn glu_reference(Activation activation);
GluFn glu_avx2(Activation activation);
GluFn glu_avx512(Activation activation);

GluFn glu_for(Activation activation, Isa isa) {
  static constexpr GluFn (*kTable[kIsaCount])(Activation) = {glu_reference, glu_avx2, glu_avx512};
  return kTable[static_cast<size_t>(isa)](activation);
}

}  // namespace sluice::kernels
