// For tests of kernels only: random values with the awkward ones among them, the instruction sets of this machine, and bit comparison.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/isa.h"

namespace sluice::kernels {

inline bool machine_has(Isa isa) {
  switch (isa) {
    case Isa::kBaseline: return true;
    case Isa::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kAvx512: return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
  return false;
}

// The vector instruction sets that this machine can run.
inline std::vector<Isa> wide_isas() {
  std::vector<Isa> result;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (machine_has(isa)) result.push_back(isa);
  }
  return result;
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  uint32_t bits() { return static_cast<uint32_t>(engine_()); }
  size_t in(size_t low, size_t high) { return low + bits() % (high - low + 1); }
  float normal(float scale = 1.0f) { return scale * distribution_(engine_); }
  // Any bit pattern that is not NaN.
  float any() {
    for (;;) {
      const float value = std::bit_cast<float>(bits());
      if (!std::isnan(value)) return value;
    }
  }
  // Mostly ordinary; sometimes a zero, a subnormal, an extreme, an infinity or a NaN.
  float awkward(float scale = 1.0f) {
    static constexpr float kOdd[] = {0.0f, -0.0f, 1e-42f, -3e-40f, 0x1p-126f, 3e38f, -3e38f, std::numeric_limits<float>::infinity(),
                                     -std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 88.7f, -87.4f, 1.0f};
    return in(0, 15) == 0 ? kOdd[in(0, std::size(kOdd) - 1)] : normal(scale);
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> distribution_;
};

// 64-byte aligned floats.
class Floats {
 public:
  explicit Floats(size_t size, float fill = 0.0f) : size_(size), storage_(size + 16, fill) {}
  float* data() {
    const uintptr_t address = reinterpret_cast<uintptr_t>(storage_.data());
    return storage_.data() + (64 - address % 64) % 64 / sizeof(float);
  }
  const float* data() const { return const_cast<Floats*>(this)->data(); }
  float& operator[](size_t i) { return data()[i]; }
  float operator[](size_t i) const { return data()[i]; }
  size_t size() const { return size_; }
  Floats(const Floats& other) : Floats(other.size_) { std::memcpy(data(), other.data(), size_ * sizeof(float)); }
  Floats& operator=(const Floats&) = delete;
  template <class Draw>
  void fill(const Draw& draw) {
    for (size_t i = 0; i < size_; ++i) (*this)[i] = draw();
  }

 private:
  size_t size_;
  std::vector<float> storage_;
};

// Equal bits, where any NaN equals any NaN. Returns the first difference, or size.
inline size_t first_difference(const float* a, const float* b, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) return i;
  }
  return size;
}

inline ::testing::AssertionResult same_bits(const Floats& expected, const Floats& actual) {
  const size_t at = first_difference(expected.data(), actual.data(), expected.size());
  if (at == expected.size()) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "index " << at << " of " << expected.size() << ": expected " << std::hexfloat << expected[at] << ", got "
                                       << actual[at];
}

}  // namespace sluice::kernels
