#include "compiler/shapes.h"

#include "compiler/passes.h"
#include "models/family.h"

namespace sluice::compiler {

Result<program::Program> program_of_shapes(const models::Config& config) {
  SLUICE_TRY(program::Program program, models::build(config));
  strip_observers(program);
  fuse(program);
  return program;
}

}  // namespace sluice::compiler
