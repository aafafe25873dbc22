#include "server/kept.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>


namespace sluice::server {
namespace {

constexpr uint64_t kFolderBytes = 2ull << 30;
constexpr uint64_t kMemoryBytes = 32ull << 20;
constexpr size_t kPostedMax = 4096;
constexpr int kApplicationId = 0x534C4B50;  // "SLKP"
constexpr int kVersion = 1;

constexpr const char* kSchema =
    "CREATE TABLE files (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant INTEGER NOT NULL, purpose TEXT NOT NULL, name TEXT NOT NULL,"
    " bytes INTEGER NOT NULL, created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE INDEX files_of ON files (tenant, number, bytes);"
    "CREATE TABLE batches (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant INTEGER NOT NULL, key INTEGER NOT NULL,"
    " status TEXT NOT NULL, ends_s INTEGER NOT NULL, keep_s INTEGER NOT NULL, input TEXT NOT NULL, body TEXT NOT NULL);"
    "CREATE INDEX batches_of ON batches (tenant, number);"
    "CREATE INDEX batches_by ON batches (status, number);"
    "CREATE TABLE lines (batch INTEGER NOT NULL, line INTEGER NOT NULL, begin INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " PRIMARY KEY (batch, line)) WITHOUT ROWID;"
    "CREATE TABLE answers (number INTEGER PRIMARY KEY, batch INTEGER NOT NULL, line INTEGER NOT NULL, good INTEGER NOT NULL, text BLOB NOT NULL);"
    "CREATE UNIQUE INDEX answers_of ON answers (batch, line);"
    "CREATE INDEX answers_by ON answers (batch, good, line);"
    "CREATE TABLE turns (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, tenant INTEGER NOT NULL, parent TEXT NOT NULL,"
    " used_s INTEGER NOT NULL, bytes INTEGER NOT NULL, shown INTEGER NOT NULL, prompt_bytes INTEGER NOT NULL, prompt_hash INTEGER NOT NULL,"
    " messages TEXT NOT NULL, input TEXT NOT NULL, body TEXT NOT NULL, tokens BLOB NOT NULL);"
    "CREATE INDEX turns_use ON turns (tenant, used_s, number, bytes);"
    "CREATE TABLE conversations (tenant INTEGER NOT NULL, name TEXT NOT NULL, head TEXT NOT NULL, created_s INTEGER NOT NULL, used_s INTEGER NOT NULL,"
    " metadata TEXT NOT NULL, PRIMARY KEY (tenant, name)) WITHOUT ROWID;"
    "CREATE TABLE saved (tenant INTEGER NOT NULL, name TEXT NOT NULL, model TEXT NOT NULL, created_s INTEGER NOT NULL, head TEXT NOT NULL,"
    " tokens BLOB NOT NULL, PRIMARY KEY (tenant, name))";

}  // namespace

Kept::Kept(KeptOptions options, std::unique_ptr<Database> database)
    : options_(std::move(options)), database_(std::move(database)), files_(*database_, options_.now_s), batches_(*database_, options_.now_s),
      turns_(*database_, options_.now_s) {
  thread_ = std::thread([this] { work(); });
}

Result<std::unique_ptr<Kept>> Kept::open(KeptOptions options) {
  if (options.bytes_max == 0) options.bytes_max = options.folder.empty() ? kMemoryBytes : kFolderBytes;
  if (!options.now_s) {
    options.now_s = [] { return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count(); };
  }
  if (!options.say) options.say = [](const std::string&) {};
  DatabaseOptions wanted{.path = options.folder.empty() ? std::filesystem::path() : options.folder / "kept.db", .bytes_max = options.bytes_max,
                         .schema = kSchema, .application_id = kApplicationId, .version = kVersion};
  SLUICE_TRY(std::unique_ptr<Database> database, Database::open(wanted));
  return std::unique_ptr<Kept>(new Kept(std::move(options), std::move(database)));
}

Kept::~Kept() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  came_.notify_all();
  thread_.join();
  if (lock_file_ >= 0) ::close(lock_file_);
}

bool Kept::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (posted_.size() >= kPostedMax) return false;
    posted_.push_back(std::move(work));
    ++posted_count_;
  }
  came_.notify_one();
  return true;
}

void Kept::settle() {
  std::unique_lock lock(mutex_);
  const uint64_t wanted = posted_count_;
  done_.wait(lock, [&] { return done_count_ >= wanted; });
}

void Kept::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    came_.wait(lock, [this] { return stopping_ || !posted_.empty(); });
    if (posted_.empty()) return;
    const std::function<void()> next = std::move(posted_.front());
    posted_.pop_front();
    lock.unlock();
    next();
    lock.lock();
    ++done_count_;
    done_.notify_all();
  }
}

// The lock goes with the process, also by kill -9.
bool Kept::runs_batches() {
  if (options_.folder.empty()) return true;
  if (lock_file_ < 0) lock_file_ = ::open((options_.folder / "batches.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  return lock_file_ >= 0 && ::flock(lock_file_, LOCK_EX | LOCK_NB) == 0;
}

}  // namespace sluice::server
