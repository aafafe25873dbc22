// The table of ssm_scan's forms. Contract: ssm_scan.h. Definition: ssm_scan_reference.cc; vectors: ssm_scan-inl.h.
#include "kernels/ssm_scan/ssm_scan.h"

namespace sluice::kernels {

void ssm_scan_reference(const SsmScanArgs& args);
void ssm_scan_avx2(const SsmScanArgs& args);
void ssm_scan_avx512(const SsmScanArgs& args);

SsmScanFn ssm_scan_for(Isa isa) {
  static constexpr SsmScanFn kTable[kIsaCount] = {ssm_scan_reference, ssm_scan_avx2, ssm_scan_avx512};
  return kTable[static_cast<size_t>(isa)];
}

}  // namespace sluice::kernels
