// The one byte reader for untrusted files: a cursor over bytes that cannot leave them, and arithmetic that cannot wrap. Every count is held
// against the bytes that are left before anything is allocated for it. Used by gguf.cc and safetensors.cc; numbers are little-endian.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::weights {

static_assert(std::endian::native == std::endian::little, "the containers are little-endian");

constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  if (a > UINT64_MAX - b) return std::nullopt;
  return a + b;
}

constexpr std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  if (b != 0 && a > UINT64_MAX / b) return std::nullopt;
  return a * b;
}

// `alignment` is a power of two.
constexpr std::optional<uint64_t> checked_align(uint64_t value, uint64_t alignment) {
  const std::optional<uint64_t> sum = checked_add(value, alignment - 1);
  if (!sum) return std::nullopt;
  return *sum & ~(alignment - 1);
}

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  Result<std::span<const std::byte>> take(uint64_t count, std::string_view what) {
    if (count > remaining()) {
      return Error{std::string(what) + " at byte " + std::to_string(position_) + " needs " + std::to_string(count) + " bytes, the file has " +
                   std::to_string(remaining()) + " left"};
    }
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  template <class T>
    requires std::integral<T> || std::floating_point<T>
  Result<T> number(std::string_view what) {
    SLUICE_TRY(const auto raw, take(sizeof(T), what));
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }

  // u64 length, then that many bytes.
  Result<std::string_view> string(uint64_t bytes_max, std::string_view what) {
    SLUICE_TRY(const uint64_t length, number<uint64_t>(what));
    if (length > bytes_max) {
      return Error{std::string(what) + " at byte " + std::to_string(position_) + " is " + std::to_string(length) + " bytes long, the limit is " +
                   std::to_string(bytes_max)};
    }
    SLUICE_TRY(const auto raw, take(length, what));
    return std::string_view(reinterpret_cast<const char*>(raw.data()), raw.size());
  }

  // `count` records of at least `bytes_min` each must still fit.
  Status expect_records(uint64_t count, uint64_t bytes_min, std::string_view what) const {
    if (count <= remaining() / bytes_min) return {};
    return Error{std::to_string(count) + " " + std::string(what) + " cannot fit into the " + std::to_string(remaining()) +
                 " bytes that are left"};
  }

 private:
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;  // <= bytes_.size()
};

}  // namespace sluice::weights
