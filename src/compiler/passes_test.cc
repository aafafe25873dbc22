// Passes as text: a small program in, the lines that changed out; and the planner as a table of numbers.
#include <gtest/gtest.h>

#include "compiler/passes.h"
#include "program/builder.h"
#include "program/text.h"

namespace sluice::compiler {
namespace {

using program::Builder;
using program::kNoValue;
using program::Program;
using program::ValueId;

// Two residual layers: x + down(up(norm(x))), twice, over quantised weights.
Program residual(DType type) {
  Builder b({.family = "t", .layers = 2, .vocabulary = 64, .hidden = 32});
  const ValueId table = b.matrix("table", 64, 32);
  ValueId x = b.embed(table, 1.0);
  for (const char* layer : {"a", "b"}) {
    b.label(layer);
    const ValueId h = b.rmsnorm(x, kNoValue, 1e-5);
    const ValueId gate = b.matmul(h, b.matrix(std::string(layer) + ".gate", 64, 32));
    const ValueId up = b.matmul(h, b.matrix(std::string(layer) + ".up", 64, 32));
    const ValueId mixed = b.glu(gate, up, 0);
    const ValueId down = b.matrix(std::string(layer) + ".down", 32, 64);
    x = b.add(x, b.matmul(mixed, down));
  }
  Program program = b.finish(b.matmul(b.select_rows(x), table));
  for (program::Value& value : program.values) value.dtype = type;
  return program;
}

// The ops of a program, one short line each: "matmul x=v1 weight=w2 out=v3".
std::string ops_of(const Program& program) {
  const std::string text = program::print(program);
  std::string out;
  for (size_t at = text.find("\nop "); at != std::string::npos; at = text.find("\nop ", at + 1)) {
    const std::string line = text.substr(at + 4, text.find('\n', at + 1) - at - 4);
    out += line.substr(0, std::min(line.find(" @"), line.find(" label="))) + "\n";
  }
  return out;
}

TEST(Fuse, ResidualAddsGoIntoTheMatmulBeforeThem) {
  Program program = residual(DType::kF32);
  fuse(program);
  ASSERT_TRUE(program::verify(program).ok());
  EXPECT_EQ(ops_of(program),
            "embed table=w0 out=v1\n"
            "rmsnorm x=v1 out=v2\n"
            "matmul x=v2 weight=w3 out=v4\n"
            "matmul x=v2 weight=w5 out=v6\n"
            "glu gate=v4 up=v6 out=v7\n"
            "matmul x=v7 weight=w8 addend=v1 out=v10\n"
            "rmsnorm x=v10 out=v11\n"
            "matmul x=v11 weight=w12 out=v13\n"
            "matmul x=v11 weight=w14 out=v15\n"
            "glu gate=v13 up=v15 out=v16\n"
            "matmul x=v16 weight=w17 addend=v10 out=v19\n"
            "select_rows x=v19 out=v20\n"
            "matmul x=v20 weight=w0 out=v21\n");
}

TEST(Fuse, LeavesAnAddWhoseOtherSideIsReadLater) {
  Builder b({.family = "t", .layers = 1, .vocabulary = 64, .hidden = 32});
  const ValueId table = b.matrix("table", 64, 32);
  const ValueId x = b.embed(table, 1.0);
  const ValueId y = b.add(x, b.matmul(x, b.matrix("w", 32, 32)));
  Program program = b.finish(b.matmul(b.select_rows(b.add(x, y)), table));  // x is read again
  fuse(program);
  EXPECT_TRUE(program::verify(program).ok());
  EXPECT_NE(ops_of(program).find("add a=v1"), std::string::npos);
}

TEST(Select, QuantisesAValueOnceForAllItsReaders) {
  Program program = residual(DType::kQ8_0);
  fuse(program);
  select(program);
  ASSERT_TRUE(program::verify(program).ok());
  const std::string ops = ops_of(program);
  EXPECT_NE(ops.find("quantize x=v2 out=v2_q8\nmatmul x=v2_q8 weight=w3 out=v4\nmatmul x=v2_q8 weight=w5 out=v6\n"), std::string::npos) << ops;
  size_t count = 0;
  for (size_t at = ops.find("quantize"); at != std::string::npos; at = ops.find("quantize", at + 1)) ++count;
  EXPECT_EQ(count, 5u);  // two a layer, one for the head
}

TEST(Plan, LivingValuesNeverShareBytesAndDeadOnesDo) {
  Program program = residual(DType::kQ8_0);
  fuse(program);
  select(program);
  place_weights(program);
  const program::PlanSizes sizes = plan(program, {.rows_max = 16, .logit_rows_max = 2});
  const Status status = program::verify_plan(program, sizes);
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  // x (32 floats) lives throughout; beside it at most gate, up and the quantised norm, or the quantised product: 16 rows of each.
  uint64_t sum = 0;
  for (const program::Value& value : program.values) {
    if (value.kind == program::ValueKind::kActivation) sum += value.bytes * program::row_count(value, 16, 2);
  }
  EXPECT_LT(sizes.arena_bytes, sum / 2);
}

TEST(Plan, TheVerifierFindsAnOverlapMadeOnPurpose) {
  Program program = residual(DType::kF32);
  fuse(program);
  select(program);
  place_weights(program);
  const program::PlanSizes sizes = plan(program, {.rows_max = 4, .logit_rows_max = 1});
  for (program::Value& value : program.values) {
    if (value.name == "v6") value.offset = program.value(4).offset;  // up on gate
  }
  EXPECT_NE(program::verify_plan(program, sizes).error().message.find("in the same bytes"), std::string::npos);
}

}  // namespace
}  // namespace sluice::compiler
