#include "weights/safetensors.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "base/limits.h"
#include "weights/json.h"
#include "weights/names.h"
#include "weights/reader.h"

namespace sluice::weights {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMetadataKey = "__metadata__";
// A name of kTensorNameBytesMax bytes written with \u escapes takes six times as many.
constexpr uint64_t kHeaderStringBytesMax = limits::kMetadataTextBytesMax;

struct NamedType {
  std::string_view name;
  DType dtype;
};
constexpr NamedType kNamedTypes[] = {
    {"F32", DType::kF32}, {"F16", DType::kF16}, {"BF16", DType::kBF16}, {"F64", DType::kF64}, {"I8", DType::kI8},
    {"I16", DType::kI16}, {"I32", DType::kI32}, {"I64", DType::kI64},   {"U8", DType::kU8},   {"BOOL", DType::kU8},
};

std::optional<DType> dtype_from_safetensors(std::string_view text) {
  for (const NamedType& type : kNamedTypes) {
    if (type.name == text) return type.dtype;
  }
  return std::nullopt;
}

// What both handlers share: every event is an error unless the handler says otherwise.
class Handler : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a bool"); }
  bool number_integer(number_integer_t value) override { return unexpected("the number " + std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return unexpected("the number " + std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected("the number " + text); }
  bool string(string_t& value) override { return unexpected("the string " + shown(value)); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool start_array(std::size_t) override { return unexpected("an array"); }
  bool end_array() override { return unexpected("an array"); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& exception) override {
    return fail(json_error_text(exception.what()));
  }

  const std::string& error() const { return error_; }

 protected:
  bool fail(std::string message) {
    error_ = std::move(message);
    return false;
  }
  virtual std::string where() const = 0;
  bool unexpected(const std::string& what) { return fail(what + " was not expected " + where()); }

 private:
  std::string error_;
};

struct HeaderEntry {
  TensorView view;
  uint64_t begin = 0;
  uint64_t end = 0;
};

class HeaderHandler final : public Handler {
 public:
  std::vector<HeaderEntry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    return ++depth_ <= 2 || unexpected("an object");  // for depth 2, key() has prepared the entry
  }
  bool end_object() override {
    if (--depth_ == 0) return true;
    if (in_metadata_) {
      in_metadata_ = false;
      return true;
    }
    if (fields_ != kAllFields) return fail("tensor " + shown(entries.back().view.name) + " lacks dtype, shape or data_offsets");
    return true;
  }
  bool key(string_t& value) override {
    if (depth_ == 1) return begin_tensor(value);
    if (in_metadata_) {
      metadata_key_ = std::move(value);
      return true;
    }
    field_ = value == "dtype" ? kDtype : value == "shape" ? kShape : value == "data_offsets" ? kOffsets : 0;
    if (field_ == 0) return fail("tensor " + shown(entries.back().view.name) + " has an unknown field " + shown(value));
    if ((fields_ & field_) != 0) return fail("tensor " + shown(entries.back().view.name) + " has the field " + shown(value) + " twice");
    fields_ |= field_;
    return true;
  }
  bool string(string_t& value) override {
    if (in_metadata_) return add_metadata(value);
    if (depth_ != 2 || field_ != kDtype || in_array_) return unexpected("the string " + shown(value));
    const std::optional<DType> dtype = dtype_from_safetensors(value);
    if (!dtype) return fail("tensor " + shown(entries.back().view.name) + " has type " + shown(value) + ", which is not supported");
    entries.back().view.dtype = *dtype;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || (field_ != kShape && field_ != kOffsets)) return unexpected("an array");
    in_array_ = true;
    offsets_seen_ = 0;
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    if (field_ == kOffsets && offsets_seen_ != 2) return fail("data_offsets of tensor " + shown(entries.back().view.name) + " are not two numbers");
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!in_array_) return unexpected("the number " + std::to_string(value));
    HeaderEntry& entry = entries.back();
    if (field_ == kShape) {
      if (entry.view.shape.size() == limits::kTensorRankMax) {
        return fail("tensor " + shown(entry.view.name) + " has more than " + std::to_string(limits::kTensorRankMax) + " dimensions");
      }
      entry.view.shape.push_back(value);
      return true;
    }
    if (offsets_seen_ == 2) return fail("data_offsets of tensor " + shown(entry.view.name) + " are not two numbers");
    (offsets_seen_++ == 0 ? entry.begin : entry.end) = value;
    return true;
  }

 protected:
  std::string where() const override {
    return entries.empty() ? "in the header" : "in the header, at or after tensor " + shown(entries.back().view.name);
  }

 private:
  static constexpr uint32_t kDtype = 1;
  static constexpr uint32_t kShape = 2;
  static constexpr uint32_t kOffsets = 4;
  static constexpr uint32_t kAllFields = 7;

  bool begin_tensor(string_t& name) {
    if (name == kMetadataKey) {
      if (std::exchange(metadata_seen_, true)) return fail("\"__metadata__\" occurs twice");
      in_metadata_ = true;
      return true;
    }
    const Status status = check_tensor_name(name);
    if (!status.ok()) return fail(status.error().message);
    if (entries.size() == limits::kTensorsMax) return fail("the file has more than " + std::to_string(limits::kTensorsMax) + " tensors");
    fields_ = 0;
    field_ = 0;
    entries.emplace_back();
    entries.back().view.name = std::move(name);
    return true;
  }
  bool add_metadata(string_t& value) {
    if (depth_ != 2) return unexpected("the string " + shown(value));
    metadata_bytes_ += metadata_key_.size() + value.size() + sizeof(std::string) * 4;
    if (metadata_bytes_ > limits::kMetadataCopyBytesMax) {
      return fail("\"__metadata__\" holds more than " + std::to_string(limits::kMetadataCopyBytesMax) + " bytes");
    }
    if (!metadata.emplace(std::move(metadata_key_), std::move(value)).second) return fail("a key of \"__metadata__\" occurs twice");
    metadata_key_.clear();
    return true;
  }

  uint32_t depth_ = 0;
  uint32_t field_ = 0;
  uint32_t fields_ = 0;
  uint32_t offsets_seen_ = 0;
  uint64_t metadata_bytes_ = 0;
  bool in_array_ = false;
  bool in_metadata_ = false;
  bool metadata_seen_ = false;
  std::string metadata_key_;
};

Status check_size(const HeaderEntry& entry) {
  std::optional<uint64_t> bytes = info(entry.view.dtype).block_bytes;
  for (const uint64_t size : entry.view.shape) {
    if (bytes) bytes = checked_mul(*bytes, size);
  }
  const std::string tensor = "tensor " + shown(entry.view.name);
  if (!bytes) return Error{"the size of " + tensor + " does not fit into 64 bits"};
  if (entry.begin > entry.end) {
    return Error{tensor + " begins at " + std::to_string(entry.begin) + " and ends before it, at " + std::to_string(entry.end)};
  }
  if (entry.end - entry.begin != *bytes) {
    return Error{tensor + " needs " + std::to_string(*bytes) + " bytes by its shape, its data_offsets give " + std::to_string(entry.end - entry.begin)};
  }
  return {};
}

// No hole and no overlap: each tensor begins where the one before ended, the first at 0, the last ends with the file.
Status check_tiling(const std::vector<HeaderEntry>& sorted, uint64_t data_bytes) {
  uint64_t at = 0;
  for (const HeaderEntry& entry : sorted) {
    if (entry.begin != at) {
      return Error{"tensor " + shown(entry.view.name) + " begins at " + std::to_string(entry.begin) + " where " + std::to_string(at) +
                   " was due: tensors must follow each other without holes or overlaps"};
    }
    at = entry.end;
  }
  if (at != data_bytes) return Error{"the tensors end at byte " + std::to_string(at) + " of the data, which has " + std::to_string(data_bytes)};
  return {};
}

Status check_distinct(const std::vector<HeaderEntry>& entries) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const HeaderEntry& entry : entries) names.push_back(entry.view.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return Error{"tensor " + shown(*twice) + " occurs twice"};
  return {};
}

// {"metadata": {...}, "weight_map": {tensor: file}}; anything else at the top is passed over.
class IndexHandler final : public Handler {
 public:
  std::vector<ShardIndex::Entry> entries;
  std::unordered_map<std::string, uint32_t> files;
  bool map_seen = false;

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("a bool"); }
  bool number_integer(number_integer_t) override { return value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return value("a number"); }
  bool start_object(std::size_t) override {
    if (in_map()) return unexpected("an object");
    ++depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ == 0 || top_is_map_) return unexpected("an array");
    ++depth_;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1) top_is_map_ = false;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      top_is_map_ = text == "weight_map";
      if (top_is_map_ && std::exchange(map_seen, true)) return fail("\"weight_map\" occurs twice");
    }
    if (in_map()) tensor_ = std::move(text);
    return true;
  }
  bool string(string_t& text) override {
    if (!in_map()) return value("a string");
    Status status = check_tensor_name(tensor_);
    if (status.ok()) status = check_file_name(text);
    if (!status.ok()) return fail(status.error().message);
    if (entries.size() == limits::kTensorsMax) return fail("the index names more than " + std::to_string(limits::kTensorsMax) + " tensors");
    const auto [at, added] = files.try_emplace(std::move(text), static_cast<uint32_t>(files.size()));
    if (added && files.size() > limits::kShardsMax) return fail("the index names more than " + std::to_string(limits::kShardsMax) + " files");
    entries.push_back({std::move(tensor_), at->second});
    tensor_.clear();
    return true;
  }

 protected:
  std::string where() const override { return depth_ == 0 ? "at the top of the index" : "in \"weight_map\""; }

 private:
  bool in_map() const { return depth_ == 2 && top_is_map_; }
  bool value(const char* what) {
    const bool at_map = depth_ == 1 && top_is_map_;
    if (depth_ == 0 || at_map || in_map()) return unexpected(what);
    return true;
  }

  uint32_t depth_ = 0;
  bool top_is_map_ = false;
  std::string tensor_;
};

}  // namespace

std::string_view safetensors_type(DType dtype) {
  for (const NamedType& type : kNamedTypes) {
    if (type.dtype == dtype) return type.name;
  }
  return {};
}

Result<Safetensors> parse_safetensors(std::span<const std::byte> file) {
  ByteReader reader(file);
  SLUICE_TRY(const uint64_t header_bytes, reader.number<uint64_t>("header length"));
  if (header_bytes > limits::kSafetensorsHeaderBytesMax) {
    return Error{"the header is " + std::to_string(header_bytes) + " bytes long, the limit is " + std::to_string(limits::kSafetensorsHeaderBytesMax)};
  }
  SLUICE_TRY(const auto raw, reader.take(header_bytes, "header"));
  std::string_view text(reinterpret_cast<const char*>(raw.data()), raw.size());
  text = text.substr(0, text.find_last_not_of(' ') + 1);  // writers pad it
  if (!text.starts_with('{')) return Error{"the header does not begin with \"{\""};
  HeaderHandler handler;
  SLUICE_TRY_VOID(sax_json(text, {limits::kJsonDepthMax, kHeaderStringBytesMax, false}, handler, handler.error()));

  std::vector<HeaderEntry>& entries = handler.entries;
  for (const HeaderEntry& entry : entries) SLUICE_TRY_VOID(check_size(entry));
  SLUICE_TRY_VOID(check_distinct(entries));
  std::sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  SLUICE_TRY_VOID(check_tiling(entries, reader.remaining()));
  Safetensors result;
  result.data_offset = reader.position();
  result.metadata = std::move(handler.metadata);
  result.tensors.reserve(entries.size());
  const std::span<const std::byte> data = file.subspan(reader.position());
  for (HeaderEntry& entry : entries) {
    entry.view.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    result.tensors.push_back(std::move(entry.view));
  }
  return result;
}

Result<ShardIndex> parse_shard_index(std::string_view text) {
  IndexHandler handler;
  SLUICE_TRY_VOID(sax_json(text, {limits::kJsonDepthMax, kHeaderStringBytesMax, false}, handler, handler.error()));
  if (!handler.map_seen || handler.entries.empty()) return Error{"the index has no \"weight_map\""};
  ShardIndex index;
  index.files.resize(handler.files.size());
  for (const auto& [file, id] : handler.files) index.files[id] = file;
  std::vector<uint32_t> rank(index.files.size());
  std::vector<uint32_t> order(index.files.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return index.files[a] < index.files[b]; });
  for (uint32_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
  std::sort(index.files.begin(), index.files.end());
  index.entries = std::move(handler.entries);
  for (ShardIndex::Entry& entry : index.entries) entry.file = rank[entry.file];
  std::sort(index.entries.begin(), index.entries.end(), [](const auto& a, const auto& b) { return a.tensor < b.tensor; });
  for (size_t i = 1; i < index.entries.size(); ++i) {
    if (index.entries[i].tensor == index.entries[i - 1].tensor) return Error{"tensor " + shown(index.entries[i].tensor) + " occurs twice"};
  }
  return index;
}

}  // namespace sluice::weights
