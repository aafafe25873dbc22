#include "weights/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/check.h"
#include "base/limits.h"
#include "weights/names.h"
#include "weights/reader.h"

namespace sluice::weights {
namespace {

constexpr uint64_t kKeyValueBytesMin = 8 + 4 + 1;             // empty key, type, one byte
constexpr uint64_t kTensorInfoBytesMin = 8 + 4 + 4 + 8;       // empty name, no dimension, type, offset
constexpr uint64_t kAlignmentMax = 1ull << 20;                // largest seen is 4096; 2^31 has crashed readers

struct GgufTypeInfo {
  std::string_view name;
  uint64_t bytes;
};
constexpr GgufTypeInfo kTypes[] = {{"u8", 1},   {"i8", 1},   {"u16", 2},    {"i16", 2},   {"u32", 4}, {"i32", 4}, {"f32", 4},
                                   {"bool", 1}, {"string", 0}, {"array", 0}, {"u64", 8}, {"i64", 8}, {"f64", 8}};

// ggml types that exist but that no kernel here reads: named so that the message helps.
struct ForeignType {
  uint32_t id;
  std::string_view name;
};
constexpr ForeignType kForeignTypes[] = {
    {9, "q8_1"},   {15, "q8_k"},  {16, "iq2_xxs"}, {17, "iq2_xs"}, {18, "iq3_xxs"}, {19, "iq1_s"}, {21, "iq3_s"}, {22, "iq2_s"},
    {29, "iq1_m"}, {34, "tq1_0"}, {35, "tq2_0"},   {40, "nvfp4"},  {41, "q1_0"},    {42, "q2_0"},
};

std::string describe_type(uint32_t id) {
  for (const ForeignType& type : kForeignTypes) {
    if (type.id == id) return std::string(type.name) + " (" + std::to_string(id) + "), which is not supported";
  }
  return std::to_string(id) + ", which no GGUF file may use";
}

Result<GgufType> read_type(ByteReader& reader, std::string_view what) {
  SLUICE_TRY(const uint32_t id, reader.number<uint32_t>(what));
  if (id > static_cast<uint32_t>(GgufType::kF64)) return Error{std::string(what) + " is " + std::to_string(id) + ", the largest is 12"};
  return static_cast<GgufType>(id);
}

Status check_bools(std::span<const std::byte> bytes, std::string_view key) {
  for (const std::byte b : bytes) {
    if (static_cast<uint8_t>(b) > 1) return Error{"key " + shown(key) + " holds a bool of value " + std::to_string(static_cast<int>(b))};
  }
  return {};
}

Status read_array(ByteReader& reader, std::string_view key, GgufValue& value, std::span<const std::byte> file) {
  SLUICE_TRY(value.element, read_type(reader, "array element type"));
  SLUICE_TRY(value.count, reader.number<uint64_t>("array length"));
  if (value.element == GgufType::kArray) return Error{"key " + shown(key) + " is an array of arrays, which GGUF readers refuse"};
  const uint64_t element_bytes = value.element == GgufType::kString ? sizeof(uint64_t) : scalar_bytes(value.element);
  SLUICE_TRY_VOID(reader.expect_records(value.count, element_bytes, "array elements of key " + shown(key)));
  const uint64_t begin = reader.position();
  if (value.element == GgufType::kString) {
    for (uint64_t i = 0; i < value.count; ++i) {
      SLUICE_TRY_VOID(reader.string(limits::kStringBytesMax, "array string"));
    }
  } else {
    SLUICE_TRY_VOID(reader.take(value.count * element_bytes, "array"));  // bounded by expect_records
  }
  value.bytes = file.subspan(begin, reader.position() - begin);
  if (value.element == GgufType::kBool) return check_bools(value.bytes, key);
  return {};
}

Result<GgufEntry> read_entry(ByteReader& reader, std::span<const std::byte> file) {
  GgufEntry entry;
  SLUICE_TRY(entry.key, reader.string(limits::kMetadataKeyBytesMax, "metadata key"));
  if (entry.key.empty()) return Error{"a metadata key at byte " + std::to_string(reader.position()) + " is empty"};
  if (!is_utf8(entry.key)) return Error{"metadata key " + shown(entry.key) + " is not UTF-8"};
  GgufValue& value = entry.value;
  SLUICE_TRY(value.type, read_type(reader, "value type"));
  value.element = value.type;
  if (value.type == GgufType::kArray) {
    SLUICE_TRY_VOID(read_array(reader, entry.key, value, file));
  } else if (value.type == GgufType::kString) {
    SLUICE_TRY(const std::string_view text, reader.string(limits::kStringBytesMax, "value of key " + shown(entry.key)));
    value.bytes = std::as_bytes(std::span(text.data(), text.size()));
  } else {
    SLUICE_TRY(value.bytes, reader.take(scalar_bytes(value.type), "metadata value"));
    if (value.type == GgufType::kBool) SLUICE_TRY_VOID(check_bools(value.bytes, entry.key));
  }
  return entry;
}

Result<GgufTensor> read_tensor(ByteReader& reader) {
  GgufTensor tensor;
  SLUICE_TRY(tensor.name, reader.string(limits::kTensorNameBytesMax, "tensor name"));
  SLUICE_TRY_VOID(check_tensor_name(tensor.name));
  SLUICE_TRY(tensor.n_dims, reader.number<uint32_t>("dimension count"));
  if (tensor.n_dims > kGgufDimensionsMax) {
    return Error{"tensor " + shown(tensor.name) + " has " + std::to_string(tensor.n_dims) + " dimensions, the limit is 4"};
  }
  for (uint32_t i = 0; i < tensor.n_dims; ++i) {
    SLUICE_TRY(tensor.ne[i], reader.number<uint64_t>("dimension"));
    if (tensor.ne[i] == 0) return Error{"tensor " + shown(tensor.name) + " has a dimension of size 0"};
  }
  SLUICE_TRY(const uint32_t type_id, reader.number<uint32_t>("tensor type"));
  const std::optional<DType> dtype = dtype_from_ggml(type_id);
  if (!dtype) return Error{"tensor " + shown(tensor.name) + " has type " + describe_type(type_id)};
  tensor.dtype = *dtype;
  SLUICE_TRY(tensor.offset, reader.number<uint64_t>("tensor offset"));
  return tensor;
}

// Rows never share a block, so the first dimension must be whole blocks.
Result<uint64_t> tensor_bytes(const GgufTensor& tensor) {
  const DTypeInfo& type = info(tensor.dtype);
  if (tensor.ne[0] % type.block_elements != 0) {
    return Error{"tensor " + shown(tensor.name) + " of type " + std::string(type.name) + " has rows of " + std::to_string(tensor.ne[0]) +
                 " values, not a multiple of " + std::to_string(type.block_elements)};
  }
  std::optional<uint64_t> bytes = checked_mul(tensor.ne[0] / type.block_elements, type.block_bytes);
  std::optional<uint64_t> elements = tensor.ne[0];
  for (uint32_t i = 1; i < kGgufDimensionsMax && bytes && elements; ++i) {
    bytes = checked_mul(*bytes, tensor.ne[i]);
    elements = checked_mul(*elements, tensor.ne[i]);
  }
  if (!bytes || !elements) return Error{"the size of tensor " + shown(tensor.name) + " does not fit into 64 bits"};
  return *bytes;
}

template <class T>
T load(std::span<const std::byte> bytes, uint64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

std::string_view name(GgufType type) { return kTypes[static_cast<uint32_t>(type)].name; }

uint64_t scalar_bytes(GgufType type) { return kTypes[static_cast<uint32_t>(type)].bytes; }

std::optional<int64_t> GgufValue::as_i64(uint64_t index) const {
  if (index >= count) return std::nullopt;
  switch (element) {
    case GgufType::kU8: return load<uint8_t>(bytes, index);
    case GgufType::kI8: return load<int8_t>(bytes, index);
    case GgufType::kU16: return load<uint16_t>(bytes, index);
    case GgufType::kI16: return load<int16_t>(bytes, index);
    case GgufType::kU32: return load<uint32_t>(bytes, index);
    case GgufType::kI32: return load<int32_t>(bytes, index);
    case GgufType::kI64: return load<int64_t>(bytes, index);
    case GgufType::kU64: {
      const uint64_t value = load<uint64_t>(bytes, index);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default: return std::nullopt;
  }
}

std::optional<uint64_t> GgufValue::as_u64(uint64_t index) const {
  if (index < count && element == GgufType::kU64) return load<uint64_t>(bytes, index);
  const std::optional<int64_t> value = as_i64(index);
  if (!value || *value < 0) return std::nullopt;
  return static_cast<uint64_t>(*value);
}

std::optional<double> GgufValue::as_f64(uint64_t index) const {
  if (index >= count) return std::nullopt;
  if (element == GgufType::kF32) return static_cast<double>(load<float>(bytes, index));
  if (element == GgufType::kF64) return load<double>(bytes, index);
  if (element == GgufType::kU64) return static_cast<double>(load<uint64_t>(bytes, index));
  const std::optional<int64_t> value = as_i64(index);
  if (!value) return std::nullopt;
  return static_cast<double>(*value);
}

std::optional<bool> GgufValue::as_bool(uint64_t index) const {
  if (index >= count || element != GgufType::kBool) return std::nullopt;
  return load<uint8_t>(bytes, index) != 0;
}

std::optional<std::string_view> GgufValue::as_string() const {
  if (type != GgufType::kString) return std::nullopt;
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

GgufStrings::GgufStrings(const GgufValue& array) : bytes_(array.bytes), left_(array.count) {
  SLUICE_CHECK(array.is_array() && array.element == GgufType::kString);
}

std::string_view GgufStrings::next() {
  SLUICE_CHECK(left_ > 0);
  const uint64_t length = load<uint64_t>(bytes_, 0);
  const auto text = bytes_.subspan(sizeof(uint64_t), length);
  bytes_ = bytes_.subspan(sizeof(uint64_t) + length);
  --left_;
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

Result<Gguf> Gguf::parse(std::span<const std::byte> file) {
  Gguf gguf;
  SLUICE_TRY_VOID(gguf.read_header(file));
  SLUICE_TRY_VOID(gguf.place_tensors(file));
  SLUICE_TRY_VOID(gguf.check_overlap());
  SLUICE_TRY_VOID(gguf.check_tensor_names());
  return gguf;
}

Status Gguf::read_header(std::span<const std::byte> file) {
  ByteReader reader(file);
  SLUICE_TRY(const uint32_t magic, reader.number<uint32_t>("magic"));
  if (magic != kGgufMagic) return Error{"the file does not begin with \"GGUF\""};
  SLUICE_TRY(version_, reader.number<uint32_t>("version"));
  if ((version_ & 0xFFFFu) == 0) return Error{"this is a big-endian GGUF file, which is not supported"};
  if (version_ != 2 && version_ != 3) return Error{"GGUF version " + std::to_string(version_) + " is not supported (2 and 3 are)"};
  SLUICE_TRY(const uint64_t n_tensors, reader.number<uint64_t>("tensor count"));
  SLUICE_TRY(const uint64_t n_keys, reader.number<uint64_t>("metadata count"));
  if (n_tensors > limits::kTensorsMax) {
    return Error{"the file has " + std::to_string(n_tensors) + " tensors, the limit is " + std::to_string(limits::kTensorsMax)};
  }
  if (n_keys > limits::kMetadataKeysMax) {
    return Error{"the file has " + std::to_string(n_keys) + " metadata keys, the limit is " + std::to_string(limits::kMetadataKeysMax)};
  }
  SLUICE_TRY_VOID(reader.expect_records(n_keys, kKeyValueBytesMin, "metadata keys"));
  metadata_.reserve(n_keys);
  for (uint64_t i = 0; i < n_keys; ++i) {
    SLUICE_TRY(const GgufEntry entry, read_entry(reader, file));
    metadata_.push_back(entry);
  }
  SLUICE_TRY_VOID(check_keys());
  SLUICE_TRY_VOID(read_alignment());
  SLUICE_TRY_VOID(reader.expect_records(n_tensors, kTensorInfoBytesMin, "tensors"));
  tensors_.reserve(n_tensors);
  for (uint64_t i = 0; i < n_tensors; ++i) {
    SLUICE_TRY(const GgufTensor tensor, read_tensor(reader));
    tensors_.push_back(tensor);
  }
  // A file without tensors (a vocabulary) may end right after its metadata, unpadded.
  const uint64_t aligned = *checked_align(reader.position(), alignment_);  // position <= file size, far from 2^64
  data_offset_ = n_tensors == 0 ? std::min<uint64_t>(aligned, file.size()) : aligned;
  if (data_offset_ > file.size()) {
    return Error{"the tensor data should begin at byte " + std::to_string(data_offset_) + ", the file has " + std::to_string(file.size())};
  }
  return {};
}

Status Gguf::check_keys() {
  by_key_.resize(metadata_.size());
  for (size_t i = 0; i < by_key_.size(); ++i) by_key_[i] = static_cast<uint32_t>(i);
  std::sort(by_key_.begin(), by_key_.end(), [&](uint32_t a, uint32_t b) { return metadata_[a].key < metadata_[b].key; });
  for (size_t i = 1; i < by_key_.size(); ++i) {
    const std::string_view key = metadata_[by_key_[i]].key;
    if (key == metadata_[by_key_[i - 1]].key) return Error{"metadata key " + shown(key) + " occurs twice"};
  }
  return {};
}

Status Gguf::read_alignment() {
  const GgufValue* value = find("general.alignment");
  if (value == nullptr) return {};
  if (value->type != GgufType::kU32) {
    return Error{"general.alignment must be u32, it is " + std::string(name(value->type))};
  }
  alignment_ = *value->as_u64();
  if (!std::has_single_bit(alignment_) || alignment_ < 8 || alignment_ > kAlignmentMax) {
    return Error{"general.alignment is " + std::to_string(alignment_) + ", it must be a power of two from 8 to " + std::to_string(kAlignmentMax)};
  }
  return {};
}

Status Gguf::place_tensors(std::span<const std::byte> file) {
  const std::span<const std::byte> data = file.subspan(data_offset_);
  for (GgufTensor& tensor : tensors_) {
    SLUICE_TRY(const uint64_t bytes, tensor_bytes(tensor));
    if (tensor.offset % alignment_ != 0) {
      return Error{"tensor " + shown(tensor.name) + " begins at " + std::to_string(tensor.offset) + ", not a multiple of the alignment " +
                   std::to_string(alignment_)};
    }
    if (tensor.offset > data.size() || bytes > data.size() - tensor.offset) {
      return Error{"tensor " + shown(tensor.name) + " needs " + std::to_string(bytes) + " bytes at " + std::to_string(tensor.offset) +
                   ", the data section has " + std::to_string(data.size())};
    }
    tensor.bytes = data.subspan(tensor.offset, bytes);
  }
  return {};
}

// With every tensor inside the data and none overlapping, the sizes add up to no more than the file.
Status Gguf::check_overlap() const {
  std::vector<uint32_t> order(tensors_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return tensors_[a].offset < tensors_[b].offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    const GgufTensor& before = tensors_[order[i - 1]];
    const GgufTensor& after = tensors_[order[i]];
    if (before.offset + before.bytes.size() > after.offset) {
      return Error{"tensors " + shown(before.name) + " and " + shown(after.name) + " overlap"};
    }
  }
  return {};
}

Status Gguf::check_tensor_names() const {
  std::vector<std::string_view> names;
  names.reserve(tensors_.size());
  for (const GgufTensor& tensor : tensors_) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return Error{"tensor " + shown(*twice) + " occurs twice"};
  return {};
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto at =
      std::lower_bound(by_key_.begin(), by_key_.end(), key, [&](uint32_t i, std::string_view wanted) { return metadata_[i].key < wanted; });
  if (at == by_key_.end() || metadata_[*at].key != key) return nullptr;
  return &metadata_[*at].value;
}

}  // namespace sluice::weights
