#include "weights/writer.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"
#include "base/limits.h"
#include "platform/file.h"
#include "weights/names.h"
#include "weights/reader.h"
#include "weights/safetensors.h"

namespace sluice::weights {
namespace {

constexpr uint64_t kHeaderAlignment = 8;  // what safetensors' own writer pads its header to
constexpr char kZeros[4096] = {};

std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

template <class T>
void append(std::string& out, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  out.append(raw, sizeof(T));
}

void append_string(std::string& out, std::string_view text) {
  append<uint64_t>(out, text.size());
  out += text;
}

template <class T>
std::string array_text(GgufType element, std::span<const T> values) {
  std::string out;
  append(out, static_cast<uint32_t>(element));
  append<uint64_t>(out, values.size());
  for (const T value : values) append(out, value);
  return out;
}

template <class T>
std::span<const std::byte> scalar(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

Status emit_zeros(const Sink& sink, uint64_t count) {
  while (count > 0) {
    const uint64_t piece = std::min<uint64_t>(count, sizeof(kZeros));
    SLUICE_TRY_VOID(sink(std::as_bytes(std::span(kZeros, piece))));
    count -= piece;
  }
  return {};
}

Status emit_tensor(const OutputTensor& tensor, uint64_t bytes, const Sink& sink) {
  uint64_t given = 0;
  SLUICE_TRY_VOID(tensor.produce([&](std::span<const std::byte> piece) -> Status {
    given += piece.size();
    if (given > bytes) return Error{"tensor " + shown(tensor.name) + " gave more than its " + std::to_string(bytes) + " bytes"};
    return sink(piece);
  }));
  if (given == bytes) return {};
  return Error{"tensor " + shown(tensor.name) + " gave " + std::to_string(given) + " of its " + std::to_string(bytes) + " bytes"};
}

std::string json_text(const nlohmann::json& value) { return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace); }

template <class Writer>
Result<std::vector<std::byte>> collect(const Writer& writer) {
  std::vector<std::byte> bytes;
  SLUICE_TRY_VOID(writer.emit([&](std::span<const std::byte> piece) -> Status {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
    return {};
  }));
  return bytes;
}

template <class Writer>
Status write_file(const Writer& writer, const std::filesystem::path& path, WriteProgress progress) {
  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  if (progress) file.set_progress(std::move(progress));
  SLUICE_TRY_VOID(writer.emit([&](std::span<const std::byte> piece) { return file.write(piece); }));
  return file.commit();
}

}  // namespace

Produce produce_bytes(std::span<const std::byte> bytes) {
  return [bytes](const Sink& sink) { return sink(bytes); };
}

Result<uint64_t> bytes_of(const OutputTensor& tensor) {
  SLUICE_TRY_VOID(check_tensor_name(tensor.name));
  const DTypeInfo& type = info(tensor.dtype);
  const uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % type.block_elements != 0) {
    return Error{"rows of tensor " + shown(tensor.name) + " are not whole blocks of " + std::to_string(type.block_elements)};
  }
  std::optional<uint64_t> bytes = checked_mul(row / type.block_elements, type.block_bytes);
  for (size_t i = 0; i + 1 < tensor.shape.size() && bytes; ++i) bytes = checked_mul(*bytes, tensor.shape[i]);
  if (!bytes) return Error{"the size of tensor " + shown(tensor.name) + " does not fit into 64 bits"};
  return *bytes;
}

void GgufWriter::put_raw(std::string_view key, GgufType type, std::span<const std::byte> bytes) {
  append_string(metadata_, key);
  append(metadata_, static_cast<uint32_t>(type));
  metadata_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  ++n_keys_;
}

void GgufWriter::put(std::string_view key, std::string_view text) {
  std::string value;
  append_string(value, text);
  put_raw(key, GgufType::kString, as_bytes(value));
}
void GgufWriter::put(std::string_view key, uint32_t value) { put_raw(key, GgufType::kU32, scalar(value)); }
void GgufWriter::put(std::string_view key, int32_t value) { put_raw(key, GgufType::kI32, scalar(value)); }
void GgufWriter::put(std::string_view key, uint64_t value) { put_raw(key, GgufType::kU64, scalar(value)); }
void GgufWriter::put(std::string_view key, float value) { put_raw(key, GgufType::kF32, scalar(value)); }
void GgufWriter::put(std::string_view key, bool value) { put_raw(key, GgufType::kBool, scalar(static_cast<uint8_t>(value))); }

void GgufWriter::put(std::string_view key, std::span<const std::string> texts) {
  std::string value;
  append(value, static_cast<uint32_t>(GgufType::kString));
  append<uint64_t>(value, texts.size());
  for (const std::string& text : texts) append_string(value, text);
  put_raw(key, GgufType::kArray, as_bytes(value));
}
void GgufWriter::put(std::string_view key, std::span<const float> values) {
  put_raw(key, GgufType::kArray, as_bytes(array_text(GgufType::kF32, values)));
}
void GgufWriter::put(std::string_view key, std::span<const int32_t> values) {
  put_raw(key, GgufType::kArray, as_bytes(array_text(GgufType::kI32, values)));
}

void GgufWriter::set_alignment(uint32_t alignment) {
  SLUICE_CHECK(std::has_single_bit(alignment) && alignment >= 8);
  alignment_ = alignment;
  put("general.alignment", alignment);
}

Status GgufWriter::emit(const Sink& sink) const {
  std::string header;
  append(header, kGgufMagic);
  append<uint32_t>(header, 3);
  append<uint64_t>(header, tensors_.size());
  append<uint64_t>(header, n_keys_);
  header += metadata_;
  std::vector<uint64_t> sizes;
  uint64_t offset = 0;
  for (const OutputTensor& tensor : tensors_) {
    SLUICE_TRY(const uint64_t bytes, bytes_of(tensor));
    if (tensor.shape.size() > kGgufDimensionsMax) return Error{"tensor " + shown(tensor.name) + " has more than 4 dimensions"};
    if (info(tensor.dtype).ggml_id == kNoGgmlId) return Error{"GGUF has no type " + std::string(info(tensor.dtype).name)};
    append_string(header, tensor.name);
    append(header, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i > 0; --i) append(header, tensor.shape[i - 1]);
    append(header, info(tensor.dtype).ggml_id);
    append(header, offset);
    sizes.push_back(bytes);
    const auto end = checked_add(offset, bytes);
    const auto next = end ? checked_align(*end, alignment_) : std::nullopt;
    if (!next) return Error{"the tensors together do not fit into 64 bits"};
    offset = *next;
  }
  SLUICE_TRY_VOID(sink(as_bytes(header)));
  SLUICE_TRY_VOID(emit_zeros(sink, *checked_align(header.size(), alignment_) - header.size()));
  for (size_t i = 0; i < tensors_.size(); ++i) {
    SLUICE_TRY_VOID(emit_tensor(tensors_[i], sizes[i], sink));
    SLUICE_TRY_VOID(emit_zeros(sink, *checked_align(sizes[i], alignment_) - sizes[i]));
  }
  return {};
}

Result<std::vector<std::byte>> GgufWriter::build() const { return collect(*this); }

Status GgufWriter::write(const std::filesystem::path& path, WriteProgress progress) const {
  return write_file(*this, path, std::move(progress));
}

Status SafetensorsWriter::emit(const Sink& sink) const {
  std::string text = "{";
  if (!metadata_.empty()) text += "\"__metadata__\":" + json_text(metadata_) + ",";
  std::vector<uint64_t> sizes;
  uint64_t offset = 0;
  for (const OutputTensor& tensor : tensors_) {
    SLUICE_TRY(const uint64_t bytes, bytes_of(tensor));
    const std::string_view type = safetensors_type(tensor.dtype);
    if (type.empty()) return Error{"safetensors has no type " + std::string(info(tensor.dtype).name)};
    const auto end = checked_add(offset, bytes);
    if (!end) return Error{"the tensors together do not fit into 64 bits"};
    text += json_text(tensor.name) + ":{\"dtype\":\"" + std::string(type) + "\",\"shape\":" + json_text(tensor.shape) + ",\"data_offsets\":[" +
            std::to_string(offset) + "," + std::to_string(*end) + "]},";
    sizes.push_back(bytes);
    offset = *end;
  }
  if (text.back() == ',') text.pop_back();
  text += "}";
  text.append(*checked_align(text.size(), kHeaderAlignment) - text.size(), ' ');
  std::string length;
  append<uint64_t>(length, text.size());
  SLUICE_TRY_VOID(sink(as_bytes(length)));
  SLUICE_TRY_VOID(sink(as_bytes(text)));
  for (size_t i = 0; i < tensors_.size(); ++i) SLUICE_TRY_VOID(emit_tensor(tensors_[i], sizes[i], sink));
  return {};
}

Result<std::vector<std::byte>> SafetensorsWriter::build() const { return collect(*this); }

Status SafetensorsWriter::write(const std::filesystem::path& path, WriteProgress progress) const {
  return write_file(*this, path, std::move(progress));
}

}  // namespace sluice::weights
