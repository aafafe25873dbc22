// Checkpoint tensors to the forms that kernels read. Matrices go strip by strip, so that packing a file never needs more memory than a few strips.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "compiler/passes.h"
#include "kernels/dequant/dequant.h"
#include "kernels/matmul/matmul.h"

namespace sluice::compiler {

using program::Program;
using program::round_up;
using program::Value;
using program::ValueKind;
using program::WeightForm;
using program::WeightTransform;
using weights::Checkpoint;
using weights::TensorView;

namespace {

constexpr uint64_t kPackChunkBytes = 4 << 20;

// Strips are independent, so the bytes of a matrix are the sum over its strips (checked: the sink writes as many as were placed).
uint64_t matrix_bytes(const Value& w) { return kernels::packed_bytes(w.dtype, w.n, w.k); }

// Rounded once from 80-bit arithmetic, whose results do not depend on the CPU's vector extensions.
float transformed(float value, WeightTransform transform) {
  switch (transform) {
    case WeightTransform::kNone: return value;
    case WeightTransform::kNegExp: return static_cast<float>(-std::exp(static_cast<long double>(value)));
    case WeightTransform::kAddOne: return static_cast<float>(1.0 + static_cast<double>(value));
  }
  return value;
}

std::vector<float> values_of(const TensorView& tensor, WeightTransform transform) {
  uint64_t elements = 1;
  for (const uint64_t side : tensor.shape) elements *= side;
  std::vector<float> out(elements);
  kernels::dequantize_row(tensor.dtype, reinterpret_cast<const uint8_t*>(tensor.bytes.data()), elements, out.data());
  for (float& value : out) value = transformed(value, transform);
  return out;
}

Status write(const PackSink& sink, const void* data, uint64_t bytes) { return sink({static_cast<const std::byte*>(data), bytes}); }

Status pack_matrix(const Value& w, const Checkpoint& checkpoint, const PackSink& sink) {
  const uint64_t row = row_bytes(w.dtype, w.k);
  const uint64_t strip = kernels::packed_bytes(w.dtype, kernels::kStripOutputs, w.k);
  const uint64_t strips = (w.n + kernels::kStripOutputs - 1) / kernels::kStripOutputs;
  const uint64_t strips_at_once = std::clamp<uint64_t>(kPackChunkBytes / strip, 1, strips);
  // 64-byte aligned, as kernels::pack asks.
  std::vector<uint8_t> storage(strips_at_once * strip + 64);
  uint8_t* buffer = storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64;
  for (uint64_t matrix = 0; matrix < w.count; ++matrix) {
    const bool stacked = w.sources.size() != w.count;
    const TensorView* tensor = checkpoint.find(w.sources[stacked ? 0 : matrix]);
    SLUICE_CHECK(tensor != nullptr);
    const uint8_t* first = reinterpret_cast<const uint8_t*>(tensor->bytes.data()) + ((stacked ? matrix * w.source_rows : 0) + w.source_row) * row;
    for (uint64_t s = 0; s < strips; s += strips_at_once) {
      const uint64_t outputs = std::min(strips_at_once * kernels::kStripOutputs, w.n - s * kernels::kStripOutputs);
      kernels::pack(w.dtype, first + s * kernels::kStripOutputs * row, outputs, w.k, buffer);
      SLUICE_TRY_VOID(write(sink, buffer, kernels::packed_bytes(w.dtype, outputs, w.k)));
    }
  }
  return {};
}

std::vector<float> arranged(const Value& w, const std::vector<float>& v) {
  std::vector<float> out(packed_weight_bytes(w) / 4);
  const uint64_t channels = round_up(w.n, 16);
  for (uint64_t i = 0; i < w.n; ++i) {
    for (uint64_t j = 0; j < w.k; ++j) {
      const float value = v[(w.source_row + i) * w.k + j];
      switch (w.form) {
        case WeightForm::kConv: out[j * channels + i] = value; break;
        case WeightForm::kScanA: out[(i / 16 * w.k + j) * 16 + i % 16] = value; break;
        default: out[i] = value; break;
      }
    }
  }
  return out;
}

Status pack_frequencies(const Value& w, const Checkpoint& checkpoint, const PackSink& sink) {
  std::vector<double> out(packed_weight_bytes(w) / 8);
  std::copy(w.literals.begin(), w.literals.end(), out.begin());
  if (!w.sources.empty()) {
    const std::vector<float> divisors = values_of(*checkpoint.find(w.sources[0]), WeightTransform::kNone);
    for (uint64_t i = 0; i < w.n; ++i) {
      out[i] /= static_cast<double>(divisors[i]);
      if (!(out[i] >= 0 && out[i] <= 1)) {
        return Error{fmt::format("tensor {}: element {} is {}, which gives a rotary frequency outside 0 to 1", w.sources[0], i, divisors[i])};
      }
    }
  }
  return write(sink, out.data(), out.size() * 8);
}

}  // namespace

uint64_t packed_weight_bytes(const Value& w) {
  switch (w.form) {
    case WeightForm::kMatrix: return w.count * matrix_bytes(w);
    case WeightForm::kVector: return round_up(w.n, 16) * 4;
    case WeightForm::kConv:
    case WeightForm::kScanA: return round_up(w.n, 16) * w.k * 4;
    case WeightForm::kFrequencies: return round_up(w.n * 8, 64);
  }
  return 0;
}

uint64_t place_weights(Program& program) {
  uint64_t offset = 0;
  for (Value& value : program.values) {
    if (value.kind != ValueKind::kWeight) continue;
    value.offset = offset;
    value.bytes = packed_weight_bytes(value);
    offset += value.bytes;
  }
  return offset;
}

Status pack_weights(const Program& program, const Checkpoint& checkpoint, const PackSink& sink) {
  for (const Value& w : program.values) {
    if (w.kind != ValueKind::kWeight) continue;
    switch (w.form) {
      case WeightForm::kMatrix: SLUICE_TRY_VOID(pack_matrix(w, checkpoint, sink)); break;
      case WeightForm::kFrequencies: SLUICE_TRY_VOID(pack_frequencies(w, checkpoint, sink)); break;
      default: {
        const std::vector<float> values = arranged(w, values_of(*checkpoint.find(w.sources[0]), w.transform));
        SLUICE_TRY_VOID(write(sink, values.data(), values.size() * 4));
      }
    }
    // What is packed need not stay resident: the source's pages would otherwise count beside the plan.
    for (const std::string& source : w.sources) checkpoint.release(*checkpoint.find(source));
  }
  return {};
}

}  // namespace sluice::compiler
