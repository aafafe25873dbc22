// The forms of matmul, by weight type and instruction set. Use matmul_for (matmul.h).
#pragma once

#include "kernels/matmul/matmul.h"

namespace sluice::kernels {

// Each returns null for a type that it does not have.
MatmulFn matmul_reference_for(DType weight);
MatmulFn matmul_avx2_for(DType weight);
MatmulFn matmul_avx512_for(DType weight);
// The float types of the latter two.
MatmulFn matmul_float_avx2_for(DType weight);
MatmulFn matmul_float_avx512_for(DType weight);

}  // namespace sluice::kernels
