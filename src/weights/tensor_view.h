// A tensor of a checkpoint, whichever container it came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace sluice::weights {

// `bytes` points into the mapped file and is exactly the size that dtype and shape give; it need not be aligned to its elements.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;  // row-major, outermost first: a matrix is [out, in]; empty for a scalar
  std::span<const std::byte> bytes;
};

}  // namespace sluice::weights
