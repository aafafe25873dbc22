// A model's fields, whether they come from a config.json or from GGUF metadata: every getter takes both names and picks by format. Values are checked
// here (type, range), so families can trust them. Unknown fields are none of our business: published configs carry many.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"

namespace sluice::models {

enum class Format : uint8_t { kHuggingFace, kGguf };

class Config {
 public:
  // `fields`: config.json (a nested text_config is used in its place), or GGUF metadata as one flat object. `has_tensor`: whether the checkpoint
  // holds a tensor; null when there is no checkpoint (plans from a config alone).
  Config(Format format, nlohmann::json fields, std::function<bool(std::string_view)> has_tensor);

  Format format() const { return format_; }
  bool is_gguf() const { return format_ == Format::kGguf; }
  // "jamba": model_type, or general.architecture.
  const std::string& architecture() const { return architecture_; }
  std::string model_name() const;
  bool has_checkpoint() const { return has_tensor_ != nullptr; }
  bool has(std::string_view tensor) const { return has_tensor_ && has_tensor_(tensor); }
  std::string_view pick(std::string_view hf, std::string_view gguf) const { return is_gguf() ? gguf : hf; }

  // An integer from 1 to `limit`. GGUF names come without the architecture prefix; an empty name: not there in that format. GGUF may spell any field
  // as one value a layer; where the model has only one, they must be equal.
  Result<uint64_t> size(std::string_view hf, std::string_view gguf, uint64_t limit = limits::kDimensionMax) const;
  // The same, or `fallback` (which may be 0: then the field is required) when the field is missing.
  Result<uint64_t> positive_or(std::string_view hf, std::string_view gguf, uint64_t fallback, uint64_t limit = limits::kDimensionMax) const;
  // From 0 up.
  Result<uint64_t> size_or(std::string_view hf, std::string_view gguf, uint64_t fallback) const;
  Result<double> number_or(std::string_view hf, std::string_view gguf, double fallback) const;
  Result<bool> flag_or(std::string_view hf, std::string_view gguf, bool fallback) const;
  std::string text_or(std::string_view hf, std::string_view gguf, std::string_view fallback) const;
  // One value a layer: an array of exactly `layers` entries, or a scalar for all. Values 0 to limits::kDimensionMax.
  Result<std::vector<uint64_t>> per_layer(std::string_view hf, std::string_view gguf, uint64_t layers) const;

  // An error unless the field is missing or one of `allowed`.
  Status expect_text(std::string_view hf, std::string_view gguf, std::span<const std::string_view> allowed) const;

  // What the getters read, under its GGUF name without prefix, fallbacks included: how `synth` learns which keys a file needs. Null: not recorded.
  void record_to(nlohmann::json* record) { record_ = record; }

  // The raw field, or null; for nested objects (rope_scaling). GGUF names without prefix.
  const nlohmann::json* find(std::string_view hf, std::string_view gguf) const;

 private:
  Error wrong(std::string_view key, std::string_view expected) const;

  Format format_;
  nlohmann::json fields_;
  std::function<bool(std::string_view)> has_tensor_;
  std::string architecture_;
  nlohmann::json* record_ = nullptr;

  template <class T>
  T seen(std::string_view gguf, T value) const {
    if (record_ != nullptr && !gguf.empty()) (*record_)[std::string(gguf)] = value;
    return value;
  }
};

// Tensor names of one layer: name("mamba.in_proj.weight", "ssm_in.weight").
struct LayerNames {
  const Config& config;
  std::string hf_prefix;  // "model.layers.3."
  uint64_t layer;
  std::string operator()(std::string_view hf, std::string_view gguf) const;
  bool has(std::string_view hf, std::string_view gguf) const { return config.has((*this)(hf, gguf)); }
};

}  // namespace sluice::models
