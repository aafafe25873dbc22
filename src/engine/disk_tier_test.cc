// The disk tier: what comes back is what was written, whole or not at all; damage, full disks and kill -9 cost what they hit and nothing else.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "engine/disk_tier_testing.h"

namespace sluice::engine {
namespace {

TEST(DiskTier, AConversationComesBackAfterARestartBitForBit) {
  const Folder folder;
  const Tokens tokens = text(1, 1000);
  {
    const auto store = make_store();
    const auto tier = open_tier(folder.path);
    for (const uint64_t position : {64, 300, 301, 640, 999}) {
      EXPECT_TRUE(tier->persist(*store, keep(*store, std::span(tokens).first(position)), 9, std::span(tokens).first(position)));
      EXPECT_FALSE(tier->persist(*store, keep(*store, std::span(tokens).first(position)), 9, std::span(tokens).first(position))) << "written once";
    }
    finish(*tier, *store);
    EXPECT_EQ(tier->stats().written, 5u);
    store->check();
  }
  const auto tier = open_tier(folder.path);
  for (const auto& [asked, expected] : std::vector<std::pair<size_t, uint64_t>>{{1000, 999}, {998, 640}, {301, 301}, {300, 300}, {299, 64}, {63, 0}}) {
    uint64_t position = 0;
    EXPECT_EQ(restore(*tier, Tokens(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(asked)), position), "");
    EXPECT_EQ(position, expected);
  }
  EXPECT_FALSE(tier->find(8, tokens, tokens.size()).hit) << "another tenant sees nothing";
  Tokens edited = tokens;
  edited[200] ^= 1;
  uint64_t position = 0;
  EXPECT_EQ(restore(*tier, edited, position), "");
  EXPECT_EQ(position, 64u);
}

TEST(DiskTier, BytesGrowWithTheConversationNotWithItsSquare) {
  const Folder folder;
  const auto store = make_store(16 << 20);
  const auto tier = open_tier(folder.path);
  const Tokens tokens = text(2, 4096);
  uint64_t states = 0;
  for (uint64_t position = 250; position < 4096; position += 250, ++states) {
    (void)tier->persist(*store, keep(*store, std::span(tokens).first(position)), 9, std::span(tokens).first(position));
    finish(*tier, *store);
  }
  uint64_t bytes = 0;
  for (const fs::path& file : folder.files()) bytes += fs::file_size(file);
  EXPECT_EQ(bytes, tier->stats().bytes);
  // A state and a page of this test are small, so tokens, headers and the part of a page written twice weigh more than in any model.
  EXPECT_LE(bytes, (4000 * 16 + states * kStateBytes) * 130 / 100);
}

TEST(DiskTier, AFlippedBitAtAnyByteIsAnErrorAndTheParentIsStillGood) {
  const Folder folder;
  const Tokens tokens = text(3, 100);
  {
    const auto store = make_store();
    const auto tier = open_tier(folder.path);
    persist(*tier, *store, tokens, {70, 100});
    finish(*tier, *store);
  }
  const std::vector<fs::path> files = folder.files();
  ASSERT_EQ(files.size(), 2u);
  const fs::path child = read_snapshot_info(files[0])->parent == 0 ? files[1] : files[0];
  std::ifstream in(child, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  for (size_t i = 0; i <= good.size(); i += slow_tests() ? 1 : 7) {
    std::string bad = good;
    if (i == good.size()) bad += 'x'; else bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
    std::ofstream(child, std::ios::binary | std::ios::trunc) << bad;
    EXPECT_FALSE(verify_snapshot(child).ok()) << "byte " << i;
    if (i % 49 != 0) continue;
    const auto tier = open_tier(folder.path);
    uint64_t position = 0;
    const std::string error = restore(*tier, tokens, position);
    if (error.empty()) {
      EXPECT_EQ(position, 70u) << "byte " << i;  // found damaged when the folder was read
      continue;
    }
    EXPECT_NE(error.find("snap"), std::string::npos);
    EXPECT_EQ(restore(*tier, tokens, position), "") << "the next attempt uses what is good";
    EXPECT_EQ(position, 70u);
    finish(*tier, *make_store());
  }
}

TEST(DiskTier, EveryCutIsAnError) {
  const Folder folder;
  const Tokens tokens = text(4, 90);
  {
    const auto store = make_store();
    const auto tier = open_tier(folder.path);
    (void)tier->persist(*store, keep(*store, tokens), 9, tokens);
    finish(*tier, *store);
  }
  const fs::path file = folder.files().at(0);
  for (uint64_t size = fs::file_size(file); size-- > 0;) {
    fs::resize_file(file, size);
    ASSERT_FALSE(verify_snapshot(file).ok()) << size;
  }
}

// The limit on a file's size stands for a full disk: the write fails in the same place.
TEST(DiskTier, AFullDiskFailsOneWriteAndLeavesNothingBehind) {
  const Folder folder;
  const auto store = make_store();
  const auto tier = open_tier(folder.path);
  const Tokens tokens = text(5, 200);
  signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 2000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_TRUE(tier->persist(*store, keep(*store, std::span(tokens).first(100)), 9, std::span(tokens).first(100)));
  EXPECT_TRUE(tier->persist(*store, keep(*store, tokens), 9, tokens));  // its parent will not be there
  finish(*tier, *store);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(tier->stats().write_failures, 1u);
  EXPECT_EQ(tier->stats().snapshots, 0u);
  EXPECT_NE(tier->stats().last_error, "");
  EXPECT_TRUE(folder.files().empty());
  EXPECT_TRUE(tier->persist(*store, keep(*store, tokens), 9, tokens)) << "the next one may succeed";
  finish(*tier, *store);
  uint64_t position = 0;
  EXPECT_EQ(restore(*tier, tokens, position), "");
  EXPECT_EQ(position, 200u);
}

TEST(DiskTier, TheCapHoldsAndTheLeastRecentlyUsedLeavesGo) {
  const Folder folder;
  const auto store = make_store(16 << 20);
  const uint64_t cap = 40'000;
  const auto tier = open_tier(folder.path, cap);
  std::vector<Tokens> all;
  for (uint64_t i = 0; i < 20; ++i) {
    all.push_back(text(100 + i, 80));
    (void)tier->persist(*store, keep(*store, all.back()), 9, all.back());
    finish(*tier, *store);
    EXPECT_LE(tier->stats().bytes, cap);
    uint64_t position = 0;
    EXPECT_EQ(restore(*tier, all[0], position), "");  // used again and again
    EXPECT_EQ(position, 80u) << i;
    finish(*tier, *store);
  }
  uint64_t bytes = 0;
  for (const fs::path& file : folder.files()) bytes += fs::file_size(file);
  EXPECT_LE(bytes, cap);
  EXPECT_FALSE(tier->find(9, all[1], 80).hit);
  EXPECT_TRUE(tier->find(9, all[19], 80).hit);
  EXPECT_GT(tier->stats().deleted, 10u);
}

TEST(DiskTier, AnotherModelOrProgramSeesNothing) {
  const Folder folder;
  const Tokens tokens = text(6, 80);
  const auto store = make_store();
  {
    const auto tier = open_tier(folder.path);
    (void)tier->persist(*store, keep(*store, tokens), 9, tokens);
    finish(*tier, *store);
  }
  EXPECT_FALSE(open_tier(folder.path, 1 << 30, 3)->find(9, tokens, 80).hit);
  EXPECT_TRUE(open_tier(folder.path)->find(9, tokens, 80).hit);
}

TEST(DiskTier, TwoProcessesMayShareAFolder) {
  const Folder folder;
  const Tokens tokens = text(7, 200);
  const auto store = make_store();
  const auto a = open_tier(folder.path), b = open_tier(folder.path);
  persist(*a, *store, tokens, {100, 200});
  finish(*a, *store);
  EXPECT_FALSE(b->find(9, tokens, 200).hit);
  b->refresh();
  finish(*b, *store);
  uint64_t position = 0;
  EXPECT_EQ(restore(*b, tokens, position), "");
  EXPECT_EQ(position, 200u);
  EXPECT_EQ(a->forget(9, {}), 2u);
  finish(*a, *store);
  EXPECT_NE(restore(*b, tokens, position), "") << "gone under its feet: an error, not a crash";
  EXPECT_EQ(restore(*b, tokens, position), "");
}

TEST(DiskTier, ForgettingOneLeavesWhatOthersNeed) {
  const Folder folder;
  const auto store = make_store();
  const auto tier = open_tier(folder.path);
  const Tokens tokens = text(8, 200);
  persist(*tier, *store, tokens, {100, 200});
  finish(*tier, *store);
  EXPECT_FALSE(tier->forget_one(9, std::span(tokens).first(100))) << "the longer one stands on it";
  EXPECT_FALSE(tier->forget_one(9, std::span(tokens).first(150))) << "there is none";
  EXPECT_FALSE(tier->forget_one(8, tokens)) << "another tenant's";
  EXPECT_TRUE(tier->forget_one(9, tokens));
  EXPECT_TRUE(tier->forget_one(9, std::span(tokens).first(100)));
  finish(*tier, *store);
  EXPECT_TRUE(folder.files().empty());
}

TEST(DiskTier, ForgettingATextTakesWhatGoesOnFromIt) {
  const Folder folder;
  const auto store = make_store();
  const auto tier = open_tier(folder.path);
  const Tokens tokens = text(8, 300), other = text(9, 120);
  persist(*tier, *store, tokens, {100, 200, 300});
  (void)tier->persist(*store, keep(*store, other), 9, other);
  finish(*tier, *store);
  EXPECT_EQ(tier->forget(9, std::span(tokens).first(150)), 2u);
  EXPECT_EQ(tier->find(9, tokens, 300).hit->position, 100u);
  EXPECT_TRUE(tier->find(9, other, 120).hit);
  EXPECT_EQ(tier->forget(9, {}), 2u);
  finish(*tier, *store);
  EXPECT_TRUE(folder.files().empty());
}

// Writes until it is killed.
[[noreturn]] void write_forever(const fs::path& folder, uint64_t seed) {
  const auto store = make_store();
  const auto tier = open_tier(folder, 1 << 20);
  for (uint64_t i = 0;; ++i) {
    const Tokens tokens = text(seed * 1000 + i % 3, 500);
    for (const uint64_t position : {130, 260, 500}) {
      (void)tier->persist(*store, keep(*store, std::span(tokens).first(position)), 9, std::span(tokens).first(position));
      finish(*tier, *store);
    }
    (void)tier->forget(9, {});
    finish(*tier, *store);
  }
}

// How long one file takes here: a sanitizer's build or a busy machine takes many times as long as a quiet one.
double microseconds_a_file() {
  const Folder folder;
  const auto store = make_store();
  const auto tier = open_tier(folder.path, 1 << 20);
  const Tokens tokens = text(1, 130);
  const auto start = std::chrono::steady_clock::now();
  (void)tier->persist(*store, keep(*store, tokens), 9, tokens);
  finish(*tier, *store);
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

TEST(DiskTier, KillNineLeavesTheOldOrTheNewStateNeverATornOne) {
  const Folder folder;
  const uint64_t rounds = slow_tests() ? 1000 : 20;
  const double reach = std::max(20'000.0, 6 * microseconds_a_file());
  uint64_t survived = 0;
  for (uint64_t round = 0; round < rounds; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_forever(folder.path, round);
    std::this_thread::sleep_for(std::chrono::microseconds(static_cast<int64_t>(3000 + uniform(round, 3, 0) * reach)));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const auto tier = open_tier(folder.path);
    EXPECT_EQ(tier->stats().load_failures, 0u) << tier->stats().last_error;
    for (const fs::path& file : folder.files()) {
      EXPECT_TRUE(file.extension() == ".snap") << "half-written files are gone: " << file;
      EXPECT_TRUE(verify_snapshot(file).ok()) << file;
      ++survived;
    }
    for (uint64_t i = 0; i < 3; ++i) {
      uint64_t position = 0;
      EXPECT_EQ(restore(*tier, text(round * 1000 + i, 500), position), "");
    }
  }
  EXPECT_GT(survived, 0u);
}

}  // namespace
}  // namespace sluice::engine
