#include "runtime/barriers.h"

#include <gtest/gtest.h>

#include "program/builder.h"

namespace sluice::runtime {
namespace {

using namespace program;

// Offsets by hand: value i at 4096 * i, rows of 256 bytes.
PlanSizes place(Program& program) {
  for (size_t i = 0; i < program.values.size(); ++i) {
    program.values[i].offset = 4096 * i;
    program.values[i].bytes = 256;
  }
  return {.rows_max = 8, .logit_rows_max = 1, .arena_bytes = 4096 * program.values.size(), .state_bytes = 0, .weight_bytes = 0, .page_bytes = 0};
}

Program gated() {
  Builder b({.family = "t", .layers = 1, .vocabulary = 64, .hidden = 64});
  const ValueId table = b.matrix("table", 64, 64);
  const ValueId x = b.embed(table, 1.0);
  const ValueId h = b.rmsnorm(x, kNoValue, 1e-5);
  const ValueId gate = b.matmul(h, b.matrix("gate", 64, 64));
  const ValueId up = b.matmul(h, b.matrix("up", 64, 64));
  const ValueId mixed = b.glu(gate, up, 0);
  const ValueId y = b.scale(mixed, 0.5);
  return b.finish(b.matmul(b.select_rows(y), table));
}

TEST(Barriers, OnlyWhereAnotherThreadsBytesAreTouched) {
  Program program = gated();
  const PlanSizes sizes = place(program);
  // embed, rmsnorm | gate, up | glu, scale | select_rows | head
  EXPECT_EQ(barriers_before(program, sizes), (std::vector<bool>{false, false, true, false, true, false, true, true}));
}

TEST(Barriers, AReusedBufferIsTouchedToo) {
  Program program = gated();
  const PlanSizes sizes = place(program);
  for (Value& value : program.values) {
    if (value.kind == ValueKind::kActivation && value.name == "v6") value.offset = program.value(1).offset;  // up where x was
  }
  // rmsnorm has read x by rows; up writes there by strips, but a barrier stands between already.
  EXPECT_TRUE(barriers_before(program, sizes)[2]);
  for (Value& value : program.values) {
    if (value.name == "v8") value.offset = program.value(2).offset + 128;  // scale's output across what the matmuls read
  }
  EXPECT_TRUE(barriers_before(program, sizes)[4]);
}

}  // namespace
}  // namespace sluice::runtime
