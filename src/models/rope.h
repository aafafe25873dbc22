// Rotary frequencies from a model's fields, under the old spelling (rope_theta, rope_scaling) and the new one (rope_parameters), and GGUF's. Computed in
// 80-bit arithmetic and rounded once, so that a package compiled on any x86-64 machine holds the same bits (libm's double functions differ by CPU).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "models/config.h"
#include "program/builder.h"

namespace sluice::models {

struct Rope {
  std::vector<double> frequencies;  // [pairs], radians per position
  double magnitude = 1;             // factor of cos and sin
  std::string factors_tensor;       // GGUF's rope_freqs.weight: divides the frequencies; empty: none
};

// `pairs`: half of the rotated dimensions. `layer_type`: key of rope_parameters when it holds one object per kind of layer ("full_attention"); "" otherwise.
// Scaling types: default, linear, llama3; anything else is an error that names it.
Result<Rope> rope_of(const Config& config, uint64_t pairs, double theta_default, std::string_view layer_type);

// base^(-i/pairs) for i < pairs, rounded once.
std::vector<double> rope_frequencies(double base, uint64_t pairs);

// The same without scaling; `field` is what messages call the base.
Result<Rope> plain_rope(double base, uint64_t pairs, std::string_view field);

program::ValueId rope_table(program::Builder& b, const Rope& rope);

}  // namespace sluice::models
