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
  // Where families share a GGUF architecture: whether this one is meant. Such a family stands before the one that takes the rest; null: it is.
  bool (*claims)(const Config& config) = nullptr;
};

std::span<const Family* const> families();

// The program of a model as its family writes it: in order, unfused, f32 activations, no offsets. Verified, with parameter counts filled in.
Result<program::Program> build(const Config& config);

// A tensor that the checkpoint has and the program does not use would make a wrong model, silently: an error that names it. Left out are tensors that
// are known to change nothing (a second copy of a tied head, computed rotary tables) or to serve other inputs than text (a vision tower).
Status check_all_used(const program::Program& program, std::span<const std::string_view> tensors);

}  // namespace sluice::models
