// The time model is arithmetic over a program: fits are lines, a step's time is the sum of its ops', and what was not measured is an error.
#include "lpu/cpu_time.h"

#include <gtest/gtest.h>

#include "program/builder.h"

namespace sluice::lpu {
namespace {

program::Program two_layers() {
  program::Builder b({.family = "test", .layers = 2, .vocabulary = 32, .hidden = 64});
  program::ValueId x = b.embed(b.matrix("embed", 32, 64), 1);
  for (const char* name : {"a", "b"}) x = b.matmul(b.rmsnorm(x, program::kNoValue, 1e-6), b.matrix(name, 64, 64));
  return b.finish(b.matmul(b.select_rows(x), b.matrix("head", 32, 64)));
}

TEST(FitRate, FindsTheLineAndNeverGoesNegative) {
  const CpuRate line = fit_rate({{10, 3}, {20, 5}, {40, 9}});
  EXPECT_NEAR(line.base_s, 1, 1e-9);
  EXPECT_NEAR(line.unit_s, 0.2, 1e-9);
  EXPECT_NEAR(fit_rate({{10, 3}}).unit_s, 0.3, 1e-12);
  const CpuRate no_base = fit_rate({{10, 1}, {20, 3}});
  EXPECT_EQ(no_base.base_s, 0);
  EXPECT_GT(no_base.unit_s, 0.1);
  EXPECT_EQ(fit_rate({{10, 3}, {20, 1}}).unit_s, 0);
  EXPECT_EQ(fit_rate({}).unit_s, 0);
}

TEST(PredictSeconds, IsTheSumOverOps) {
  const program::Program program = two_layers();
  CpuRates rates;
  rates.walk_s = 1e-6;
  for (const program::Op& op : program.ops) rates.of_kind[op_kind(program, op)] = {0, 0};
  EXPECT_NEAR(*predict_seconds(program, {}, rates), 1e-6 * static_cast<double>(program.ops.size()), 1e-15);
  rates.of_kind["matmul f32"] = {0, 1};
  rates.walk_s = 0;
  EXPECT_EQ(*predict_seconds(program, {.rows = 1}, rates), 2 * 64 * 64 + 32 * 64);
  EXPECT_EQ(*predict_seconds(program, {.rows = 10}, rates), 10 * 2 * 64 * 64 + 32 * 64);  // one row of logits
  rates.of_kind.erase("rmsnorm");
  const Result<double> missing = predict_seconds(program, {}, rates);
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("rmsnorm"), std::string::npos);
}

}  // namespace
}  // namespace sluice::lpu
