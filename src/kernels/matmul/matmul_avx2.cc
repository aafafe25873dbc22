// matmul in AVX2.
#include "kernels/matmul/matmul_isa.h"
namespace sluice::kernels {
MatmulFn matmul_avx2_for(DType weight) { return matmul_float_avx2_for(weight); }
}  // namespace sluice::kernels
