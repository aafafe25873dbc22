// The compiled package: one file that is mapped and run. Header (128 bytes, little-endian), program text, tokenizer (opaque here; text/ reads it), packed
// weights from a multiple of 4096 on. Written by compiler/, opened by whoever runs it. Nothing in it is trusted: offsets and sizes are checked here, the
// program by its verifier, weights' sizes when they are bound.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "program/program.h"

namespace sluice::program {

// Raise it when the program text, a packed layout (kernels/matmul, kernels/attention) or this header changes: older packages are compiled again.
inline constexpr uint32_t kPackageVersion = 2;
inline constexpr uint64_t kPackageHeaderBytes = 128;
inline constexpr uint64_t kPackageAlignment = 4096;

struct PackageHeader {
  uint64_t fingerprint = 0;  // of the checkpoint it was made from
  uint64_t program_offset = 0, program_bytes = 0;
  uint64_t tokenizer_offset = 0, tokenizer_bytes = 0;
  uint64_t weights_offset = 0, weights_bytes = 0;
  uint64_t checksum = 0;     // of program and tokenizer (checksum_of)
};

// FNV-1a, 64 bits: finds torn or bit-flipped text; it is no defence against a forger, who could write any weights anyway.
uint64_t checksum_of(std::span<const std::byte> bytes, uint64_t seed = 0xCBF29CE484222325ull);

void write_header(const PackageHeader& header, std::span<std::byte, kPackageHeaderBytes> out);

struct PackageView {
  PackageHeader header;
  Program program;  // verified, not planned
  std::string_view tokenizer;
  std::span<const std::byte> weights;
};
// True if the bytes begin like a package of any version.
bool is_package(std::span<const std::byte> file);
Result<PackageView> parse_package(std::span<const std::byte> file);

}  // namespace sluice::program
