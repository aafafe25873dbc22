#include "program/package.h"

#include <fmt/format.h>

#include <cstring>

#include "program/text.h"
#include "program/verify.h"

namespace sluice::program {
namespace {

constexpr char kMagic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 'P', 'K'};

void put(std::byte* at, uint64_t value) { std::memcpy(at, &value, sizeof value); }
uint64_t get(const std::byte* at) {
  uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

Status inside(std::string_view what, uint64_t offset, uint64_t bytes, uint64_t file) {
  if (offset < kPackageHeaderBytes || offset > file || bytes > file - offset) {
    return Error{fmt::format("package: {} ({} bytes at {}) lies outside the file of {} bytes", what, bytes, offset, file)};
  }
  return {};
}

}  // namespace

uint64_t checksum_of(std::span<const std::byte> bytes, uint64_t seed) {
  for (const std::byte b : bytes) seed = (seed ^ static_cast<uint64_t>(b)) * 0x100000001B3ull;
  return seed;
}

void write_header(const PackageHeader& h, std::span<std::byte, kPackageHeaderBytes> out) {
  std::memset(out.data(), 0, out.size());
  std::memcpy(out.data(), kMagic, sizeof kMagic);
  put(out.data() + 8, kPackageVersion);
  const uint64_t fields[] = {h.fingerprint,    h.program_offset, h.program_bytes, h.tokenizer_offset, h.tokenizer_bytes,
                             h.weights_offset, h.weights_bytes,  h.checksum};
  for (size_t i = 0; i < std::size(fields); ++i) put(out.data() + 16 + 8 * i, fields[i]);
}

bool is_package(std::span<const std::byte> file) { return file.size() >= sizeof kMagic && std::memcmp(file.data(), kMagic, sizeof kMagic) == 0; }

Result<PackageView> parse_package(std::span<const std::byte> file) {
  if (!is_package(file) || file.size() < kPackageHeaderBytes) return Error{"package: the file does not begin with a package header"};
  if (const uint64_t version = get(file.data() + 8); version != kPackageVersion) {
    return Error{fmt::format("package: version {}, this program reads version {}", version, kPackageVersion)};
  }
  PackageView view;
  PackageHeader& h = view.header;
  uint64_t* fields[] = {&h.fingerprint,    &h.program_offset, &h.program_bytes, &h.tokenizer_offset, &h.tokenizer_bytes,
                        &h.weights_offset, &h.weights_bytes,  &h.checksum};
  for (size_t i = 0; i < std::size(fields); ++i) *fields[i] = get(file.data() + 16 + 8 * i);
  SLUICE_TRY_VOID(inside("program", h.program_offset, h.program_bytes, file.size()));
  SLUICE_TRY_VOID(inside("tokenizer", h.tokenizer_offset, h.tokenizer_bytes, file.size()));
  SLUICE_TRY_VOID(inside("weights", h.weights_offset, h.weights_bytes, file.size()));
  if (h.weights_offset % kPackageAlignment != 0) return Error{fmt::format("package: weights at {}, not a multiple of {}", h.weights_offset, kPackageAlignment)};
  const auto program = file.subspan(h.program_offset, h.program_bytes), tokenizer = file.subspan(h.tokenizer_offset, h.tokenizer_bytes);
  if (checksum_of(tokenizer, checksum_of(program)) != h.checksum) return Error{"package: the checksum of program and tokenizer does not match"};
  SLUICE_TRY(view.program, parse({reinterpret_cast<const char*>(program.data()), program.size()}));
  SLUICE_TRY_VOID(verify(view.program));
  view.tokenizer = {reinterpret_cast<const char*>(tokenizer.data()), tokenizer.size()};
  view.weights = file.subspan(h.weights_offset, h.weights_bytes);
  return view;
}

}  // namespace sluice::program
