// The tables of rope's forms, and rope_table itself: one scalar form for every instruction set, because it runs once per row and step for all layers
// (64 pairs cost about 1 us). Contract: rope.h. Definition of the rotation: rope_reference.cc; vectors: rope-inl.h.
#include "kernels/rope/rope.h"

#include <bit>

namespace sluice::kernels {
namespace {

// pi/2 in parts of 29 bits, so that n * part is exact for n < 2^24; the last one holds the rest. (Cody and Waite's reduction.)
constexpr double kHalfPi0 = 0x1.921fb54p0;
constexpr double kHalfPi1 = 0x1.10b461p-30;
constexpr double kHalfPi2 = 0x1.a62633145c06ep-58;
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
constexpr double kRound = 0x1.8p52;

// Taylor series on |r| <= pi/4: the first term left out is below 2^-54 of the result.
double sin_series(double r) {
  const double z = r * r;
  double q = 1.0 / 355687428096000.0;  // 1/17!
  q = q * z - 1.0 / 1307674368000.0;
  q = q * z + 1.0 / 6227020800.0;
  q = q * z - 1.0 / 39916800.0;
  q = q * z + 1.0 / 362880.0;
  q = q * z - 1.0 / 5040.0;
  q = q * z + 1.0 / 120.0;
  q = q * z - 1.0 / 6.0;
  return r + r * (z * q);
}

double cos_series(double r) {
  const double z = r * r;
  double q = 1.0 / 20922789888000.0;  // 1/16!
  q = q * z - 1.0 / 87178291200.0;
  q = q * z + 1.0 / 479001600.0;
  q = q * z - 1.0 / 3628800.0;
  q = q * z + 1.0 / 40320.0;
  q = q * z - 1.0 / 720.0;
  q = q * z + 1.0 / 24.0;
  q = q * z - 0.5;
  return 1.0 + z * q;
}

// |angle| <= 2^24: absolute error below 2^-50.
void sin_cos(double angle, double* sine, double* cosine) {
  const double rounded = angle * kTwoOverPi + kRound;
  const double n = rounded - kRound;
  const double r = ((angle - n * kHalfPi0) - n * kHalfPi1) - n * kHalfPi2;
  const double s = sin_series(r);
  const double c = cos_series(r);
  const uint64_t quadrant = std::bit_cast<uint64_t>(rounded) & 3;
  const double sine_magnitude = (quadrant & 1) != 0 ? c : s;
  const double cosine_magnitude = (quadrant & 1) != 0 ? s : c;
  *sine = (quadrant & 2) != 0 ? -sine_magnitude : sine_magnitude;
  *cosine = quadrant == 1 || quadrant == 2 ? -cosine_magnitude : cosine_magnitude;
}

void rope_table(const RopeTableArgs& args) {
  const double magnitude = static_cast<double>(args.magnitude);
  for (size_t row = args.row_begin; row < args.row_end; ++row) {
    const double position = static_cast<double>(args.positions[row]);
    float* out = args.cos_sin + row * args.stride;
    for (size_t pair = 0; pair < args.pairs; ++pair) {
      double sine = 0;
      double cosine = 0;
      sin_cos(position * args.frequencies[pair], &sine, &cosine);
      out[pair] = static_cast<float>(cosine * magnitude);
      out[args.pairs + pair] = static_cast<float>(sine * magnitude);
    }
  }
}

}  // namespace

void rope_reference(const RopeArgs& args);
void rope_avx2(const RopeArgs& args);
void rope_avx512(const RopeArgs& args);

RopeTableFn rope_table_for(Isa) { return rope_table; }

RopeFn rope_for(Isa isa) {
  static constexpr RopeFn kTable[kIsaCount] = {rope_reference, rope_avx2, rope_avx512};
  return kTable[static_cast<size_t>(isa)];
}

}  // namespace sluice::kernels
