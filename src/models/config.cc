#include "models/config.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

namespace sluice::models {

using nlohmann::json;

Config::Config(Format format, json fields, std::function<bool(std::string_view)> has_tensor)
    : format_(format), fields_(std::move(fields)), has_tensor_(std::move(has_tensor)) {
  if (!fields_.is_object()) fields_ = json::object();
  if (format_ == Format::kHuggingFace && fields_.contains("text_config") && fields_["text_config"].is_object()) {
    json inner = fields_["text_config"];
    for (const char* shared : {"model_type", "tie_word_embeddings"}) {
      if (!inner.contains(shared) && fields_.contains(shared)) inner[shared] = fields_[shared];
    }
    fields_ = std::move(inner);
  }
  const char* key = is_gguf() ? "general.architecture" : "model_type";
  if (fields_.contains(key) && fields_[key].is_string()) architecture_ = fields_[key].get<std::string>();
}

std::string Config::model_name() const {
  const char* key = is_gguf() ? "general.name" : "_name_or_path";
  const auto found = fields_.find(key);
  return found != fields_.end() && found->is_string() ? found->get<std::string>() : "";
}

const json* Config::find(std::string_view hf, std::string_view gguf) const {
  const std::string_view name = pick(hf, gguf);
  if (name.empty()) return nullptr;
  const auto found = fields_.find(is_gguf() ? architecture_ + "." + std::string(name) : std::string(name));
  return found == fields_.end() || found->is_null() ? nullptr : &*found;
}

Error Config::wrong(std::string_view key, std::string_view expected) const {
  const json* value = find(key, key);
  const std::string prefix = is_gguf() ? architecture_ + "." : "";
  if (value == nullptr) return Error{fmt::format("model configuration: {}{} is missing, expected {}", prefix, key, expected)};
  const std::string text = value->dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 64);
  return Error{fmt::format("model configuration: {}{} is {}, expected {}", prefix, key, text, expected)};
}

namespace {
// An integer in 0..limit from any JSON number that is one.
std::optional<uint64_t> integer_of(const json& value, uint64_t limit) {
  if (value.is_number_unsigned() && value.get<uint64_t>() <= limit) return value.get<uint64_t>();
  if (value.is_number_integer() && value.get<int64_t>() >= 0 && static_cast<uint64_t>(value.get<int64_t>()) <= limit) return value.get<uint64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (number >= 0 && number <= static_cast<double>(limit) && number == std::floor(number)) return static_cast<uint64_t>(number);
  }
  return std::nullopt;
}

// An array of equal entries counts as its entry.
std::optional<uint64_t> one_integer(const json& value, uint64_t limit) {
  if (!value.is_array() || value.empty()) return integer_of(value, limit);
  const std::optional<uint64_t> first = integer_of(value.front(), limit);
  for (const json& entry : value) {
    if (integer_of(entry, limit) != first) return std::nullopt;
  }
  return first;
}
}  // namespace

Result<uint64_t> Config::size(std::string_view hf, std::string_view gguf, uint64_t limit) const { return positive_or(hf, gguf, 0, limit); }

Result<uint64_t> Config::positive_or(std::string_view hf, std::string_view gguf, uint64_t fallback, uint64_t limit) const {
  const json* value = find(hf, gguf);
  if (value == nullptr && fallback != 0 && fallback <= limit) return seen(gguf, fallback);
  const std::optional<uint64_t> integer = value ? one_integer(*value, limit) : std::nullopt;
  if (!integer || *integer == 0) return wrong(pick(hf, gguf), fmt::format("an integer from 1 to {}", limit));
  return seen(gguf, *integer);
}

Result<uint64_t> Config::size_or(std::string_view hf, std::string_view gguf, uint64_t fallback) const {
  const json* value = find(hf, gguf);
  if (value == nullptr) return seen(gguf, fallback);
  const std::optional<uint64_t> integer = one_integer(*value, limits::kDimensionMax);
  if (!integer) return wrong(pick(hf, gguf), fmt::format("an integer from 0 to {}", limits::kDimensionMax));
  return seen(gguf, *integer);
}

Result<double> Config::number_or(std::string_view hf, std::string_view gguf, double fallback) const {
  const json* value = find(hf, gguf);
  if (value == nullptr) return seen(gguf, fallback);
  if (!value->is_number() || !std::isfinite(value->get<double>())) return wrong(pick(hf, gguf), "a finite number");
  return seen(gguf, value->get<double>());
}

Result<bool> Config::flag_or(std::string_view hf, std::string_view gguf, bool fallback) const {
  const json* value = find(hf, gguf);
  if (value == nullptr) return seen(gguf, fallback);
  if (!value->is_boolean()) return wrong(pick(hf, gguf), "true or false");
  return seen(gguf, value->get<bool>());
}

std::string Config::text_or(std::string_view hf, std::string_view gguf, std::string_view fallback) const {
  const json* value = find(hf, gguf);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string(fallback);
}

Status Config::expect_text(std::string_view hf, std::string_view gguf, std::span<const std::string_view> allowed) const {
  const json* value = find(hf, gguf);
  if (value == nullptr) return {};
  std::string expected;
  for (const std::string_view each : allowed) {
    if (*value == json(std::string(each))) return {};
    expected += fmt::format("{}\"{}\"", expected.empty() ? "" : " or ", each);
  }
  return wrong(pick(hf, gguf), expected);
}

Result<std::vector<uint64_t>> Config::per_layer(std::string_view hf, std::string_view gguf, uint64_t layers) const {
  const json* value = find(hf, gguf);
  const std::string expected = fmt::format("an integer from 0 to {}, or an array of {}", limits::kDimensionMax, layers);
  if (value == nullptr) return wrong(pick(hf, gguf), expected);
  std::vector<uint64_t> out;
  if (!value->is_array()) {
    const std::optional<uint64_t> integer = integer_of(*value, limits::kDimensionMax);
    if (!integer) return wrong(pick(hf, gguf), expected);
    out.assign(layers, *integer);
    seen(gguf, *integer);
    return out;
  }
  if (value->size() != layers) return wrong(pick(hf, gguf), expected);
  for (const json& entry : *value) {
    const std::optional<uint64_t> integer = integer_of(entry, limits::kDimensionMax);
    if (!integer) return wrong(pick(hf, gguf), expected);
    out.push_back(*integer);
  }
  return out;
}

std::string LayerNames::operator()(std::string_view hf, std::string_view gguf) const {
  return config.is_gguf() ? fmt::format("blk.{}.{}", layer, gguf) : hf_prefix + std::string(hf);
}

}  // namespace sluice::models
