// One GGUF file (v2 and v3, little-endian): its typed metadata and its tensors as views into the file's bytes. Nothing is copied but small
// tables; every size, offset and count is checked against the file (reference: the GGUF specification; hostile cases in gguf_test.cc).
// Split files and everything above one file are in checkpoint.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"

namespace sluice::weights {

inline constexpr uint32_t kGgufMagic = 0x46554747u;  // "GGUF"
inline constexpr uint32_t kGgufDimensionsMax = 4;

enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

std::string_view name(GgufType type);
// 0 for strings and arrays.
uint64_t scalar_bytes(GgufType type);

// A value, as a view. For an array, `element` and `count` say what `bytes` holds, strings with their lengths before them (already checked).
struct GgufValue {
  GgufType type = GgufType::kU8;
  GgufType element = GgufType::kU8;  // of an array; otherwise the type itself
  uint64_t count = 1;
  std::span<const std::byte> bytes;

  bool is_array() const { return type == GgufType::kArray; }
  // Scalars, and elements of number arrays (`index` < count). Integers of any width convert if the value fits; others are nullopt.
  std::optional<uint64_t> as_u64(uint64_t index = 0) const;
  std::optional<int64_t> as_i64(uint64_t index = 0) const;
  std::optional<double> as_f64(uint64_t index = 0) const;  // f32, f64 and every integer
  std::optional<bool> as_bool(uint64_t index = 0) const;
  std::optional<std::string_view> as_string() const;
};

// Walks the strings of a checked string array without copying it.
class GgufStrings {
 public:
  explicit GgufStrings(const GgufValue& array);  // an array of strings
  uint64_t left() const { return left_; }
  std::string_view next();  // left() > 0

 private:
  std::span<const std::byte> bytes_;
  uint64_t left_;
};

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

struct GgufTensor {
  std::string_view name;
  DType dtype = DType::kF32;
  uint32_t n_dims = 0;                                  // as in the file; 0 is a scalar
  std::array<uint64_t, kGgufDimensionsMax> ne{1, 1, 1, 1};  // ne[0] is contiguous
  uint64_t offset = 0;                                  // in the data section
  std::span<const std::byte> bytes;
};

class Gguf {
 public:
  // `file` must outlive the object.
  static Result<Gguf> parse(std::span<const std::byte> file);

  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  uint64_t data_offset() const { return data_offset_; }  // = bytes of the header
  std::span<const GgufEntry> metadata() const { return metadata_; }
  std::span<const GgufTensor> tensors() const { return tensors_; }
  const GgufValue* find(std::string_view key) const;

 private:
  Status read_header(std::span<const std::byte> file);
  Status check_keys();
  Status read_alignment();
  Status place_tensors(std::span<const std::byte> file);
  Status check_overlap() const;
  Status check_tensor_names() const;

  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t data_offset_ = 0;
  std::vector<GgufEntry> metadata_;
  std::vector<uint32_t> by_key_;  // indices into metadata_, sorted by key
  std::vector<GgufTensor> tensors_;
};

}  // namespace sluice::weights
