// Rotary position embedding (Su et al. 2021). rope_table fills cos and sin per row in double arithmetic (mul and add only, own range reduction and
// polynomials, so the bits are the same everywhere; positions up to 2^24), rope rotates. y0 = fma(x0, c, -(x1 * s)); y1 = fma(x1, c, x0 * s).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

struct RopeTableArgs {
  const int32_t* positions;   // [rows]
  const double* frequencies;  // [pairs], radians per position, scaling applied
  size_t pairs;
  float magnitude;            // multiplies cos and sin (YaRN's factor; 1 otherwise)
  float* cos_sin;             // [rows, 2 * pairs]: cos first, then sin; stride `stride` floats
  size_t stride;
  size_t row_begin, row_end;
};
using RopeTableFn = void (*)(const RopeTableArgs&);
RopeTableFn rope_table_for(Isa isa);

struct RopeArgs {
  float* x;              // [rows, heads * head_dim], in place, stride x_stride floats
  size_t x_stride;
  const float* cos_sin;  // from rope_table
  size_t cos_sin_stride;
  size_t pairs;          // rotates the first 2 * pairs dimensions of each head
  size_t heads, head_dim;
  bool interleaved;      // pairs (2i, 2i+1); otherwise (i, i + pairs)
  size_t row_begin, row_end;
};
using RopeFn = void (*)(const RopeArgs&);
RopeFn rope_for(Isa isa);

}  // namespace sluice::kernels
