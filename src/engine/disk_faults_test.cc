// A disk that fails with EIO, at every call one after the other: it is told, costs what it hit, and the conversation goes on from what is good. The calls
// are interposed in this test program, so what is tested is what runs.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <atomic>
#include <cerrno>

#include "engine/disk_tier_testing.h"
#include "engine/scheduler_testing.h"

namespace {

enum class Call : uint8_t { kNone, kWrite, kSync, kRead };
std::atomic<Call> failing{Call::kNone};
std::atomic<int> good_before{0};  // calls of that kind that go well before the first one that fails
std::atomic<uint64_t> failures{0};

bool fails(Call call) {
  if (failing != call || good_before-- > 0) return false;
  ++failures;
  errno = EIO;
  return true;
}

// While it lives, every call of this kind fails, once so many have gone well.
struct Fault {
  Fault(Call call, int good) {
    failures = 0;
    good_before = good;
    failing = call;
  }
  ~Fault() { failing = Call::kNone; }
};

}  // namespace

extern "C" {
ssize_t pwrite(int file, const void* bytes, size_t count, off_t offset) {
  if (!fails(Call::kWrite)) return ::syscall(SYS_pwrite64, file, bytes, count, offset);
  (void)::syscall(SYS_pwrite64, file, bytes, count / 2, offset);  // part of it is there, as on a real disk
  errno = EIO;
  return -1;
}
int fsync(int file) { return fails(Call::kSync) ? -1 : static_cast<int>(::syscall(SYS_fsync, file)); }
ssize_t pread(int file, void* bytes, size_t count, off_t offset) {
  return fails(Call::kRead) ? -1 : ::syscall(SYS_pread64, file, bytes, count, offset);
}
ssize_t preadv(int file, const iovec* parts, int count, off_t offset) {
  return fails(Call::kRead) ? -1 : ::syscall(SYS_preadv, file, parts, count, offset, 0);
}
}

namespace sluice::engine {
namespace {

constexpr const char* kEio = "Input/output error";

// Runs `attempt` for the first call that fails, then for the second, and so on until it makes fewer calls than that. How many there were.
template <class Attempt>
int at_every_call(const Attempt& attempt) {
  for (int good = 0;; ++good) {
    attempt(good);
    if (failures == 0 || testing::Test::HasFailure()) return good;
  }
}

TEST(DiskFaults, AWriteOrSyncThatFailsCostsThatSnapshotAndIsTold) {
  for (const Call call : {Call::kWrite, Call::kSync}) {
    const int calls = at_every_call([&](int good) {
      const Folder folder;
      const Tokens tokens = text(1, 200);
      const auto store = make_store();
      const auto tier = open_tier(folder.path);
      persist(*tier, *store, tokens, {100});
      finish(*tier, *store);
      {
        const Fault fault(call, good);
        persist(*tier, *store, tokens, {150, 200});
        finish(*tier, *store);
        if (failures == 0) return;
      }
      const uint64_t lost = tier->stats().write_failures;
      EXPECT_GE(lost, 1u);
      EXPECT_NE(tier->stats().last_error.find(kEio), std::string::npos) << tier->stats().last_error;
      EXPECT_EQ(tier->stats().snapshots, folder.files().size()) << "nothing half-written stays, nor what stands on what failed";
      for (const fs::path& file : folder.files()) EXPECT_TRUE(verify_snapshot(file).ok()) << file;
      const uint64_t kept = tier->stats().snapshots == 1 ? 100 : 150;
      uint64_t position = 0;
      EXPECT_EQ(restore(*tier, tokens, position), "");
      EXPECT_EQ(position, kept) << "what was good before";
      EXPECT_EQ(restore(*open_tier(folder.path), tokens, position), "");
      EXPECT_EQ(position, kept) << "also for another process";
      persist(*tier, *store, tokens, {200});
      finish(*tier, *store);
      EXPECT_EQ(restore(*open_tier(folder.path), tokens, position), "");
      EXPECT_EQ(position, 200u) << "the disk is well again";
      store->check();
    });
    EXPECT_GE(calls, 4) << "two snapshots, each written and synced, then its folder";
  }
}

TEST(DiskFaults, AReadThatFailsCostsWhatItHitAndWhatStandsOnIt) {
  uint64_t went_on = 0;
  const int calls = at_every_call([&](int good) {
    const Folder folder;
    const Tokens tokens = text(2, 300);
    const auto store = make_store();
    {
      const auto tier = open_tier(folder.path);
      persist(*tier, *store, tokens, {100, 200, 300});
      finish(*tier, *store);
    }
    const auto tier = open_tier(folder.path);
    uint64_t position = 0;
    {
      const Fault fault(Call::kRead, good);
      const std::string error = restore(*tier, tokens, position);
      if (failures == 0) return;
      EXPECT_NE(error.find(kEio), std::string::npos) << error;
    }
    EXPECT_EQ(tier->stats().load_failures, 1u);
    EXPECT_NE(tier->stats().last_error.find(kEio), std::string::npos);
    EXPECT_EQ(restore(*tier, tokens, position), "") << "the next attempt uses what is good";
    EXPECT_TRUE(position == 0 || position == 100 || position == 200) << position;
    went_on += position > 0 ? 1 : 0;
  });
  EXPECT_GE(calls, 9) << "three files, each with its header, its tables and its data";
  EXPECT_GT(went_on, 4u);
}

TEST(DiskFaults, AFileThatCannotBeReadAtTheStartLeavesTheOthers) {
  const Folder folder;
  const Tokens tokens = text(3, 100), other = text(4, 100);
  {
    const auto store = make_store();
    const auto tier = open_tier(folder.path);
    persist(*tier, *store, tokens, {100});
    persist(*tier, *store, other, {100});
    finish(*tier, *store);
  }
  std::unique_ptr<DiskTier> tier;
  {
    const Fault fault(Call::kRead, 2);  // header and tokens of the first
    tier = open_tier(folder.path);
    EXPECT_EQ(failures, 1u);
  }
  EXPECT_EQ(tier->stats().load_failures, 1u);
  EXPECT_EQ(tier->stats().snapshots, 1u);
  uint64_t first = 0, second = 0;
  EXPECT_EQ(restore(*tier, tokens, first), "");
  EXPECT_EQ(restore(*tier, other, second), "");
  EXPECT_EQ(first + second, 100u);
}

// The whole engine over such a disk: four turns of a conversation, a restart after each, with calls of every kind failing in one of the turns.
TEST(DiskFaults, AConversationGoesOnTokenForTokenWhateverFails) {
  uint64_t told = 0, reused = 0, named = 0;
  for (const Call call : {Call::kWrite, Call::kSync, Call::kRead}) {
    for (const int good : {0, 1, 3, 7, 10}) {
      for (int bad_turn = 0; bad_turn < 3; ++bad_turn) {
        const Folder folder;
        std::vector<int32_t> prompt = fake_prompt(9, 200);
        for (int turn = 0; turn < 4; ++turn) {
          EngineOptions options{.context = 900, .sequences_max = 2, .store_bytes = 200'000};
          options.disk_folder = folder.path;
          options.disk_bytes = 1 << 26;
          const Fault fault(turn == bad_turn ? call : Call::kNone, good);  // from the start to the last write
          Bench bench(kFakeShapes[0], options);
          const RequestId id = bench.ask(prompt, {.max_tokens = 6});
          bench.run();
          const Answer& answer = bench.answer(id);
          ASSERT_EQ(answer.error, "");
          ASSERT_EQ(answer.tokens, bench.expect(prompt, 6)) << "turn " << turn << ", " << good << " calls went well";
          bench.scheduler().store().check();
          told += turn == bad_turn && bench.scheduler().statistics().disk_failures > 0 ? 1 : 0;
          named += answer.miss == MissReason::kDiskReadFailed ? 1 : 0;
          if (turn > bad_turn + 1) reused += answer.done.cached_tokens + 16 >= prompt.size() - 30 ? 1 : 0;
          prompt.insert(prompt.end(), answer.tokens.begin(), answer.tokens.end());
          const auto more = fake_prompt(100 + static_cast<uint64_t>(turn), 30);
          prompt.insert(prompt.end(), more.begin(), more.end());
        }
        for (const fs::path& file : folder.files()) EXPECT_TRUE(verify_snapshot(file).ok()) << file;
      }
    }
  }
  EXPECT_GT(named, 0u) << "a read that failed is a miss with that name";
  EXPECT_GT(told, 6u);
  EXPECT_EQ(reused, 3u * 5 * (2 + 1)) << "two turns later all is as if nothing had happened";
}

}  // namespace
}  // namespace sluice::engine
