// Loops that must be unrolled, because their bodies index arrays that are to live in registers. For the wide kernel files only: everything here is
// in an anonymous namespace, so that no copy compiled for one instruction set can be linked into another.
#pragma once

#include <cstddef>

namespace sluice::kernels {
namespace {

template <size_t kValue>
struct Index {
  static constexpr size_t value = kValue;
  [[gnu::always_inline]] constexpr operator size_t() const { return kValue; }  // NOLINT: meant to convert
};

// f(Index<0>), ..., f(Index<kCount - 1>). Mark the lambda SLUICE_INLINE.
template <size_t kCount, typename F>
[[gnu::always_inline]] inline void unroll(const F& f) {
  if constexpr (kCount > 0) {
    unroll<kCount - 1>(f);
    f(Index<kCount - 1>{});
  }
}

}  // namespace
}  // namespace sluice::kernels

#define SLUICE_INLINE __attribute__((always_inline))
