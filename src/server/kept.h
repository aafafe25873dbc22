// What the server keeps for its clients beside states: files, batches and their lines, responses. One database in the folder of states, or in memory where
// there is none; one thread for work that must not wait on the I/O thread.
// Contract: bounded in bytes; nobody sees another tenant's; on disk, what was answered with success survives kill -9. Members may be called from any thread
// but the I/O thread, which uses post(). Next: kept_files.h, kept_batches.h, kept_turns.h.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "server/database.h"
#include "server/kept_batches.h"
#include "server/kept_files.h"
#include "server/kept_turns.h"

namespace sluice::server {

struct KeptOptions {
  std::filesystem::path folder;        // empty: in memory, gone with the process
  uint64_t bytes_max = 0;              // 0: 2 GiB in a folder, 32 MiB in memory
  std::function<int64_t()> now_s;      // Unix time; empty: the system's clock
  std::function<void(const std::string&)> say;  // to the operator's log; empty: nowhere
};

class Kept {
 public:
  static Result<std::unique_ptr<Kept>> open(KeptOptions options);
  ~Kept();  // after what was posted is done

  Database& database() { return *database_; }
  KeptFiles& files() { return files_; }
  KeptBatches& batches() { return batches_; }
  KeptTurns& turns() { return turns_; }
  int64_t now_s() const { return options_.now_s(); }
  void say(const std::string& sentence) const { options_.say(sentence); }

  // Any thread, never waits: runs on this object's thread, in order. False when too much is waiting.
  bool post(std::function<void()> work);
  // Returns when everything posted before has been done.
  void settle();
  // Batches are run by one process at a time: true if that is this one.
  bool runs_batches();

 private:
  Kept(KeptOptions options, std::unique_ptr<Database> database);
  void work();

  const KeptOptions options_;
  const std::unique_ptr<Database> database_;
  KeptFiles files_;
  KeptBatches batches_;
  KeptTurns turns_;
  int lock_file_ = -1;
  std::mutex mutex_;
  std::condition_variable came_, done_;
  std::deque<std::function<void()>> posted_;
  uint64_t posted_count_ = 0, done_count_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace sluice::server
