// Table of matmul; contract in matmul.h, the sums in scalar code in matmul_reference.cc.
#include "kernels/matmul/matmul.h"

#include "base/check.h"
#include "kernels/matmul/matmul_isa.h"

namespace sluice::kernels {

ActivationFormat activation_format(DType weight) {
  return weight == DType::kF32 || weight == DType::kF16 || weight == DType::kBF16 ? ActivationFormat::kF32 : ActivationFormat::kQ8;
}

MatmulFn matmul_for(DType weight, Isa isa) {
  MatmulFn fn = nullptr;
  if (isa == Isa::kAvx2) fn = matmul_avx2_for(weight);
  if (isa == Isa::kAvx512) fn = matmul_avx512_for(weight);
  if (fn == nullptr) fn = matmul_reference_for(weight);
  SLUICE_CHECK(fn != nullptr);
  return fn;
}

}  // namespace sluice::kernels
