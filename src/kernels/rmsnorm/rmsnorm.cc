// The table of rmsnorm's forms. Contract: rmsnorm.h. Definition: rmsnorm_reference.cc; vectors: rmsnorm-inl.h.
#include "kernels/rmsnorm/rmsnorm.h"

namespace sluice::kernels {

void rmsnorm_reference(const RmsNormArgs& args);
void rmsnorm_avx2(const RmsNormArgs& args);
void rmsnorm_avx512(const RmsNormArgs& args);

RmsNormFn rmsnorm_for(Isa isa) {
  static constexpr RmsNormFn kTable[kIsaCount] = {rmsnorm_reference, rmsnorm_avx2, rmsnorm_avx512};
  return kTable[static_cast<size_t>(isa)];
}

}  // namespace sluice::kernels
