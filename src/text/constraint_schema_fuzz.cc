// Any bytes as a constraint of kind kJsonSchema (constraint_fuzz.h).
#include "text/constraint_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return sluice::text::fuzz_constraint(sluice::text::ConstraintKind::kJsonSchema, data, size);
}
