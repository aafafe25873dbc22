// The scheduler over the disk tier: a conversation that is hit again after a restart is reused, and whatever happens to the files, every token is the one
// that computing from nothing gives.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/scheduler_testing.h"

namespace sluice::engine {
namespace {

namespace fs = std::filesystem;

class SchedulerDisk : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/sluice-scheduler-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<Bench> start(const StepSizes& sizes, uint64_t store_bytes = 200'000) const {
    EngineOptions options{.context = 900, .sequences_max = 4, .store_bytes = store_bytes};
    options.disk_folder = folder_;
    options.disk_bytes = 1 << 26;
    return std::make_unique<Bench>(sizes, options);
  }
  // Until everything is answered; the disk's thread needs real time.
  static void run(Bench& bench) {
    while (!bench.scheduler().idle()) {
      if (bench.scheduler().step()) continue;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      bench.runner().now_us += 10;
    }
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.path().extension() == ".snap") out.push_back(entry.path());
    }
    return out;
  }

  fs::path folder_;
};

TEST_F(SchedulerDisk, AConversationGoesOnAfterARestartWhereItStopped) {
  for (const StepSizes& sizes : kFakeShapes) {
    fs::remove_all(folder_);
    std::vector<int32_t> told = fake_prompt(1, 500);
    {
      const auto bench = start(sizes);
      const RequestId id = bench->ask(told, {.max_tokens = 40});
      run(*bench);
      told.insert(told.end(), bench->answer(id).tokens.begin(), bench->answer(id).tokens.end());
    }
    const auto bench = start(sizes);
    std::vector<int32_t> next = told;
    const auto more = fake_prompt(2, 20);
    next.insert(next.end(), more.begin(), more.end());
    const RequestId id = bench->ask(next, {.max_tokens = 12});
    run(*bench);
    EXPECT_EQ(bench->answer(id).tokens, bench->expect(next, 12));
    EXPECT_GE(bench->answer(id).done.cached_tokens + 16, told.size()) << "extend: at most 16 beyond the new text";
    const RequestId again = bench->ask(std::vector<int32_t>(told.begin(), told.begin() + 500), {.max_tokens = 12});
    run(*bench);
    EXPECT_GE(bench->answer(again).done.cached_tokens + 16, 500u) << "regenerate: at most 16";
    EXPECT_EQ(bench->scheduler().statistics().disk_failures, 0u);
    bench->scheduler().store().check();
  }
}

TEST_F(SchedulerDisk, DamageCostsComputationAndNothingElse) {
  const std::vector<int32_t> prompt = fake_prompt(3, 600);
  {
    const auto bench = start(kFakeShapes[0]);
    (void)bench->ask(prompt, {.max_tokens = 5});
    run(*bench);
  }
  for (const fs::path& file : files()) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(fs::file_size(file) - 100));  // in the state: the header and the tokens are good
    stream.put('\x55');
  }
  const auto bench = start(kFakeShapes[0]);
  const RequestId id = bench->ask(prompt, {.max_tokens = 5});
  run(*bench);
  EXPECT_EQ(bench->answer(id).tokens, bench->expect(prompt, 5));
  EXPECT_EQ(bench->answer(id).miss, MissReason::kDiskReadFailed);
  EXPECT_GT(bench->scheduler().statistics().disk_failures, 0u);
}

// What engine/recompute_test.cc holds in memory holds after a restart too: a history of 4,096 tokens with room for its grid, states as large against pages as
// the embedded model's and as Jamba Reasoning 3B's.
TEST_F(SchedulerDisk, AfterARestartTheNextTurnComputesWhatItWouldHave) {
  constexpr uint64_t kHistory = 4096;
  const std::vector<int32_t> history = fake_prompt(1, kHistory);
  for (const uint64_t state_bytes : {16'000u, 79'040u}) {
    SCOPED_TRACE(state_bytes);
    fs::remove_all(folder_);
    const StepSizes sizes{.rows_max = 512, .logit_rows_max = 16, .vocabulary = kFakeVocabulary, .page_bytes = 512, .state_bytes = state_bytes,
                          .flops_per_token = 1000};
    const auto process = [&] {
      EngineOptions options{.context = 2 * kHistory, .sequences_max = 2, .store_bytes = 120 * state_bytes};
      options.disk_folder = folder_;
      options.disk_bytes = 1 << 26;
      return std::make_unique<Bench>(sizes, options);
    };
    std::vector<int32_t> told = history;
    {
      const auto bench = process();
      const RequestId id = bench->ask(history, {.max_tokens = 20});
      run(*bench);
      told.insert(told.end(), bench->answer(id).tokens.begin(), bench->answer(id).tokens.end());
    }
    const auto computed = [&](const std::vector<int32_t>& prompt) {
      const auto bench = process();  // each in a process of its own
      const RequestId id = bench->ask(prompt, {.max_tokens = 3});
      run(*bench);
      EXPECT_EQ(bench->answer(id).tokens, bench->expect(prompt, 3));
      return prompt.size() - bench->answer(id).done.cached_tokens;
    };
    const auto plus = [](std::vector<int32_t> text, uint64_t seed, size_t size) {
      const auto more = fake_prompt(seed, size);
      text.insert(text.end(), more.begin(), more.end());
      return text;
    };
    EXPECT_LE(computed(plus(told, 2, 30)), 30 + 16u) << "extend";
    EXPECT_LE(computed(history), 16u) << "regenerate";
    for (const size_t at : {300u, 1000u, 2047u, 3000u, 4000u}) {
      std::vector<int32_t> edited = history;
      edited[at] ^= 1;
      EXPECT_LE(computed(edited), kHistory - at + 256) << "edit at " << at;
    }
    std::vector<int32_t> document(history.begin(), history.begin() + kHistory * 3 / 4);
    EXPECT_LE(computed(plus(document, 3, kHistory / 4)), kHistory / 4 + 256) << "the last quarter replaced";
    EXPECT_LE(computed(plus(told, 4, 30)), 30 + 16u) << "back to the old branch";
  }
}

// S2 (llama.cpp 27068, 26676): a bad snapshot is rejected but leaves the cache poisoned; a restore has no effect. A flipped bit anywhere in any file, then the
// same prompt and one that shares its beginning: every answer is right, also from what the damaged process keeps in memory; the good files are really used.
TEST_F(SchedulerDisk, S2ADamagedSnapshotPoisonsNothingAndAGoodOneIsUsed) {
  std::vector<int32_t> prompt = fake_prompt(5, 330), branch = prompt;
  branch.resize(300);
  const auto more = fake_prompt(6, 40);
  branch.insert(branch.end(), more.begin(), more.end());
  {
    const auto bench = start(kFakeShapes[0]);
    (void)bench->ask(prompt, {.max_tokens = 5});
    run(*bench);
  }
  const std::vector<fs::path> all = files();
  ASSERT_GE(all.size(), 2u);
  std::vector<std::pair<fs::path, std::string>> good;
  for (const fs::path& file : all) {
    std::ifstream in(file, std::ios::binary);
    good.emplace_back(file, std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>()));
  }
  uint64_t undamaged_reused = 0, damaged_failures = 0;
  for (size_t victim = 0; victim <= good.size(); ++victim) {  // the last round damages nothing
    for (const double place : {0.01, 0.3, 0.6, 0.99}) {
      fs::remove_all(folder_);
      for (size_t i = 0; i < good.size(); ++i) {
        fs::create_directories(good[i].first.parent_path());
        std::string bytes = good[i].second;
        if (i == victim) bytes[static_cast<size_t>(place * static_cast<double>(bytes.size()))] ^= 16;
        std::ofstream(good[i].first, std::ios::binary) << bytes;
      }
      const auto bench = start(kFakeShapes[0]);
      for (const auto& asked : {prompt, branch, prompt, branch}) {
        const RequestId id = bench->ask(asked, {.max_tokens = 5});
        run(*bench);
        EXPECT_EQ(bench->answer(id).tokens, bench->expect(asked, 5)) << "file " << victim << " at " << place;
        if (victim == good.size()) undamaged_reused += bench->answer(id).done.cached_tokens;
      }
      damaged_failures += bench->scheduler().statistics().disk_failures;
      EXPECT_TRUE(victim < good.size() || bench->scheduler().statistics().disk_failures == 0);
      bench->scheduler().store().check();
    }
  }
  EXPECT_GT(damaged_failures, 0u);
  EXPECT_GT(undamaged_reused, 4 * 4 * 250u);
}

// LMCache 4247: an external hit advances attention and recurrence alike, but only attention was restored. The fake model's logits hang on both.
TEST_F(SchedulerDisk, LmCache4247AHitFromDiskBringsPagesAndState) {
  const std::vector<int32_t> prompt = fake_prompt(7, 500);
  {
    const auto bench = start(kFakeShapes[0]);
    (void)bench->ask(prompt, {.max_tokens = 3});
    run(*bench);
  }
  const auto bench = start(kFakeShapes[0]);
  const RequestId id = bench->ask(prompt, {.max_tokens = 30});
  run(*bench);
  EXPECT_EQ(bench->answer(id).done.cached_tokens, prompt.size() - 1);
  EXPECT_EQ(bench->answer(id).tokens, bench->expect(prompt, 30));
  EXPECT_EQ(bench->scheduler().statistics().disk_loaded, 1u);
}

TEST_F(SchedulerDisk, TwoReplicasSeeEachOthersConversations) {
  const auto a = start(kFakeShapes[0]), b = start(kFakeShapes[0]);
  const std::vector<int32_t> prompt = fake_prompt(4, 400);
  (void)a->ask(prompt, {.max_tokens = 3});
  run(*a);
  for (int i = 0; i < 500 && a->scheduler().statistics().disk_written < 3; ++i) {
    a->step(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  b->runner().now_us += 10'000'000;
  const RequestId id = b->ask(prompt, {.max_tokens = 3});
  run(*b);
  EXPECT_GE(b->answer(id).done.cached_tokens, 384u);
  EXPECT_EQ(b->answer(id).tokens, b->expect(prompt, 3));
}

// Random histories with restarts in between, over a store that is too small and a folder whose files are now and then damaged or deleted.
TEST_F(SchedulerDisk, HistoriesWithRestartsNeverChangeAToken) {
  const uint64_t histories = std::getenv("SLUICE_SLOW_TESTS") != nullptr ? 1000 : 12;
  uint64_t reused = 0;
  for (uint64_t seed = 1; seed <= histories; ++seed) {
    fs::remove_all(folder_);
    const StepSizes& sizes = kFakeShapes[seed % 3];
    auto bench = start(sizes, seed % 2 * 100'000);
    std::vector<std::vector<int32_t>> branches(1, fake_prompt(seed, 150));
    for (uint64_t i = 0; i < 12; ++i) {
      const auto draw = [&](uint64_t k, double n) { return static_cast<size_t>(uniform(seed, k, i) * n); };
      std::vector<int32_t> prompt = branches[draw(1, static_cast<double>(branches.size()))];
      if (draw(2, 3) == 0) prompt.resize(1 + draw(3, static_cast<double>(prompt.size())));
      const auto more = fake_prompt(seed * 100 + i, 1 + draw(4, 120));
      prompt.insert(prompt.end(), more.begin(), more.end());
      if (prompt.size() > 800) prompt.resize(300);
      if (draw(5, 2) == 0) {
        bench.reset();  // it writes what it has queued
        bench = start(sizes, seed % 2 * 100'000);
      }
      if (draw(6, 5) == 0) {
        const std::vector<fs::path> all = files();
        std::error_code gone;
        if (!all.empty() && draw(7, 2) == 0) fs::remove(all[draw(8, static_cast<double>(all.size()))], gone);
        else if (!all.empty()) fs::resize_file(all[draw(8, static_cast<double>(all.size()))], 700, gone);
      }
      const RequestId id = bench->ask(prompt, {.max_tokens = 8});
      run(*bench);
      const Answer& answer = bench->answer(id);
      ASSERT_EQ(answer.error, "");
      ASSERT_EQ(answer.tokens, bench->expect(prompt, 8)) << "seed " << seed << " request " << i;
      bench->scheduler().store().check();
      reused += answer.done.cached_tokens;
      prompt.insert(prompt.end(), answer.tokens.begin(), answer.tokens.end());
      branches.push_back(prompt);
    }
  }
  EXPECT_GT(reused, histories * 500);
}

}  // namespace
}  // namespace sluice::engine
