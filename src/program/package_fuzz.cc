// Any bytes as a package: header, program text, verifier.
#include <cstddef>
#include <cstdint>
#include <span>

#include "program/package.h"
#include "program/text.h"
#include "program/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  (void)sluice::program::parse_package(bytes).ok();
  const auto program = sluice::program::parse({reinterpret_cast<const char*>(data), size});
  if (program.ok() && sluice::program::verify(*program).ok()) {
    const auto again = sluice::program::parse(sluice::program::print(*program));
    if (!again.ok()) __builtin_trap();
  }
  return 0;
}
