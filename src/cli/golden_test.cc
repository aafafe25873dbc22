// Every golden model of the families we have: logits, layer outputs and greedy continuation, from the Hugging Face folder and from the GGUF twin, in one
// chunk and in chunks of 1, 7 and 64; and the logits again under the other spelling of config.json. Tolerance as the goldens' README states: 1e-4 of the
// largest magnitude, with F32 weights and F32 KV.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "cli/golden_models.h"
#include "cli/golden_support.h"
#include "engine/sampler.h"

namespace sluice::cli {
namespace {

float largest(std::span<const float> values) {
  float m = 0;
  for (const float v : values) m = std::max(m, std::abs(v));
  return m;
}

// The largest difference over the largest magnitude.
float distance(std::span<const float> got, std::span<const float> expected) {
  if (got.size() != expected.size()) return INFINITY;
  float d = 0;
  for (size_t i = 0; i < got.size(); ++i) d = std::isfinite(got[i]) ? std::max(d, std::abs(got[i] - expected[i])) : INFINITY;
  return d / largest(expected);
}

class GoldenModel : public testing::TestWithParam<Golden> {
 protected:
  void SetUp() override {
    const std::filesystem::path folder = std::filesystem::path(SLUICE_SHARED_DIR) / "golden" / GetParam().folder;
    if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no " << folder << ": the reference data is not beside the project";
    path_ = *GetParam().file ? folder / GetParam().file : folder;
    Result<Expected> expected = Expected::open(folder / "expected.safetensors");
    ASSERT_TRUE(expected.ok()) << expected.error().message;
    expected_ = std::move(*expected);
  }
  std::filesystem::path path_;
  Expected expected_;
};

TEST_P(GoldenModel, LogitsAreTheReferencesInEveryChunking) {
  Result<TestModel> model = TestModel::open(path_, {.observers = true});
  ASSERT_TRUE(model.ok()) << model.error().message;
  const std::vector<int32_t> tokens = expected_.integers("tokens"), greedy = expected_.integers("greedy");
  for (const uint64_t chunk : {0u, 1u, 7u, 64u}) {
    SCOPED_TRACE("chunk " + std::to_string(chunk));
    auto session = model->session(256);
    std::vector<float> logits = read_all(*session, tokens, chunk);
    EXPECT_LE(distance(logits, expected_.floats("logits")), 1e-4f);
    std::vector<float> after;
    for (const int32_t token : greedy) {
      EXPECT_EQ(engine::argmax(session->logits()), token);
      const int32_t next[] = {token};
      ASSERT_TRUE(session->feed(next, {}).ok());
      after.insert(after.end(), session->logits().begin(), session->logits().end());
    }
    EXPECT_LE(distance(after, expected_.floats("logits_after")), 1e-4f);
  }
}

TEST_P(GoldenModel, LayerOutputsAreTheReferences) {
  Result<TestModel> model = TestModel::open(path_, {.observers = true});
  ASSERT_TRUE(model.ok()) << model.error().message;
  auto session = model->session(256);
  const std::map<int64_t, std::vector<float>> seen = observe_all(*session, expected_.integers("tokens"));
  const int64_t layers = static_cast<int64_t>(model->runtime().program().facts.layers);
  for (int64_t i = 0; i <= layers + 1; ++i) {
    const std::string name = i > layers ? "hidden.final" : "hidden." + std::to_string(i);
    ASSERT_TRUE(seen.contains(i)) << name;
    EXPECT_LE(distance(seen.at(i), expected_.floats(name)), 1e-4f) << name;
  }
}

const auto name_of = [](const testing::TestParamInfo<Golden>& golden) {
  std::string name = golden.param.folder;
  name += *golden.param.file ? "_gguf" : "_hf";
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
};
INSTANTIATE_TEST_SUITE_P(Models, GoldenModel, testing::ValuesIn(kGoldens), name_of);

// The same weights beside the config.json that transformers 5 writes: the reference's logits, and the bits of the published spelling.
class GoldenSpelling : public GoldenModel {};

TEST_P(GoldenSpelling, Transformers5GivesTheSameLogits) {
  const std::filesystem::path respelt = std::filesystem::temp_directory_path() / ("sluice-spelling-" + std::to_string(getpid()));
  std::filesystem::create_directories(respelt);
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {  // safetensors, in one file or in shards with their index
    const std::string file = entry.path().filename();
    if (file.starts_with("model") && !file.ends_with(".gguf")) std::filesystem::copy(entry.path(), respelt / file);
  }
  std::filesystem::copy(path_ / "config.transformers5.json", respelt / "config.json");
  Result<TestModel> published = TestModel::open(path_, {}), model = TestModel::open(respelt, {});
  std::filesystem::remove_all(respelt);
  ASSERT_TRUE(published.ok()) << published.error().message;
  ASSERT_TRUE(model.ok()) << model.error().message;
  const std::vector<int32_t> tokens = expected_.integers("tokens");
  auto session = model->session(256), published_session = published->session(256);
  const std::vector<float> logits = read_all(*session, tokens, 0);
  EXPECT_LE(distance(logits, expected_.floats("logits")), 1e-4f);
  EXPECT_EQ(logits, read_all(*published_session, tokens, 0));
}

std::vector<Golden> golden_folders() {
  std::vector<Golden> folders;
  std::copy_if(std::begin(kGoldens), std::end(kGoldens), std::back_inserter(folders), [](const Golden& golden) { return *golden.file == 0; });
  return folders;
}
INSTANTIATE_TEST_SUITE_P(Models, GoldenSpelling, testing::ValuesIn(golden_folders()), name_of);

}  // namespace
}  // namespace sluice::cli
