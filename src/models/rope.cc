#include "models/rope.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace sluice::models {
namespace {

using nlohmann::json;

constexpr double kBaseMax = 1e18;  // published ones end at 1e11

double number_in(const json& object, const char* key, double fallback) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : fallback;
}

std::string text_in(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

Status check_base(double base, std::string_view field) {
  if (base >= 1 && base <= kBaseMax) return {};
  return Error{fmt::format("model configuration: {} is {}, must be 1 to {}", field, base, kBaseMax)};
}

// What the kernel's range reduction is made for: positions up to 2^24 times at most 1.
Status check_frequencies(const Rope& rope) {
  for (const double f : rope.frequencies) {
    if (!(f >= 0 && f <= 1)) return Error{fmt::format("model configuration: the rotary fields give a frequency of {}, must be 0 to 1", f)};
  }
  return {};
}

// Llama 3.1's scaling: long wavelengths are divided by the factor, short ones kept, the band between interpolated.
void scale_llama3(std::vector<double>& frequencies, const json& scaling) {
  const double factor = number_in(scaling, "factor", 8), low = number_in(scaling, "low_freq_factor", 1);
  const double high = number_in(scaling, "high_freq_factor", 4), original = number_in(scaling, "original_max_position_embeddings", 8192);
  for (double& f : frequencies) {
    const double wavelength = 2 * std::numbers::pi / f;
    if (wavelength > original / low) {
      f /= factor;
    } else if (wavelength >= original / high) {
      const double smooth = (original / wavelength - low) / (high - low);
      f = (1 - smooth) * f / factor + smooth * f;
    }
  }
}

Status scale_frequencies(Rope& rope, const json& scaling) {
  std::string type = text_in(scaling, "rope_type");
  if (type.empty()) type = text_in(scaling, "type");
  if (type.empty() || type == "default" || type == "none") return {};
  if (type == "linear") {
    const double factor = number_in(scaling, "factor", 1);
    if (!(factor > 0)) return Error{fmt::format("model configuration: rope scaling factor is {}, must be above 0", factor)};
    for (double& f : rope.frequencies) f /= factor;
    return {};
  }
  if (type == "llama3") {
    scale_llama3(rope.frequencies, scaling);
    return {};
  }
  return Error{fmt::format("model configuration: rope scaling '{}' is not supported; supported: default, linear, llama3", type)};
}

Result<Rope> rope_of_gguf(const Config& config, uint64_t pairs, double theta_default) {
  SLUICE_TRY(const double theta, config.number_or("", "rope.freq_base", theta_default));
  SLUICE_TRY_VOID(check_base(theta, "rope.freq_base"));
  Rope rope{.frequencies = rope_frequencies(theta, pairs), .magnitude = 1, .factors_tensor = {}};
  json scaling = json::object();
  scaling["type"] = config.text_or("", "rope.scaling.type", "none");
  SLUICE_TRY(scaling["factor"], config.number_or("", "rope.scaling.factor", 1));
  SLUICE_TRY_VOID(scale_frequencies(rope, scaling));
  SLUICE_TRY_VOID(check_frequencies(rope));
  if (config.has("rope_freqs.weight")) rope.factors_tensor = "rope_freqs.weight";
  return rope;
}

}  // namespace

std::vector<double> rope_frequencies(double base, uint64_t pairs) {
  std::vector<double> out(pairs);
  for (uint64_t i = 0; i < pairs; ++i) {
    const long double exponent = -static_cast<long double>(i) / static_cast<long double>(pairs);
    out[i] = static_cast<double>(std::exp2(exponent * std::log2(static_cast<long double>(base))));
  }
  return out;
}

Result<Rope> rope_of(const Config& config, uint64_t pairs, double theta_default, std::string_view layer_type) {
  if (config.is_gguf()) return rope_of_gguf(config, pairs, theta_default);
  SLUICE_TRY(double theta, config.number_or("rope_theta", "", theta_default));
  const json* parameters = config.find("rope_parameters", "");
  if (parameters != nullptr && parameters->is_object() && !layer_type.empty() && parameters->contains(layer_type)) {
    parameters = &(*parameters)[std::string(layer_type)];
  }
  const json* scaling = config.find("rope_scaling", "");
  if (parameters != nullptr && parameters->is_object()) {
    theta = number_in(*parameters, "rope_theta", theta);
    scaling = parameters;
  }
  SLUICE_TRY_VOID(check_base(theta, "rope_theta"));
  Rope rope{.frequencies = rope_frequencies(theta, pairs), .magnitude = 1, .factors_tensor = {}};
  if (scaling != nullptr && scaling->is_object()) SLUICE_TRY_VOID(scale_frequencies(rope, *scaling));
  SLUICE_TRY_VOID(check_frequencies(rope));
  return rope;
}

Result<Rope> plain_rope(double base, uint64_t pairs, std::string_view field) {
  SLUICE_TRY_VOID(check_base(base, field));
  return Rope{.frequencies = rope_frequencies(base, pairs), .magnitude = 1, .factors_tensor = {}};
}

program::ValueId rope_table(program::Builder& b, const Rope& rope) {
  return b.rope_table(b.frequencies(rope.frequencies, rope.factors_tensor), rope.magnitude);
}

}  // namespace sluice::models
