// The number types of checkpoints: one table, from which sizes, names and GGUF ids come (GGUF v3 specification; block layouts in
// kernels/dequant). F64 and integer types are readable in containers but are not weight types; U8 (bytes, safetensors only) has no GGUF id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

inline constexpr uint32_t kNoGgmlId = 0xFFFFFFFFu;

//          name     text       ggml id, elements and bytes of a block
#define SLUICE_DTYPES(X)                \
  X(kF32, "f32", 0, 1, 4)               \
  X(kF16, "f16", 1, 1, 2)               \
  X(kQ4_0, "q4_0", 2, 32, 18)           \
  X(kQ4_1, "q4_1", 3, 32, 20)           \
  X(kQ5_0, "q5_0", 6, 32, 22)           \
  X(kQ5_1, "q5_1", 7, 32, 24)           \
  X(kQ8_0, "q8_0", 8, 32, 34)           \
  X(kQ2_K, "q2_k", 10, 256, 84)         \
  X(kQ3_K, "q3_k", 11, 256, 110)        \
  X(kQ4_K, "q4_k", 12, 256, 144)        \
  X(kQ5_K, "q5_k", 13, 256, 176)        \
  X(kQ6_K, "q6_k", 14, 256, 210)        \
  X(kIQ4_NL, "iq4_nl", 20, 32, 18)      \
  X(kIQ4_XS, "iq4_xs", 23, 256, 136)    \
  X(kI8, "i8", 24, 1, 1)                \
  X(kI16, "i16", 25, 1, 2)              \
  X(kI32, "i32", 26, 1, 4)              \
  X(kI64, "i64", 27, 1, 8)              \
  X(kF64, "f64", 28, 1, 8)              \
  X(kBF16, "bf16", 30, 1, 2)            \
  X(kMXFP4, "mxfp4", 39, 32, 17)        \
  X(kU8, "u8", kNoGgmlId, 1, 1)

enum class DType : uint8_t {
#define X(name, text, id, elements, bytes) name,
  SLUICE_DTYPES(X)
#undef X
};

struct DTypeInfo {
  std::string_view name;
  uint32_t ggml_id;
  uint32_t block_elements;
  uint32_t block_bytes;
};

inline constexpr DTypeInfo kDTypeInfos[] = {
#define X(name, text, id, elements, bytes) {text, id, elements, bytes},
    SLUICE_DTYPES(X)
#undef X
};
inline constexpr size_t kDTypeCount = sizeof(kDTypeInfos) / sizeof(kDTypeInfos[0]);

constexpr const DTypeInfo& info(DType type) { return kDTypeInfos[static_cast<size_t>(type)]; }

// Lower-case name ("q4_k") to type.
constexpr std::optional<DType> dtype_from_name(std::string_view name) {
  for (size_t i = 0; i < kDTypeCount; ++i) {
    if (kDTypeInfos[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

constexpr std::optional<DType> dtype_from_ggml(uint32_t id) {
  for (size_t i = 0; i < kDTypeCount; ++i) {
    if (id != kNoGgmlId && kDTypeInfos[i].ggml_id == id) return static_cast<DType>(i);
  }
  return std::nullopt;
}

// Bytes of one row of `elements` values; the count must be a multiple of the block.
constexpr uint64_t row_bytes(DType type, uint64_t elements) {
  return elements / info(type).block_elements * info(type).block_bytes;
}

}  // namespace sluice
