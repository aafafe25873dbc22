// What model tests share: a model opened for a test (compiled in memory, planned, bound) and the expected tensors of a golden folder.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compiler/compile.h"
#include "engine/session.h"
#include "platform/file.h"
#include "weights/safetensors.h"

namespace sluice::cli {

class Expected {
 public:
  static Result<Expected> open(const std::filesystem::path& path);
  // Values of a tensor; empty if there is none of that name.
  std::vector<float> floats(std::string_view name) const;
  std::vector<int32_t> integers(std::string_view name) const;

 private:
  const weights::TensorView* find(std::string_view name) const;
  platform::MappedFile file_;
  weights::Safetensors tensors_;
};

struct TestOptions {
  bool observers = false;
  uint32_t threads = 1;
  Isa isa = Isa::kBaseline;
  kernels::KvType kv_type = kernels::KvType::kF32;
  uint64_t rows_max = 128;
};

class TestModel {
 public:
  static Result<TestModel> open(const std::filesystem::path& path, const TestOptions& options);
  std::unique_ptr<engine::Session> session(uint64_t context);
  runtime::Runtime& runtime() { return *runtime_; }
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  std::unique_ptr<runtime::Runtime> runtime_;
  uint64_t fingerprint_ = 0;
};

// Feeds the tokens and returns the logits of every one of them, [tokens, vocabulary].
std::vector<float> read_all(engine::Session& session, std::span<const int32_t> tokens, uint64_t chunk);
// What the program's observers saw, by index, rows joined over steps.
std::map<int64_t, std::vector<float>> observe_all(engine::Session& session, std::span<const int32_t> tokens);

}  // namespace sluice::cli
