// Checkpoints as users have them: every golden folder and its GGUF twin.
#include "weights/checkpoint.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sluice::weights {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> golden_folders() {
  std::vector<fs::path> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fs::path(SLUICE_SHARED_DIR) / "golden", error)) {
    if (fs::exists(entry.path() / "model.safetensors")) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

uint64_t bytes_by_shape(const TensorView& view) {
  uint64_t elements = 1;
  for (const uint64_t size : view.shape) elements *= size;
  return row_bytes(view.dtype, elements);
}

void check_tensors(const Checkpoint& checkpoint) {
  EXPECT_FALSE(checkpoint.tensors().empty());
  for (const TensorView& view : checkpoint.tensors()) {
    EXPECT_EQ(view.bytes.size(), bytes_by_shape(view)) << view.name;
    EXPECT_EQ(checkpoint.find(view.name), &view);
  }
  EXPECT_EQ(checkpoint.find("no such tensor"), nullptr);
}

TEST(Golden, EveryFolderOpens) {
  const auto folders = golden_folders();
  if (folders.empty()) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  for (const fs::path& folder : folders) {
    const auto checkpoint = Checkpoint::open(folder);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->format(), Format::kHuggingFace);
    EXPECT_TRUE(checkpoint->config().contains("model_type"));
    check_tensors(*checkpoint);
    const auto config = Checkpoint::open(folder / "config.json");
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_FALSE(config->has_tensors());
    EXPECT_EQ(config->config(), checkpoint->config());
  }
}

TEST(Golden, EveryGgufOpens) {
  const auto folders = golden_folders();
  if (folders.empty()) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  for (const fs::path& folder : folders) {
    if (!fs::exists(folder / "model.gguf")) continue;
    const auto checkpoint = Checkpoint::open(folder / "model.gguf");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_EQ(checkpoint->format(), Format::kGguf);
    EXPECT_TRUE(checkpoint->config().at("general.architecture").is_string());
    EXPECT_FALSE(checkpoint->config().contains("tokenizer.ggml.tokens"));
    check_tensors(*checkpoint);
    const auto tokenizer = checkpoint->gguf_tokenizer();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ(tokenizer->tokens.size(), checkpoint->find("token_embd.weight")->shape.at(0));
  }
}

TEST(Golden, TheTwinsHoldTheSameBytes) {
  const fs::path folder = fs::path(SLUICE_SHARED_DIR) / "golden" / "mamba";
  if (!fs::exists(folder)) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  const auto hf = Checkpoint::open(folder);
  const auto gguf = Checkpoint::open(folder / "model.gguf");
  ASSERT_TRUE(hf.ok() && gguf.ok());
  const TensorView* a = hf->find("backbone.embeddings.weight");
  const TensorView* b = gguf->find("token_embd.weight");
  ASSERT_TRUE(a != nullptr && b != nullptr);
  EXPECT_EQ(a->shape, b->shape);
  EXPECT_TRUE(std::equal(a->bytes.begin(), a->bytes.end(), b->bytes.begin(), b->bytes.end()));
}

TEST(Golden, BareInfinityOfAConfigIsAFloat) {
  const fs::path path = fs::path(SLUICE_SHARED_DIR) / "golden" / "mamba2" / "config.json";
  if (!fs::exists(path)) GTEST_SKIP() << "no golden models in " << SLUICE_SHARED_DIR;
  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const auto& limit = checkpoint->config().at("time_step_limit");
  EXPECT_EQ(limit.at(1).get<double>(), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace sluice::weights
