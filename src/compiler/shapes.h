// A program from a configuration alone: built, without observers, fused; its weights have shapes but no types or places. For whoever asks what a model
// would cost elsewhere (lpu/).
#pragma once

#include "base/result.h"
#include "models/config.h"
#include "program/program.h"

namespace sluice::compiler {

Result<program::Program> program_of_shapes(const models::Config& config);

}  // namespace sluice::compiler
