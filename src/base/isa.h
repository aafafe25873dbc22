// Instruction sets that kernels are written for. `platform` says which this machine has; kernel tables are indexed by it. All of them
// compute the same bits (docs/architecture.md, "Numbers").
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

//          name      text        what it needs
#define SLUICE_ISAS(X)                                                      \
  X(kBaseline, "baseline") /* x86-64 (SSE2): the scalar reference */        \
  X(kAvx2, "avx2")         /* AVX2, FMA, F16C */                            \
  X(kAvx512, "avx512")     /* AVX-512 F, BW, VL, DQ and VNNI */

enum class Isa : uint8_t {
#define X(name, text) name,
  SLUICE_ISAS(X)
#undef X
};

inline constexpr std::string_view kIsaNames[] = {
#define X(name, text) text,
    SLUICE_ISAS(X)
#undef X
};
inline constexpr size_t kIsaCount = sizeof(kIsaNames) / sizeof(kIsaNames[0]);

constexpr std::string_view name(Isa isa) { return kIsaNames[static_cast<size_t>(isa)]; }

constexpr std::optional<Isa> isa_from_name(std::string_view text) {
  for (size_t i = 0; i < kIsaCount; ++i) {
    if (kIsaNames[i] == text) return static_cast<Isa>(i);
  }
  return std::nullopt;
}

}  // namespace sluice
