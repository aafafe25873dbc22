// matmul in AVX-512 with VNNI.
#include "kernels/matmul/matmul_isa.h"
namespace sluice::kernels {
MatmulFn matmul_avx512_for(DType weight) { return matmul_float_avx512_for(weight); }
}  // namespace sluice::kernels
