// XXH64 (Y. Collet, the xxHash specification 0.1.1): a fast 64-bit hash for telling files apart. Not a defence against someone who builds
// two files with one hash; what needs that compares the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sluice::weights {

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);

}  // namespace sluice::weights
