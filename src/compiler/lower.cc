#include <fmt/format.h>

#include <string_view>
#include <vector>

#include "compiler/passes.h"
#include "kernels/dequant/dequant.h"
#include "models/family.h"

namespace sluice::compiler {

using program::Program;
using program::Value;
using program::ValueKind;
using program::WeightForm;
using weights::Checkpoint;
using weights::TensorView;

namespace {

std::string shape_text(std::span<const uint64_t> shape) {
  std::string out;
  for (const uint64_t side : shape) out += fmt::format("{}{}", out.empty() ? "" : " x ", side);
  return "[" + out + "]";
}

// Elements a source tensor must have, and the length of its rows.
struct Expected {
  uint64_t elements;
  uint64_t row;
  std::string text;
};

Expected expected_of(const Value& w) {
  const uint64_t matrices = w.sources.size() == w.count ? 1 : w.count;
  switch (w.form) {
    case WeightForm::kMatrix:
      return {matrices * w.source_rows * w.k, w.k,
              matrices == 1 ? fmt::format("[{} x {}]", w.source_rows, w.k) : fmt::format("[{} x {} x {}]", matrices, w.source_rows, w.k)};
    case WeightForm::kVector: return {w.source_rows, w.source_rows, fmt::format("[{}]", w.source_rows)};
    case WeightForm::kConv:
    case WeightForm::kScanA: return {w.source_rows * w.k, w.k, fmt::format("[{} x {}]", w.source_rows, w.k)};
    case WeightForm::kFrequencies: return {w.n, w.n, fmt::format("[{}]", w.n)};
  }
  return {0, 0, ""};
}

Status check_tensor(const Value& w, const TensorView& tensor) {
  if (!kernels::is_weight_type(tensor.dtype)) {
    return Error{fmt::format("tensor {} has type {}, which is not a weight type", tensor.name, info(tensor.dtype).name)};
  }
  const Expected expected = expected_of(w);
  uint64_t elements = 1;
  for (const uint64_t side : tensor.shape) elements *= side;  // the reader has checked that this does not wrap
  const uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (elements != expected.elements || (w.form == WeightForm::kMatrix && row != expected.row)) {
    return Error{fmt::format("tensor {} is {}, the model's configuration asks for {}", tensor.name, shape_text(tensor.shape), expected.text)};
  }
  return {};
}

}  // namespace

Status lower(Program& program, const Checkpoint& checkpoint) {
  for (Value& value : program.values) {
    if (value.kind != ValueKind::kWeight) continue;
    if (value.source_row + value.n > value.source_rows && !value.sources.empty()) {
      return Error{fmt::format("rows {} to {} of {}, which has {}", value.source_row, value.source_row + value.n, value.sources[0], value.source_rows)};
    }
    for (size_t i = 0; i < value.sources.size(); ++i) {
      const TensorView* tensor = checkpoint.find(value.sources[i]);
      if (tensor == nullptr) return Error{fmt::format("tensor {} is missing from the checkpoint", value.sources[i])};
      SLUICE_TRY_VOID(check_tensor(value, *tensor));
      if (i > 0 && tensor->dtype != value.dtype) {
        return Error{fmt::format("tensor {} has type {}, {} has {}: experts of one layer must agree", tensor->name, info(tensor->dtype).name,
                                 value.sources[0], info(value.dtype).name)};
      }
      value.dtype = tensor->dtype;
    }
  }
  std::vector<std::string_view> names;
  for (const TensorView& tensor : checkpoint.tensors()) names.push_back(tensor.name);
  SLUICE_TRY_VOID(models::check_all_used(program, names));
  return program::verify(program);
}

}  // namespace sluice::compiler
