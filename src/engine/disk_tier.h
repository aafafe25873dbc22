// The state store below memory: checkpoints as files (snapshot_file.h), one each, named after tenant and id, found again by their tokens. One thread of its
// own writes and reads; the engine's thread only queues, polls and never waits for the disk.
// Contract: a snapshot is on disk whole or not at all, also after kill -9; what is damaged is left out and what its parents hold is still good; a full disk
// fails one write and nothing else. Files are never changed, so several processes may share a folder. Bytes on disk stay under the cap: the least recently
// used leaves go first. Every call is for the engine's thread. Next: snapshot_file.h for the format, state_store.h for the memory above.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/snapshot_file.h"
#include "engine/state_store.h"

namespace sluice::engine {

struct DiskOptions {
  std::filesystem::path folder;   // one below it per binding is made
  uint64_t cap_bytes = 0;
  SnapshotBinding binding;
  uint32_t queue_max = 32;        // snapshots waiting to be written; one more is refused
  std::function<void()> notify;   // called on the tier's thread when poll() has something to take in; must return at once
};

struct DiskHit {
  uint64_t position = 0;
  uint32_t snapshot = 0;          // of this tier, valid until the next call that deletes
};

// What is on disk for a prompt.
struct DiskFound {
  std::optional<DiskHit> hit;     // the deepest durable snapshot that is a prefix of it
  uint64_t shared = 0;            // tokens that agree with what any durable one has read
};

struct DiskStats {
  uint64_t snapshots = 0, bytes = 0, cap_bytes = 0;
  uint64_t written = 0, write_failures = 0, refused = 0, loaded = 0, load_failures = 0, deleted = 0;
  std::string last_error;
};

class DiskTier {
 public:
  // Makes the folder, reads what is there, removes what killed processes left half-written, starts the thread.
  static Result<std::unique_ptr<DiskTier>> open(const DiskOptions& options);
  ~DiskTier();  // after what is queued has been written

  // Queues the store's checkpoint, which stays leased until it is written. `tokens`: all up to its position. False: it is there already, or cannot be queued.
  bool persist(StateStore& store, uint32_t checkpoint, uint64_t tenant, std::span<const int32_t> tokens);

  // Snapshots of more than `limit` tokens are no hit.
  DiskFound find(uint64_t tenant, std::span<const int32_t> tokens, uint64_t limit) const;

  // Starts reading a hit into pages taken from the store; poll() tells when it is in the store. The error says that there is no memory for it.
  Result<uint64_t> start_load(StateStore& store, const DiskHit& hit, uint32_t store_tenant, uint64_t now_ms);

  struct Loaded {
    uint64_t ticket = 0;
    uint32_t checkpoint = kNoCheckpoint;  // in the store; kNoCheckpoint: it could not be read, or not kept
    std::string error;
  };
  // Takes in what the thread has finished; appends finished loads.
  void poll(StateStore& store, std::vector<Loaded>& loads);

  // Has the thread look for files that other processes have put into the folder; find() sees them after a poll(). Cheap when nothing changed.
  void refresh();
  bool refreshing() const;

  // Of the store, held by what is not written yet.
  uint64_t leased_blocks() const;
  // As many writes wait as may: persist() would refuse one more.
  bool full() const;

  // Nothing queued and nothing unfinished.
  bool idle() const;
  // Waits until the thread has done all that is queued; poll() then finishes everything. For shutdown and tests.
  void wait() const;
  // Deletes a tenant's snapshots that go on from `tokens` (all of the tenant's if empty). The number deleted.
  uint64_t forget(uint64_t tenant, std::span<const int32_t> tokens);
  // Deletes the one at exactly these tokens' end, unless others go on from it or it is being read. True if it did.
  bool forget_one(uint64_t tenant, std::span<const int32_t> tokens);
  const DiskStats& stats() const;

 private:
  struct Impl;
  explicit DiskTier(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// For people and tools, without an engine: snapshots of any binding below `folder`, damaged files with their error.
struct SnapshotListing {
  std::filesystem::path path;
  Result<SnapshotInfo> info;
};
Result<std::vector<SnapshotListing>> list_snapshots(const std::filesystem::path& folder);
// Reads every byte of it against its checksums.
Status verify_snapshot(const std::filesystem::path& path);

}  // namespace sluice::engine
