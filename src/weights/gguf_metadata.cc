#include "weights/gguf_metadata.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/limits.h"
#include "weights/names.h"

namespace sluice::weights {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kJsonNodeBytes = 96;  // a map node with its key and a Json, roughly; what the copy budget counts per value

bool is_tokenizer_array(const GgufEntry& entry) { return entry.value.is_array() && entry.key.starts_with("tokenizer."); }

Json scalar_json(const GgufValue& value, uint64_t index) {
  if (const auto number = value.as_i64(index)) return Json(*number);
  if (const auto number = value.as_u64(index)) return Json(*number);  // above 2^63
  if (const auto flag = value.as_bool(index)) return Json(*flag);
  return Json(value.as_f64(index).value_or(0));
}

Json array_json(const GgufValue& value) {
  Json array = Json::array();
  if (value.element == GgufType::kString) {
    for (GgufStrings strings(value); strings.left() > 0;) array.push_back(to_utf8(strings.next()));
    return array;
  }
  for (uint64_t i = 0; i < value.count; ++i) array.push_back(scalar_json(value, i));
  return array;
}

// Takes a key of the right type; an absent key is an empty view.
Result<std::string_view> text_of(const Gguf& gguf, std::string_view key) {
  const GgufValue* value = gguf.find(key);
  if (value == nullptr) return std::string_view();
  const auto text = value->as_string();
  if (!text) return Error{std::string(key) + " must be a string, it is " + std::string(name(value->type))};
  return *text;
}

Result<const GgufValue*> array_of(const Gguf& gguf, std::string_view key, std::initializer_list<GgufType> elements) {
  const GgufValue* value = gguf.find(key);
  if (value == nullptr) return value;
  if (value->is_array() && std::find(elements.begin(), elements.end(), value->element) != elements.end()) return value;
  const std::string got = value->is_array() ? "array of " + std::string(name(value->element)) : std::string(name(value->type));
  return Error{std::string(key) + " must be an array of " + std::string(name(*elements.begin())) + ", it is " + got};
}

Result<std::vector<std::string_view>> strings_of(const Gguf& gguf, std::string_view key) {
  SLUICE_TRY(const GgufValue* const array, array_of(gguf, key, {GgufType::kString}));
  std::vector<std::string_view> strings;
  if (array == nullptr) return strings;
  if (array->count > limits::kVocabularyMax) {
    return Error{std::string(key) + " has " + std::to_string(array->count) + " strings, the limit is " + std::to_string(limits::kVocabularyMax)};
  }
  strings.reserve(array->count);
  for (GgufStrings walk(*array); walk.left() > 0;) strings.push_back(walk.next());
  return strings;
}

Status check_length(std::string_view key, const GgufValue* array, size_t tokens) {
  if (array == nullptr || array->count == tokens) return {};
  return Error{std::string(key) + " has " + std::to_string(array->count) + " elements for " + std::to_string(tokens) + " tokens"};
}

Result<std::optional<uint64_t>> whole_number(const Gguf& gguf, std::string_view key) {
  const GgufValue* value = gguf.find(key);
  if (value == nullptr) return std::optional<uint64_t>();
  const auto number = value->is_array() ? std::nullopt : value->as_u64();
  if (!number) return Error{std::string(key) + " must be a whole number, it is " + std::string(name(value->type))};
  return number;
}

}  // namespace

Result<Json> metadata_json(const Gguf& gguf) {
  Json object = Json::object();
  uint64_t budget = limits::kMetadataCopyBytesMax;
  for (const GgufEntry& entry : gguf.metadata()) {
    const GgufValue& value = entry.value;
    if (is_tokenizer_array(entry)) continue;
    if (value.is_array() && value.count > limits::kMetadataArrayMax) continue;
    if (value.type == GgufType::kString && value.bytes.size() > limits::kMetadataTextBytesMax) continue;
    // Bad UTF-8 grows threefold when replaced.
    const uint64_t cost = kJsonNodeBytes + entry.key.size() + value.bytes.size() * 3 + (value.is_array() ? value.count * sizeof(std::string) * 2 : 0);
    if (cost > budget) {
      return Error{"the metadata holds more than " + std::to_string(limits::kMetadataCopyBytesMax) + " bytes outside the tokenizer"};
    }
    budget -= cost;
    Json& slot = object[std::string(entry.key)];
    if (value.is_array()) {
      slot = array_json(value);
    } else if (const auto text = value.as_string()) {
      slot = to_utf8(*text);
    } else {
      slot = scalar_json(value, 0);
    }
  }
  return object;
}

Result<GgufTokenizer> read_gguf_tokenizer(const Gguf& gguf) {
  GgufTokenizer tokenizer;
  SLUICE_TRY(tokenizer.model, text_of(gguf, "tokenizer.ggml.model"));
  SLUICE_TRY(tokenizer.pre, text_of(gguf, "tokenizer.ggml.pre"));
  SLUICE_TRY(tokenizer.chat_template, text_of(gguf, "tokenizer.chat_template"));
  SLUICE_TRY(tokenizer.tokens, strings_of(gguf, "tokenizer.ggml.tokens"));
  SLUICE_TRY(tokenizer.merges, strings_of(gguf, "tokenizer.ggml.merges"));
  if (tokenizer.tokens.empty()) return Error{"the file has no vocabulary (tokenizer.ggml.tokens)"};
  SLUICE_TRY(const GgufValue* const scores, array_of(gguf, "tokenizer.ggml.scores", {GgufType::kF32}));
  SLUICE_TRY_VOID(check_length("tokenizer.ggml.scores", scores, tokenizer.tokens.size()));
  SLUICE_TRY(const GgufValue* const types, array_of(gguf, "tokenizer.ggml.token_type", {GgufType::kI32, GgufType::kU32}));
  SLUICE_TRY_VOID(check_length("tokenizer.ggml.token_type", types, tokenizer.tokens.size()));
  for (uint64_t i = 0; scores != nullptr && i < scores->count; ++i) tokenizer.scores.push_back(static_cast<float>(*scores->as_f64(i)));
  for (uint64_t i = 0; types != nullptr && i < types->count; ++i) {
    const int64_t type = *types->as_i64(i);
    if (type < 0 || type > 255) return Error{"token " + std::to_string(i) + " has type " + std::to_string(type)};
    tokenizer.types.push_back(static_cast<int32_t>(type));
  }
  SLUICE_TRY(const GgufValue* const charsmap, array_of(gguf, "tokenizer.ggml.precompiled_charsmap", {GgufType::kU8, GgufType::kI8}));
  if (charsmap != nullptr) tokenizer.precompiled_charsmap = charsmap->bytes;
  return tokenizer;
}

void append_views(const Gguf& gguf, std::vector<TensorView>& views) {
  views.reserve(views.size() + gguf.tensors().size());
  for (const GgufTensor& tensor : gguf.tensors()) {
    TensorView& view = views.emplace_back();
    view.name = tensor.name;
    view.dtype = tensor.dtype;
    view.shape.assign(tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims);
    std::reverse(view.shape.begin(), view.shape.end());
    view.bytes = tensor.bytes;
  }
}

Result<SplitPosition> split_position(const Gguf& gguf) {
  SplitPosition position;
  SLUICE_TRY(const auto count, whole_number(gguf, "split.count"));
  SLUICE_TRY(const auto number, whole_number(gguf, "split.no"));
  position.count = count.value_or(1);
  position.number = number.value_or(0);
  if (position.count == 0 || position.count > limits::kShardsMax) {
    return Error{"split.count is " + std::to_string(position.count) + ", it must be 1 to " + std::to_string(limits::kShardsMax)};
  }
  if (position.number >= position.count) {
    return Error{"split.no is " + std::to_string(position.number) + " of " + std::to_string(position.count) + " parts"};
  }
  return position;
}

Result<std::filesystem::path> split_path(const std::filesystem::path& first, uint64_t part, uint64_t count) {
  const auto suffix = [&](uint64_t number) {
    char text[64];
    std::snprintf(text, sizeof(text), "-%05llu-of-%05llu.gguf", static_cast<unsigned long long>(number), static_cast<unsigned long long>(count));
    return std::string(text);
  };
  const std::string file = first.filename().string();
  const std::string ending = suffix(1);
  if (!file.ends_with(ending)) {
    return Error{"the file is part 1 of " + std::to_string(count) + ", so its name must end with " + ending + " for the others to be found"};
  }
  return first.parent_path() / (file.substr(0, file.size() - ending.size()) + suffix(part + 1));
}

}  // namespace sluice::weights
