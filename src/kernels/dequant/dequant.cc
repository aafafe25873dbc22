// Checkpoint rows to f32, scalar on every instruction set. Contract: dequant.h. The layouts themselves: blocks.cc.
#include "kernels/dequant/dequant.h"

#include <cstring>

#include "base/half.h"
#include "kernels/dequant/blocks.h"

namespace sluice::kernels {

bool is_weight_type(DType type) {
  switch (type) {
    case DType::kI8:
    case DType::kI16:
    case DType::kI32:
    case DType::kI64:
    case DType::kF64: return false;
    default: return true;
  }
}

void dequantize_row(DType type, const uint8_t* blocks, uint64_t elements, float* out) {
  if (type == DType::kF32) {
    std::memcpy(out, blocks, elements * 4);
    return;
  }
  if (type == DType::kF16 || type == DType::kBF16) {
    for (uint64_t i = 0; i < elements; ++i) {
      const auto bits = static_cast<uint16_t>(blocks[2 * i] | blocks[2 * i + 1] << 8);
      out[i] = type == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    }
    return;
  }
  BlockParts parts;
  for (uint64_t i = 0; i < elements; i += info(type).block_elements) {
    split_block(type, blocks, &parts);
    block_values(type, parts, out + i);
    blocks += info(type).block_bytes;
  }
}

}  // namespace sluice::kernels
