// ssm_scan/ssm_scan-inl.h compiled for AVX-512 (by its file name, cmake/rooms.cmake). Contract: ssm_scan.h.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/ssm_scan/ssm_scan-inl.h"

namespace sluice::kernels {

void ssm_scan_avx512(const SsmScanArgs& args) { ssm_scan(args); }

}  // namespace sluice::kernels
