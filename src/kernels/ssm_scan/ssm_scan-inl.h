// Selective scan on the vocabulary of vec_*-inl.h: channels in the lanes, so no horizontal sums, and B and C are broadcast. Work goes in groups of up to 16
// cells (a cell: one row of 16 channels): first what does not depend on the state, for all cells of the group, then the walks over time with the states in
// L1. Softplus and silu are long chains of dependent operations; apart from the walk they overlap each other (measured: a fifth less time than cell by
// cell; states held in registers, or decays computed stage by stage, gained nothing more). Contract: ssm_scan.h; definition: ssm_scan_reference.cc.
#pragma once

#include "kernels/ssm_scan/ssm_scan.h"
#include "kernels/vec/math-inl.h"

namespace sluice::kernels {
namespace {

inline constexpr size_t kCells = 16;
inline constexpr size_t kPrefetchChannels = 32;  // ahead in the same row: rows lie pages apart, so no hardware prefetcher sees the walk (1.7x at 512 rows)

// What a cell needs beside the state: 16 lanes each of u = dt * x, dt * log2(e), D * x's x and silu(z).
struct Cells {
  alignas(64) float u[kCells][16];
  alignas(64) float dt2[kCells][16];
  alignas(64) float x[kCells][16];
  alignas(64) float gate[kCells][16];
};

struct Rows {
  size_t begin, end;
};

// Cells first .. first + rows.
void prepare(const SsmScanArgs& args, Rows rows, size_t channel, size_t first, Cells* cells) {
  for (size_t row = rows.begin; row < rows.end; ++row, ++first) {
    const size_t next = channel + kPrefetchChannels;
    prefetch(args.x + row * args.x_stride + next);
    prefetch(args.dt + row * args.dt_stride + next);
    if (args.z != nullptr) prefetch(args.z + row * args.z_stride + next);
    prefetch(args.out + row * args.out_stride + next);
    const V x = load<V>(args.x + row * args.x_stride + channel);
    const V dt = softplus(load<V>(args.dt + row * args.dt_stride + channel));
    store(cells->x[first], x);
    store(cells->u[first], mul(dt, x));
    store(cells->dt2[first], mul(dt, set<V>(kLog2E)));
    if (args.z != nullptr) store(cells->gate[first], silu(load<V>(args.z + row * args.z_stride + channel)));
  }
}

inline constexpr size_t kRowsWorthAsking = 4;  // it reads all of A once more

// True if no decay of these cells is below 2^-126, as is usual; the walk then saves the comparison (8 % of its time). dt2 is not negative, and rounding is
// monotone, so the state with the most negative A decides.
bool decays_are_normal(const Cells& cells, size_t cell, size_t count, size_t states, const float* a) {
  V steepest = set<V>(0.0f);
  for (size_t n = 0; n < states; ++n) steepest = min(steepest, load<V>(a + 16 * n));
  bool normal = true;
  for (size_t i = cell; i < cell + count; ++i) normal &= all(less_equal(set<V>(kExp2Low), mul(load<V>(cells.dt2[i]), steepest)));
  return normal;
}

SLUICE_VEC void finish(const SsmScanArgs& args, const Cells& cells, size_t cell, size_t row, size_t channel, V y) {
  y = fma(load<V>(args.d + channel), load<V>(cells.x[cell]), y);
  if (args.z != nullptr) y = mul(y, load<V>(cells.gate[cell]));
  store(args.out + row * args.out_stride + channel, y);
}

// kMayUnderflow is also the form for few rows, where state and A come from far away and are used once: they are fetched this far ahead (two blocks of 16
// channels at 16 states; 15 % of a decode step).
inline constexpr size_t kAheadFloats = 512;
template <bool kMayUnderflow>
void walk(const SsmScanArgs& args, const Cells& cells, size_t cell, Rows rows, size_t channel, float* state, const float* a) {
  for (size_t row = rows.begin; row < rows.end; ++row, ++cell) {
    const float* b = args.b + row * args.b_stride;
    const float* c = args.c + row * args.c_stride;
    const V u = load<V>(cells.u[cell]);
    const V dt2 = load<V>(cells.dt2[cell]);
    V y = set<V>(0.0f);
    SLUICE_UNROLL_4
    for (size_t n = 0; n < args.states; ++n) {
      if constexpr (kMayUnderflow) {
        prefetch(a + 16 * n + kAheadFloats);
        prefetch(state + 16 * n + kAheadFloats);
      }
      const V decay = exp2_decay<kMayUnderflow>(mul(dt2, load<V>(a + 16 * n)));
      const V h = fma(decay, load<V>(state + 16 * n), mul(u, set<V>(b[n])));
      store(state + 16 * n, h);
      y = fma(h, set<V>(c[n]), y);
    }
    finish(args, cells, cell, row, channel, y);
  }
}

void scan_rows(const SsmScanArgs& args, Rows rows, float* state) {
  Cells cells;
  const size_t count = rows.end - rows.begin;
  const size_t step = kCells / count * 16;
  for (size_t first = args.channel_begin; first < args.channel_end; first += step) {
    const size_t end = args.channel_end - first < step ? args.channel_end : first + step;
    size_t cell = 0;
    for (size_t channel = first; channel < end; channel += 16, cell += count) prepare(args, rows, channel, cell, &cells);
    cell = 0;
    for (size_t channel = first; channel < end; channel += 16, cell += count) {
      float* h = state + channel * args.states;
      const float* a = args.a + channel * args.states;
      if (count >= kRowsWorthAsking && decays_are_normal(cells, cell, count, args.states, a)) {
        walk<false>(args, cells, cell, rows, channel, h, a);
      } else {
        walk<true>(args, cells, cell, rows, channel, h, a);
      }
    }
  }
}

void ssm_scan(const SsmScanArgs& args) {
  for (size_t s = 0; s < args.segment_count; ++s) {
    const StateSegment& segment = args.segments[s];
    for (size_t row = segment.row_begin; row < segment.row_end; row += kCells) {
      scan_rows(args, {row, segment.row_end - row < kCells ? segment.row_end : row + kCells}, segment.state);
    }
  }
}

}  // namespace
}  // namespace sluice::kernels
