// The vector form of ssm_scan/ssm_scan-inl.h for AVX-512; this file is compiled for it (cmake/rooms.cmake). Contract: ssm_scan.h. Its twin is ssm_scan_avx2.cc.
#include "kernels/vec/vec_avx512-inl.h"
// The vocabulary comes first.
#include "kernels/ssm_scan/ssm_scan-inl.h"

namespace sluice::kernels {

void ssm_scan_avx512(const SsmScanArgs& args) { ssm_scan(args); }

}  // namespace sluice::kernels
