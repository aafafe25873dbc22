// Keys at rest and in a running server: what is written, what is compared, what takes effect without a restart, what a damaged file does. Rows A1 to A3.
#include "server/keys.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>

#include "platform/clock.h"
#include "server/key_ring.h"

namespace sluice::server {
namespace {

namespace fs = std::filesystem;

class Keys : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("sluice-keys-" + std::to_string(getpid()) + "-" + std::to_string(++count_));
    fs::remove_all(folder_);
    file_ = folder_ / "sluice" / "keys.db";
  }
  void TearDown() override { fs::remove_all(folder_); }

  CreatedKey create(const std::string& name, const KeyLimits& limits = {}) {
    Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kCreate);
    EXPECT_TRUE(file.ok()) << file.error().message;
    Result<CreatedKey> created = file->create({.name = name, .limits = limits}, 1000);
    EXPECT_TRUE(created.ok()) << created.error().message;
    return std::move(*created);
  }
  void revoke(const std::string& name) {
    Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kWrite);
    ASSERT_TRUE(file.ok() && file->revoke(name, 2000).ok());
  }
  void damage() {
    for (const char* rest : {"-wal", "-shm"}) fs::remove(file_.string() + rest);
    std::ofstream(file_, std::ios::binary | std::ios::trunc) << "this is no database, whatever its name says, and it is long enough for a header of one......";
  }

  static inline int count_ = 0;
  fs::path folder_, file_;
};

std::string whole(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

TEST_F(Keys, AKeyIsOfOneFormAndNoTwoAreAlike) {
  const CreatedKey a = create("a"), b = create("b");
  EXPECT_EQ(a.text.size(), kKeyChars);
  EXPECT_NE(a.text, b.text);
  EXPECT_NE(a.key.number, b.key.number);
  const std::optional<KeyText> parts = parse_key(a.text);
  ASSERT_TRUE(parts);
  EXPECT_EQ(parts->id, a.key.id);
  EXPECT_FALSE(parse_key(a.text + "x"));
  EXPECT_FALSE(parse_key(a.text.substr(1)));
  EXPECT_FALSE(parse_key(""));
  std::string odd = a.text;
  odd.back() = '/';
  EXPECT_FALSE(parse_key(odd));
}

TEST_F(Keys, OnlyASaltedHashIsWrittenAndOnlyTheOwnerMayReadIt) {
  const CreatedKey created = create("team");
  std::string bytes;
  for (const auto& entry : fs::directory_iterator(file_.parent_path())) {
    bytes += whole(entry.path());
    EXPECT_EQ(fs::status(entry.path()).permissions() & (fs::perms::group_all | fs::perms::others_all), fs::perms::none) << entry.path();
  }
  const std::string secret(parse_key(created.text)->secret);
  EXPECT_NE(bytes.find(created.key.id), std::string::npos);  // the search finds what is there
  for (size_t at = 0; at + 8 <= secret.size(); ++at) EXPECT_EQ(bytes.find(secret.substr(at, 8)), std::string::npos);
  Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kRead);
  const std::vector<StoredKey> keys = *file->all();
  const KeySalt other{};
  EXPECT_NE(hash_secret(keys[0].salt, secret), hash_secret(other, secret));
  EXPECT_TRUE(secret_matches(keys[0], secret));
}

TEST_F(Keys, NamesAreCheckedAndOneLivesAtATime) {
  create("team");
  Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kWrite);
  EXPECT_FALSE(file->create({.name = "team"}, 1).ok());
  EXPECT_FALSE(file->create({.name = ""}, 1).ok());
  EXPECT_FALSE(file->create({.name = "a b"}, 1).ok());
  EXPECT_FALSE(file->create({.name = std::string(65, 'x')}, 1).ok());
  EXPECT_FALSE(file->create({.name = "a'; DROP TABLE keys;--"}, 1).ok());
  ASSERT_TRUE(file->revoke("team", 5).ok());
  EXPECT_FALSE(file->revoke("team", 5).ok());
  EXPECT_FALSE(file->revoke("nobody", 5).ok());
  EXPECT_TRUE(file->create({.name = "team"}, 6).ok());
  EXPECT_EQ(file->all()->size(), 2u);
  KeyFile::Change change;
  change.limits[0] = 7;
  change.admin = true;
  const Result<Key> changed = file->change("team", change);
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(changed->limits[LimitKind::kRequestsPerMinute], 7u);
  EXPECT_TRUE((*file->all())[1].admin);
  change.limits[0] = kLimitMax + 1;
  EXPECT_FALSE(file->change("team", change).ok());
}

TEST_F(Keys, WithoutAFileNobodyIsAskedAndOnceAKeyExistedEverybodyIs) {
  KeyRing ring(file_);
  EXPECT_FALSE(ring.table()->closed());
  const CreatedKey created = create("first");
  EXPECT_TRUE(ring.poll());
  EXPECT_TRUE(ring.table()->closed());
  EXPECT_NE(ring.table()->find(created.text), nullptr);
  EXPECT_EQ(ring.table()->find(""), nullptr);
  EXPECT_FALSE(ring.poll());
  revoke("first");
  EXPECT_TRUE(ring.poll());
  EXPECT_EQ(ring.table()->find(created.text), nullptr);
  EXPECT_TRUE(ring.table()->closed());  // the last key's end opens nothing
}

TEST_F(Keys, ARevocationByAnotherProcessTakesEffectWithoutARestart) {
  const CreatedKey a = create("a"), b = create("b");
  KeyRing ring(file_);
  ASSERT_NE(ring.table()->find(a.text), nullptr);
  const pid_t child = fork();
  if (child == 0) {
    Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kWrite);
    _exit(file.ok() && file->revoke("a", 9).ok() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  EXPECT_TRUE(ring.poll());
  EXPECT_EQ(ring.table()->find(a.text), nullptr);
  EXPECT_NE(ring.table()->find(b.text), nullptr);
}

TEST_F(Keys, A1WrongKeysOfEveryKindAreRefused) {
  const CreatedKey created = create("a");
  KeyRing ring(file_);
  const std::string& good = created.text;
  const std::shared_ptr<const KeyTable> table = ring.table();
  ASSERT_NE(table->find(good), nullptr);
  for (size_t at = 0; at < good.size(); ++at) {
    std::string wrong = good;
    wrong[at] = wrong[at] == 'x' ? 'y' : 'x';
    EXPECT_EQ(table->find(wrong), nullptr) << at;
    EXPECT_EQ(table->find(good.substr(0, at)), nullptr) << at;
  }
  EXPECT_EQ(table->find(good + " "), nullptr);
  EXPECT_EQ(table->find(" " + good), nullptr);
  EXPECT_EQ(table->find(std::string(1 << 20, 'a')), nullptr);
  std::string upper = good;
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  EXPECT_EQ(table->find(upper), nullptr);
}

// Interleaved samples of two guesses; the medians of their times may not tell which is nearer to the key.
double median_ratio(const KeyTable& table, const std::string& one, const std::string& other) {
  std::vector<uint64_t> times[2];
  for (int i = 0; i < 6000; ++i) {
    const std::string& guess = i % 2 == 0 ? one : other;
    const uint64_t begin = platform::thread_cpu_ns();
    for (int repeat = 0; repeat < 4; ++repeat) EXPECT_EQ(table.find(guess), nullptr);
    times[i % 2].push_back(platform::thread_cpu_ns() - begin);
  }
  for (auto& side : times) std::nth_element(side.begin(), side.begin() + static_cast<ptrdiff_t>(side.size() / 2), side.end());
  return static_cast<double>(times[0][times[0].size() / 2]) / static_cast<double>(times[1][times[1].size() / 2]);
}

TEST_F(Keys, A3TheTimeOfAComparisonTellsNothing) {
  const CreatedKey created = create("a");
  KeyRing ring(file_);
  const std::shared_ptr<const KeyTable> table = ring.table();
  std::string first = created.text, last = created.text, unknown = created.text;
  const size_t secret_at = kKeyChars - kKeySecretChars;
  first[secret_at] = first[secret_at] == 'x' ? 'y' : 'x';
  last.back() = last.back() == 'x' ? 'y' : 'x';
  unknown[kKeyPrefix.size()] = unknown[kKeyPrefix.size()] == 'x' ? 'y' : 'x';
  EXPECT_NEAR(median_ratio(*table, first, last), 1, 0.1);
  EXPECT_NEAR(median_ratio(*table, first, unknown), 1, 0.25);  // a lookup that finds a row, and one that does not: ids are no secret
}

TEST_F(Keys, ADamagedFileClosesAServerThatKnewNothing) {
  create("a");
  damage();
  KeyRing ring(file_);
  EXPECT_TRUE(ring.table()->unreadable);
  EXPECT_TRUE(ring.table()->closed());
  EXPECT_NE(ring.trouble().find("the key database is damaged"), std::string::npos) << ring.trouble();
  EXPECT_FALSE(KeyFile::open(file_, KeyFile::Access::kWrite).ok());
  fs::remove(file_);
  EXPECT_TRUE(ring.poll());
  EXPECT_FALSE(ring.table()->closed());
  EXPECT_EQ(ring.trouble(), "");
}

TEST_F(Keys, ADamagedFileLeavesTheKnownKeysInForce) {
  const CreatedKey created = create("a");
  KeyRing ring(file_);
  damage();
  EXPECT_FALSE(ring.poll());
  EXPECT_NE(ring.table()->find(created.text), nullptr);
  EXPECT_NE(ring.trouble().find("stay in force"), std::string::npos) << ring.trouble();
  fs::remove(file_);
  EXPECT_FALSE(ring.poll());
  EXPECT_NE(ring.table()->find(created.text), nullptr);
  const CreatedKey other = create("b");  // a new file takes its place
  EXPECT_TRUE(ring.poll());
  EXPECT_EQ(ring.table()->find(created.text), nullptr);
  EXPECT_NE(ring.table()->find(other.text), nullptr);
}

TEST_F(Keys, EveryByteOfTheFileMayBeFlipped) {
  for (const char* name : {"a", "b", "c"}) create(name);
  const std::string good = whole(file_);
  std::mt19937_64 random(3);
  for (int round = 0; round < 150; ++round) {
    std::string bad = good;
    for (int flips = 0; flips < 4; ++flips) bad[random() % bad.size()] ^= static_cast<char>(1u << (random() % 8));
    std::ofstream(file_, std::ios::binary | std::ios::trunc) << bad;
    const Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kRead);
    if (file.ok()) {
      const Result<std::vector<StoredKey>> keys = file->all();
      if (!keys.ok()) {
        EXPECT_NE(keys.error().message, "");
      }
    } else {
      EXPECT_NE(file.error().message.find("keys.db"), std::string::npos);
    }
  }
}

TEST_F(Keys, AReadOnlyFolderIsReadAndWritingSaysWhy) {
  const CreatedKey created = create("a");
  fs::permissions(file_.parent_path(), fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec | fs::perms::group_read |
                                           fs::perms::group_exec);
  fs::permissions(file_, fs::perms::owner_read | fs::perms::group_read | fs::perms::others_read);
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(10);
    KeyRing ring(file_);
    if (ring.table()->find(created.text) == nullptr) {
      std::fprintf(stderr, "%s\n", ring.trouble().c_str());
      _exit(11);
    }
    const Status saved = ring.save_uses(std::vector<KeyUse>{{.number = 1}});
    if (saved.ok()) _exit(12);
    if (saved.error().message.find("read-only") == std::string::npos && saved.error().message.find("cannot") == std::string::npos) _exit(13);
    if (ring.create({.name = "b"}, 1).ok()) _exit(14);
    if (ring.table()->find(created.text) == nullptr) _exit(15);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  fs::permissions(file_.parent_path(), fs::perms::owner_all);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(Keys, AFullDiskLeavesTheMainFileReadableUnlessTheLogHasMore) {
  const CreatedKey created = create("a");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto ignored = signal(SIGXFSZ, SIG_IGN);
  const rlimit full{.rlim_cur = 16'384, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  {
    const KeyRing ring(file_);
    EXPECT_EQ(ring.trouble(), "");
    EXPECT_NE(ring.table()->find(created.text), nullptr);
  }
  std::ofstream(file_.string() + "-wal") << "a revocation, perhaps";
  {
    const KeyRing ring(file_);
    EXPECT_TRUE(ring.table()->unreadable);
  }
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, ignored);
}

TEST_F(Keys, AnotherVersionsFileIsRefusedBySentence) {
  create("a");
  {
    Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kWrite);
    ASSERT_TRUE(file.ok());
  }
  std::string bytes = whole(file_);
  bytes[63] = 9;  // user_version, big-endian at 60
  std::ofstream(file_, std::ios::binary | std::ios::trunc) << bytes;
  const Result<KeyFile> file = KeyFile::open(file_, KeyFile::Access::kRead);
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().message.find("version 9"), std::string::npos) << file.error().message;
}

}  // namespace
}  // namespace sluice::server
