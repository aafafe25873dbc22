// Where the threads must wait for each other. An op needs a barrier before it only if it touches bytes that an op since the last barrier touched, one of
// them writing, unless both cut those bytes by rows in the same way: then each thread meets only its own rows. Found once, at load.
#pragma once

#include <vector>

#include "program/program.h"
#include "program/verify.h"

namespace sluice::runtime {

// For each op, whether the threads meet before it. `program` is planned.
std::vector<bool> barriers_before(const program::Program& program, const program::PlanSizes& sizes);

}  // namespace sluice::runtime
