// The disk tier: what comes back is what was written, whole or not at all; damage, full disks and kill -9 cost what they hit and nothing else.
#include "engine/disk_tier.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "engine/eviction.h"
#include "engine/sampler.h"

namespace sluice::engine {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<int32_t>;

constexpr uint64_t kPageBytes = 1024, kStateBytes = 3000;

bool slow_tests() { return std::getenv("SLUICE_SLOW_TESTS") != nullptr; }

Tokens text(uint64_t seed, size_t size) {
  Tokens out(size);
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<int32_t>(uniform(seed, 7, i) * 1000);
  return out;
}

// Bytes that a token prefix stands for: a state, and a page's lines of which only the used ones are set (16 bytes a token).
std::vector<std::byte> state_of(std::span<const int32_t> tokens) {
  uint64_t hash = 1;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15ull + (hash >> 47);
  std::vector<std::byte> out(kStateBytes);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(uniform(hash, 1, i) * 256);
  return out;
}
void fill_page(std::byte* page, std::span<const int32_t> tokens, uint64_t index) {
  for (uint64_t i = 0; i < 64 && index * 64 + i < tokens.size(); ++i) {
    const uint64_t word = static_cast<uint64_t>(tokens[index * 64 + i]) * 0x9e3779b97f4a7c15ull | 1;
    std::memcpy(page + i * 16, &word, sizeof word);
    std::memcpy(page + i * 16 + 8, &word, sizeof word);
  }
}

struct Folder {
  Folder() {
    char name[] = "/tmp/sluice-disk-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  fs::path path;
};

std::unique_ptr<StateStore> make_store(uint64_t budget = 4 << 20) {
  StoreOptions options;
  options.budget_bytes = budget;
  options.page_bytes = kPageBytes;
  options.state_bytes = kStateBytes;
  options.bytes_backed = true;
  auto store = StateStore::create(options, learned_evictor());
  EXPECT_TRUE(store.ok());
  return std::move(store).value();
}

std::unique_ptr<DiskTier> open_tier(const fs::path& folder, uint64_t cap = 1 << 30, uint64_t program = 2) {
  auto tier = DiskTier::open({.folder = folder, .cap_bytes = cap, .binding = {1, program, kPageBytes, kStateBytes, 1}});
  EXPECT_TRUE(tier.ok()) << (tier.ok() ? "" : tier.error().message);
  return std::move(tier).value();
}

uint32_t keep(StateStore& store, std::span<const int32_t> tokens, Kind kind = Kind::kPromptEnd) {
  std::vector<BlockId> pages;
  for (uint64_t p = 0; p * 64 < tokens.size(); ++p) {
    pages.push_back(store.take_page().value());
    fill_page(store.page_data(pages.back()), tokens, p);
  }
  const uint32_t id = store.insert({.tokens = tokens, .kind = kind, .state = state_of(tokens), .pages = pages, .always = true});
  for (const BlockId page : pages) store.release_page(page);
  EXPECT_NE(id, kNoCheckpoint);
  return id;
}

void persist(DiskTier& tier, StateStore& store, const Tokens& tokens, std::initializer_list<uint64_t> positions) {
  for (const uint64_t position : positions) {
    const auto prefix = std::span(tokens).first(position);
    (void)tier.persist(store, keep(store, prefix), 9, prefix);
  }
}

void finish(DiskTier& tier, StateStore& store, std::vector<DiskTier::Loaded>* loads = nullptr) {
  std::vector<DiskTier::Loaded> ignored;
  while (!tier.idle()) {
    tier.wait();
    tier.poll(store, loads == nullptr ? ignored : *loads);
  }
}

// Loads the deepest snapshot of `tokens` into a fresh store and compares every byte. The position, or the error.
std::string restore(DiskTier& tier, const Tokens& tokens, uint64_t& position) {
  const auto store = make_store();
  const std::optional<DiskHit> hit = tier.find(9, tokens, tokens.size());
  position = hit ? hit->position : 0;
  if (!hit) return "";
  const Result<uint64_t> ticket = tier.start_load(*store, *hit, 0, 0);
  if (!ticket.ok()) return ticket.error().message;
  std::vector<DiskTier::Loaded> loads;
  finish(tier, *store, &loads);
  if (loads.size() != 1 || loads[0].ticket != *ticket) return "no answer";
  if (!loads[0].error.empty()) return loads[0].error;
  Lookup found;
  store->hold(loads[0].checkpoint, found);
  std::vector<std::byte> state(kStateBytes);
  store->copy_state(loads[0].checkpoint, state);
  const auto prefix = std::span(tokens).first(position);
  if (found.resume != position || state != state_of(prefix)) return "another state came back";
  for (size_t p = 0; p < found.pages.size(); ++p) {
    std::vector<std::byte> page(kPageBytes);
    fill_page(page.data(), prefix, p);
    // Behind the position a page may hold what its conversation wrote later; nobody reads it.
    const size_t used = std::min<size_t>(64, position - p * 64) * 16;
    if (std::memcmp(page.data(), store->page_data(found.pages[p]), used) != 0) return "another page came back";
  }
  store->release(found);
  store->check();
  return "";
}

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
  EXPECT_FALSE(tier->find(8, tokens, tokens.size())) << "another tenant sees nothing";
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
  EXPECT_FALSE(tier->find(9, all[1], 80));
  EXPECT_TRUE(tier->find(9, all[19], 80));
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
  EXPECT_FALSE(open_tier(folder.path, 1 << 30, 3)->find(9, tokens, 80));
  EXPECT_TRUE(open_tier(folder.path)->find(9, tokens, 80));
}

TEST(DiskTier, TwoProcessesMayShareAFolder) {
  const Folder folder;
  const Tokens tokens = text(7, 200);
  const auto store = make_store();
  const auto a = open_tier(folder.path), b = open_tier(folder.path);
  persist(*a, *store, tokens, {100, 200});
  finish(*a, *store);
  EXPECT_FALSE(b->find(9, tokens, 200));
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
  EXPECT_EQ(tier->find(9, tokens, 300)->position, 100u);
  EXPECT_TRUE(tier->find(9, other, 120));
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
