// Promise 4: no allocation and no lock per token in the engine's threads. malloc and pthread_mutex_lock are counted
// (interposed in this test program) while tokens are read and sampled.
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/golden_support.h"
#include "engine/sampler.h"
#include "platform/allocation_testing.h"
#include "platform/cpu.h"

namespace sluice::cli {
namespace {

TEST(SteadyState, ATokenAllocatesNothingAndLocksNothing) {
  if (!SLUICE_COUNTS) GTEST_SKIP() << "sanitizers bring their own malloc";
  const std::filesystem::path path = std::filesystem::path(SLUICE_SOURCE_DIR) / "models/sluice-jamba.gguf";
  Result<TestModel> model = TestModel::open(path, {.threads = 2, .isa = platform::best_isa(), .kv_type = kernels::KvType::kF16});
  ASSERT_TRUE(model.ok()) << model.error().message;
  auto session = model->session(512);
  engine::Sampler sampler({.temperature = 0.8f, .seed = 3}, model->runtime().program().facts.vocabulary);
  const std::vector<int32_t> prompt(70, 17);
  const engine::Session::FeedOptions feed;
  ASSERT_TRUE(session->feed(prompt, feed).ok());
  counting = true;
  ASSERT_TRUE(session->feed(prompt, feed).ok());  // a prompt over a page border
  for (int i = 0; i < 100; ++i) {
    const int32_t next[] = {sampler.sample(session->logits(), session->tokens().size())};
    if (!session->feed(next, feed).ok()) break;
  }
  counting = false;
  EXPECT_EQ(session->tokens().size(), 240u);
  EXPECT_EQ(allocations.load(), 0u);
  EXPECT_EQ(locks.load(), 0u);
}

}  // namespace
}  // namespace sluice::cli
