// out[r, o] = sum_k x[r, k] * W[o, k] (+ bias[o]) (+ out[r, o]): every projection of every model.
// Weights are packed in strips of 16 outputs, so that vectors run over outputs and one output element is one reduction in one order.
//   F32, F16, BF16: 16 interleaved partial sums (k mod 16), each by fma in order of k, k padded with zeros to a multiple of 16, then one fixed tree:
//     s[i] += s[i+8]; s[i] += s[i+4]; s[i] += s[i+2]; s[0] + s[1]. f16 and bf16 weights are widened exactly.
//   Block types: activations in 8 bits with an f32 scale per 16 (quantize.h: d, t, s). Over each group of 32 weights, in order of k, with i0 and i1 the exact
//   integer sums of (integer weight) * q over its first and second 16, and dw, mw the f32 scale and minimum of the weights (dw = d or d * scale, mw = m or
//   -(dmin * min), one rounding each):
//     one scale per 32 or more:  acc = fma(dw, fma(float(i1), d1, float(i0) * d0), acc); with a minimum then acc = fma(mw, s, acc)
//     Q2_K, Q3_K, Q6_K:          acc = fma(dw0, float(i0) * d0, acc), acc = fma(dw1, float(i1) * d1, acc);
//     and Q2_K:                  acc = fma(mw0, t0, acc), acc = fma(mw1, t1, acc) with mw = dmin * min / 128
//   Integer weights are q less the type's offset (Q4_0 8, Q5_0 16, Q3_K 4, Q6_K 32), table values (IQ4_NL, IQ4_XS, MXFP4), or plain q (types with a minimum).
// The result of a row does not depend on how many rows are in the call. bias and accumulate are plain adds after the reduction: (acc + bias) + out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/isa.h"
#include "kernels/quantize/quantize.h"

namespace sluice::kernels {

inline constexpr uint64_t kStripOutputs = 16;

// What activations a weight type is multiplied with: kF32 for F32/F16/BF16, kQ8 for block types.
ActivationFormat activation_format(DType weight);

// Bytes of a packed matrix [n, k] (n padded to a strip with zero rows); a multiple of 64. k must be a multiple of the type's block.
uint64_t packed_bytes(DType type, uint64_t n, uint64_t k);

// Bytes of one strip: strips are packed independently, so ranges of rows that begin at multiples of 16 may be packed on different threads.
uint64_t packed_strip_bytes(DType type, uint64_t k);

// Packs `n` rows of checkpoint blocks, `rows_in` with row_bytes(type, k) bytes between them, to `out` (64-byte aligned, packed_bytes).
void pack(DType type, const uint8_t* rows_in, uint64_t n, uint64_t k, uint8_t* out);

// Row `row` of a packed matrix back as f32 (k values): the same bits as dequantize_row on the original. For embeddings that share the head's matrix.
void unpack_row(DType type, const uint8_t* packed, uint64_t n, uint64_t k, uint64_t row, float* out);

struct MatmulArgs {
  const uint8_t* weights;       // packed [n, k]
  uint64_t n, k;
  const uint8_t* activations;   // f32 rows (padded to 16 with zeros) or quantised rows (64-byte aligned either way)
  size_t activation_stride;     // bytes
  const float* bias;            // [n padded to 16], or null
  float* out;                   // [*, n], stride out_stride floats; columns n..round_up(n, 16) are written too (zeros: padded weights and bias are zero)
  size_t out_stride;
  bool accumulate;              // adds to out instead of overwriting it
  const int32_t* in_rows;       // [rows]: which activation row; null: row i
  const int32_t* out_rows;      // [rows]: which output row; null: row i
  size_t rows;
  size_t strip_begin, strip_end;  // outputs 16 * strip_begin .. 16 * strip_end
};
using MatmulFn = void (*)(const MatmulArgs&);
MatmulFn matmul_for(DType weight, Isa isa);

}  // namespace sluice::kernels
