// Writing what the readers read: GGUF v3 and safetensors, streamed, so that a model larger than memory can be written. Used by `sluice synth`,
// by `sluice logits --out` and by the tests, which build hostile files from it. Files appear in one step (platform::AtomicFile).
//
//   GgufWriter writer;
//   writer.put("general.architecture", "jamba");
//   writer.add({"token_embd.weight", DType::kF32, {1024, 64}, produce_bytes(bytes)});
//   SLUICE_TRY_VOID(writer.write("tiny.gguf", nullptr));
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "weights/gguf.h"

namespace sluice::weights {

using Sink = std::function<Status(std::span<const std::byte>)>;
// Gives the tensor's bytes to the sink, in as many pieces as it likes.
using Produce = std::function<Status(const Sink&)>;
// For bytes that are there already; they must outlive the writing.
Produce produce_bytes(std::span<const std::byte> bytes);

struct OutputTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;  // row-major, as in TensorView
  Produce produce;
};

// Bytes that dtype and shape ask for; fails on overflow and on rows that are not whole blocks.
Result<uint64_t> bytes_of(const OutputTensor& tensor);

using WriteProgress = std::function<void(uint64_t bytes_written)>;

class GgufWriter {
 public:
  void put(std::string_view key, std::string_view text);
  void put(std::string_view key, const char* text) { put(key, std::string_view(text)); }
  void put(std::string_view key, uint32_t value);
  void put(std::string_view key, int32_t value);
  void put(std::string_view key, uint64_t value);
  void put(std::string_view key, float value);
  void put(std::string_view key, bool value);
  void put(std::string_view key, std::span<const std::string> texts);
  void put(std::string_view key, std::span<const float> values);
  void put(std::string_view key, std::span<const int32_t> values);
  // Any value: what follows the type in the file.
  void put_raw(std::string_view key, GgufType type, std::span<const std::byte> bytes);

  void set_alignment(uint32_t alignment);  // a power of two >= 8; 32 if not called
  void add(OutputTensor tensor) { tensors_.push_back(std::move(tensor)); }

  Status emit(const Sink& sink) const;
  Result<std::vector<std::byte>> build() const;
  Status write(const std::filesystem::path& path, WriteProgress progress) const;

 private:
  uint32_t alignment_ = 32;
  uint64_t n_keys_ = 0;
  std::string metadata_;
  std::vector<OutputTensor> tensors_;
};

class SafetensorsWriter {
 public:
  void put(std::string key, std::string text) { metadata_[std::move(key)] = std::move(text); }  // "__metadata__"
  void add(OutputTensor tensor) { tensors_.push_back(std::move(tensor)); }

  Status emit(const Sink& sink) const;
  Result<std::vector<std::byte>> build() const;
  Status write(const std::filesystem::path& path, WriteProgress progress) const;

 private:
  std::map<std::string, std::string> metadata_;
  std::vector<OutputTensor> tensors_;
};

}  // namespace sluice::weights
