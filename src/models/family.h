// What a family is: the names under which published files announce it, and the function that builds its program. The list is registry.cc.
#pragma once

#include <span>
#include <string_view>

#include "base/result.h"
#include "models/config.h"
#include "program/builder.h"

namespace sluice::models {

struct Family {
  std::string_view name;
  std::span<const std::string_view> model_types;    // config.json "model_type"
  std::span<const std::string_view> architectures;  // GGUF "general.architecture"
  Result<program::Program> (*build)(const Config& config);
};

std::span<const Family* const> families();

// The program of a model as its family writes it: in order, unfused, f32 activations, no offsets. Verified, with parameter counts filled in.
Result<program::Program> build(const Config& config);

}  // namespace sluice::models
