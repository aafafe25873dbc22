#include <cstring>

#include "base/check.h"
#include "cli/golden_support.h"

namespace sluice::cli {

Result<Expected> Expected::open(const std::filesystem::path& path) {
  Expected expected;
  SLUICE_TRY(expected.file_, platform::MappedFile::open(path));
  SLUICE_TRY(expected.tensors_, weights::parse_safetensors(expected.file_.bytes()));
  return expected;
}

const weights::TensorView* Expected::find(std::string_view name) const {
  for (const weights::TensorView& tensor : tensors_.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::vector<float> Expected::floats(std::string_view name) const {
  const weights::TensorView* tensor = find(name);
  if (tensor == nullptr || tensor->dtype != DType::kF32) return {};
  std::vector<float> out(tensor->bytes.size() / sizeof(float));
  std::memcpy(out.data(), tensor->bytes.data(), tensor->bytes.size());
  return out;
}

std::vector<int32_t> Expected::integers(std::string_view name) const {
  const weights::TensorView* tensor = find(name);
  if (tensor == nullptr || tensor->dtype != DType::kI32) return {};
  std::vector<int32_t> out(tensor->bytes.size() / sizeof(int32_t));
  std::memcpy(out.data(), tensor->bytes.data(), tensor->bytes.size());
  return out;
}

Result<TestModel> TestModel::open(const std::filesystem::path& path, const TestOptions& options) {
  SLUICE_TRY(const weights::Checkpoint checkpoint, weights::Checkpoint::open(path));
  SLUICE_TRY(compiler::Model model, compiler::compile_in_memory(checkpoint, "", {.observers = options.observers, .progress = {}}));
  const program::PlanSizes sizes = compiler::plan(model.program, {options.rows_max, options.rows_max, options.kv_type});
  TestModel out;
  out.fingerprint_ = model.fingerprint;
  SLUICE_TRY(out.runtime_, runtime::Runtime::create(std::move(model.program), sizes, model.weights, model.owner,
                                                    {.threads = options.threads, .isa = options.isa, .kv_type = options.kv_type}));
  return out;
}

std::unique_ptr<engine::Session> TestModel::session(uint64_t context) {
  Result<std::unique_ptr<engine::Session>> session = engine::Session::create(*runtime_, context);
  SLUICE_CHECK(session.ok());
  return std::move(*session);
}

std::vector<float> read_all(engine::Session& session, std::span<const int32_t> tokens, uint64_t chunk) {
  std::vector<float> out;
  engine::Session::FeedOptions options;
  options.chunk = chunk;
  options.all_logits = true;
  options.on_logits = [&](uint64_t, size_t rows) {
    for (size_t i = 0; i < rows; ++i) {
      const std::span<const float> row = session.runtime().logits(i);
      out.insert(out.end(), row.begin(), row.end());
    }
  };
  SLUICE_CHECK(session.feed(tokens, options).ok());
  return out;
}

std::map<int64_t, std::vector<float>> observe_all(engine::Session& session, std::span<const int32_t> tokens) {
  std::map<int64_t, std::vector<float>> seen;
  runtime::Observer observer;
  observer.context = &seen;
  observer.see = [](void* context, int64_t index, const float* rows, size_t row_count, size_t width, size_t stride) {
    std::vector<float>& out = (*static_cast<std::map<int64_t, std::vector<float>>*>(context))[index];
    for (size_t r = 0; r < row_count; ++r) out.insert(out.end(), rows + r * stride, rows + r * stride + width);
  };
  engine::Session::FeedOptions options;
  options.all_logits = true;
  options.observer = &observer;
  SLUICE_CHECK(session.feed(tokens, options).ok());
  return seen;
}

}  // namespace sluice::cli
