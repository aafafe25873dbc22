// Promise 2: a request's logits are the same bits whatever the thread count, the chunking, the companions in the step, a cold or a restored state, and the
// instruction set. The default test covers every value of every axis, and pairs of them, in 15 runs a model; SLUICE_SLOW_TESTS=1 runs the whole matrix.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <unistd.h>

#include "cli/golden_models.h"
#include "cli/golden_support.h"
#include "engine/state_file.h"
#include "platform/cpu.h"

namespace sluice::cli {
namespace {

struct Cell {
  uint32_t threads;
  uint64_t chunk;  // 0: whole
  uint32_t companions;
  bool restored;
  Isa isa;
};

std::string text_of(const Cell& c) {
  return "threads " + std::to_string(c.threads) + ", chunk " + std::to_string(c.chunk) + ", companions " + std::to_string(c.companions) +
         (c.restored ? ", restored, " : ", cold, ") + std::string(name(c.isa));
}

constexpr uint32_t kThreads[] = {1, 2, 3};
constexpr uint64_t kChunks[] = {0, 1, 7, 64, 512};
constexpr uint32_t kCompanions[] = {0, 1, 7};

std::vector<Cell> matrix() {
  std::vector<Cell> cells;
  if (std::getenv("SLUICE_SLOW_TESTS") != nullptr) {
    for (const uint32_t t : kThreads)
      for (const uint64_t c : kChunks)
        for (const uint32_t n : kCompanions)
          for (const bool r : {false, true})
            for (size_t i = 0; i < kIsaCount; ++i) cells.push_back({t, c, n, r, static_cast<Isa>(i)});
    return cells;
  }
  // A diagonal walk through the axes: every value, and most pairs of values, at least once.
  for (size_t i = 0; i < 15; ++i) cells.push_back({kThreads[i % 3], kChunks[i % 5], kCompanions[(i / 3) % 3], i % 2 == 1, static_cast<Isa>((i + i / 5) % 3)});
  return cells;
}

// Sequences on one runtime, stepped together: sequence 0 is the request, the others keep it company with tokens of their own.
class Party {
 public:
  Party(runtime::Runtime& runtime, uint32_t companions) : runtime_(runtime) {
    for (uint32_t i = 0; i <= companions; ++i) sessions_.push_back(engine::Session::create(runtime, 256).value());
  }
  engine::Session& request() { return *sessions_[0]; }

  // Reads `tokens` in steps of `chunk` rows; each companion adds one row to every step. Appends the request's logits.
  void read(std::span<const int32_t> tokens, uint64_t chunk, std::vector<float>& logits) {
    const uint64_t room = runtime_.sizes().rows_max - sessions_.size() + 1;
    chunk = chunk == 0 ? room : std::min(chunk, room);
    while (!tokens.empty()) {
      const size_t rows = std::min<size_t>(chunk, tokens.size());
      step(tokens.first(rows), logits);
      tokens = tokens.subspan(rows);
    }
  }

 private:
  void step(std::span<const int32_t> tokens, std::vector<float>& logits) {
    std::vector<runtime::StepRow> rows;
    // Half of the company goes before the request's rows, half after.
    for (size_t i = 1; i < sessions_.size(); i += 2) rows.push_back(companion_row(i));
    std::vector<int32_t> read = sessions_[0]->tokens();
    for (const int32_t token : tokens) {
      rows.push_back({token, static_cast<int32_t>(read.size()), &sessions_[0]->sequence(), true});
      read.push_back(token);
    }
    for (size_t i = 2; i < sessions_.size(); i += 2) rows.push_back(companion_row(i));
    ASSERT_TRUE(runtime_.step(rows).ok());
    for (size_t i = 0; i < tokens.size(); ++i) {
      const std::span<const float> row = runtime_.logits(i);
      logits.insert(logits.end(), row.begin(), row.end());
    }
    sessions_[0]->adopt(read);
    for (size_t i = 1; i < sessions_.size(); ++i) {
      std::vector<int32_t> theirs = sessions_[i]->tokens();
      theirs.push_back(0);
      sessions_[i]->adopt(theirs);
    }
  }
  runtime::StepRow companion_row(size_t i) {
    const size_t position = sessions_[i]->tokens().size();
    const int32_t token = static_cast<int32_t>((position * 31 + i * 7) % runtime_.program().facts.vocabulary);
    return {token, static_cast<int32_t>(position), &sessions_[i]->sequence(), false};
  }

  runtime::Runtime& runtime_;
  std::vector<std::unique_ptr<engine::Session>> sessions_;
};

std::vector<float> run(const std::filesystem::path& path, std::span<const int32_t> tokens, const Cell& cell) {
  Result<TestModel> model = TestModel::open(path, {.threads = cell.threads, .isa = cell.isa, .kv_type = kernels::KvType::kF16});
  EXPECT_TRUE(model.ok()) << model.error().message;
  if (!model.ok()) return {};
  std::vector<float> logits;
  const size_t half = tokens.size() / 2;
  const std::filesystem::path state = std::filesystem::temp_directory_path() / ("sluice-determinism-" + std::to_string(getpid()));
  if (cell.restored) {
    Party first(model->runtime(), cell.companions);
    first.read(tokens.first(half), cell.chunk, logits);
    EXPECT_TRUE(engine::save_state(first.request(), 1, state).ok());
  }
  Party party(model->runtime(), cell.companions);
  if (cell.restored) {
    const Status status = engine::restore_state(party.request(), 1, state);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    std::filesystem::remove(state);
  }
  party.read(cell.restored ? tokens.subspan(half) : tokens, cell.chunk, logits);
  return logits;
}

class Determinism : public testing::TestWithParam<std::string> {};

TEST_P(Determinism, OneAnswerWhateverTheRun) {
  const std::filesystem::path golden = std::filesystem::path(SLUICE_SHARED_DIR) / "golden";
  const std::filesystem::path path = GetParam()[0] == '@' ? std::filesystem::path(SLUICE_SOURCE_DIR) / GetParam().substr(1) : golden / GetParam();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path << ": the reference data is not beside the project";
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 80; ++i) tokens.push_back((i * 37 + i * i) % 90);
  std::vector<float> first;
  std::vector<Cell> cells = matrix();
  if (GetParam()[0] == '@' && std::getenv("SLUICE_SLOW_TESTS") == nullptr) cells.resize(6);  // 15 M parameters: a second a cell on the baseline
  for (const Cell& cell : cells) {
    if (!platform::supports(cell.isa)) continue;
    const std::vector<float> logits = run(path, tokens, cell);
    if (first.empty()) first = logits;
    ASSERT_EQ(logits.size(), first.size());
    ASSERT_EQ(std::memcmp(logits.data(), first.data(), first.size() * sizeof(float)), 0) << text_of(cell);
  }
}

// Every golden model from its folder, a quantised one, and the embedded model (quantised too).
std::vector<std::string> determinism_models() {
  std::vector<std::string> models = {"llama/model.q8_0.gguf", "@models/sluice-jamba.gguf"};
  for (const Golden& golden : kGoldens) {
    if (*golden.file == 0) models.push_back(golden.folder);
  }
  return models;
}

INSTANTIATE_TEST_SUITE_P(Models, Determinism, testing::ValuesIn(determinism_models()), [](const auto& model) {
  std::string text = model.param;
  for (char& c : text) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return text;
});

}  // namespace
}  // namespace sluice::cli
