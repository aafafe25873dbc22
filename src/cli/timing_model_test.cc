// The time model runs end to end on the embedded model: rates of every kind of op that it has, and predictions of the right size. How near they are is
// measured on a quiet machine (docs/lpu.md, row 9); here other processes may take a good part of either side.
#include "cli/timing_model.h"

#include <gtest/gtest.h>

namespace sluice::cli {
namespace {

Result<LoadedModel> embedded(uint32_t threads) {
  ModelOptions options;
  options.threads = threads;
  options.context = 256;
  options.no_cache = true;
  return load_model(options);
}

TEST(TimeModel, PredictsTheEmbeddedModelsTime) {
  Result<LoadedModel> model = embedded(1);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto times = predict_times(*model, 32, 2);
  ASSERT_TRUE(times.ok()) << times.error().message;
  ASSERT_EQ(times->size(), 2u);
  for (const PredictedTime& time : *times) {
    EXPECT_GT(time.measured_s, 0) << time.what;
    EXPECT_GT(time.predicted_s, time.measured_s / 5) << time.what;
    EXPECT_LT(time.predicted_s, time.measured_s * 5) << time.what;
    EXPECT_NEAR(time.error, time.predicted_s / time.measured_s - 1, 1e-6) << time.what;
  }
}

TEST(TimeModel, IsOfOneThread) {
  Result<LoadedModel> model = embedded(2);
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto times = predict_times(*model, 32, 1);
  ASSERT_FALSE(times.ok());
  EXPECT_NE(times.error().message.find("--threads 1"), std::string::npos);
}

}  // namespace
}  // namespace sluice::cli
