// The table of conv1d's forms. Contract: conv1d.h. Definition: conv1d_reference.cc; vectors: conv1d-inl.h.
#include "kernels/conv1d/conv1d.h"

namespace sluice::kernels {

void conv1d_reference(const Conv1dArgs& args);
void conv1d_avx2(const Conv1dArgs& args);
void conv1d_avx512(const Conv1dArgs& args);

Conv1dFn conv1d_for(Isa isa) {
  static constexpr Conv1dFn kTable[kIsaCount] = {conv1d_reference, conv1d_avx2, conv1d_avx512};
  return kTable[static_cast<size_t>(isa)];
}

}  // namespace sluice::kernels
