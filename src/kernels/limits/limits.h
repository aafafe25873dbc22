// What the machine can do at best, measured by the plainest loops: the denominators of every "share of the limit". Not ops of a program.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/isa.h"

namespace sluice::kernels {

struct LimitLoops {
  // Runs int8 multiply-adds in registers, `rounds` times; returns how many operations that were (a multiply and an add are two). AVX-512: vpdpbusd.
  // AVX2: vpmaddubsw, vpmaddwd, add (i32 accumulation every 32). Baseline: scalar, a formality.
  uint64_t (*int8_multiply_adds)(uint64_t rounds, int32_t* sink);
  // Reads `bytes` (a multiple of 256) once, in order.
  void (*read)(const uint8_t* data, size_t bytes, uint64_t* sink);
};
LimitLoops limit_loops_for(Isa isa);

}  // namespace sluice::kernels
