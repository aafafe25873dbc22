// The scheduler and the tier below memory: what is kept is written, and a request whose prompt is known on disk waits for it. Part of scheduler.h.
#include "engine/scheduler_job.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kRefreshUs = 2'000'000;  // another process's snapshots are seen at most this much later
constexpr uint64_t kWorthReading = kNearTokens;
constexpr size_t kUnwrittenMax = 4096;

}  // namespace

Status Scheduler::open_disk() {
  if (options_.disk_folder.empty()) return {};
  const StepSizes& sizes = runner_.sizes();
  SLUICE_TRY(disk_, DiskTier::open({.folder = options_.disk_folder, .cap_bytes = options_.disk_bytes,
                                    .binding = {fingerprint_, options_.program, sizes.page_bytes, sizes.state_bytes, options_.kv_type},
                                    .notify = options_.disk_notify}));
  return {};
}

void Scheduler::poll_disk() {
  if (disk_ == nullptr) return;
  loaded_.clear();
  disk_->poll(*store_, loaded_);
  write_what_fits();
  for (const DiskTier::Loaded& load : loaded_) {
    --disk_reading_;
    for (const auto& job : jobs_) {
      if (job->disk != Job::Disk::kReading || job->disk_ticket != load.ticket) continue;
      // What could not be read is out of the tier; what it stood on may still be good.
      job->disk = load.error.empty() || job->disk_failed ? Job::Disk::kDone : Job::Disk::kAsk;
      job->disk_failed = job->disk_failed || !load.error.empty();
    }
  }
}

// Looks once for other processes' snapshots, then for the longest that this prompt goes on from; reads it if memory has less.
bool Scheduler::waits_for_the_disk(Job& job) {
  if (disk_ == nullptr || !job.shares() || job.disk == Job::Disk::kDone) return false;
  if (job.disk == Job::Disk::kReading) return true;
  if (job.disk == Job::Disk::kNew) {
    if (now_us() - disk_refreshed_us_ >= kRefreshUs) {
      disk_refreshed_us_ = now_us();
      disk_->refresh();
    }
    job.disk = Job::Disk::kRefreshing;
  }
  if (job.disk == Job::Disk::kRefreshing && disk_->refreshing()) return true;
  const Request& r = job.request;
  const DiskFound found = disk_->find(r.tenant, r.prompt, r.prompt.size() - 1);
  const std::optional<DiskHit>& hit = found.hit;
  job.disk_shared = found.shared;
  if (!hit || hit->position < store_->resumable(r.tenant, r.prompt) + kWorthReading) {
    job.disk = Job::Disk::kDone;
    return false;
  }
  job.disk = Job::Disk::kAsk;
  if (disk_reading_ >= slots_->free_count()) return true;  // what is read must be used before it is evicted
  const Result<uint64_t> ticket = disk_->start_load(*store_, *hit, r.tenant, now_us() / 1000);
  if (!ticket.ok()) {  // memory is full of what runs: computing again needs no more than this request has anyway
    job.disk = Job::Disk::kDone;
    return false;
  }
  ++disk_reading_;
  job.disk = Job::Disk::kReading;
  job.disk_ticket = *ticket;
  return true;
}

// On its way to the disk, if it is still there when its turn comes.
void Scheduler::persist(uint32_t checkpoint, uint32_t tenant) {
  if (disk_ == nullptr) return;
  if (unwritten_.size() == kUnwrittenMax) unwritten_.pop_front();
  unwritten_.push_back({checkpoint, tenant, store_->checkpoint(checkpoint).payload});
  write_what_fits();
}

// A write holds its blocks until it is done: never those that running sequences may ask for. What finds no room waits until a write is done.
void Scheduler::write_what_fits() {
  while (!unwritten_.empty() && !disk_->full()) {
    const Unwritten next = unwritten_.front();
    const Checkpoint& c = store_->checkpoint(next.checkpoint);
    const bool is_there = c.node != kNoNode && c.payload == next.payload;
    const uint64_t blocks = is_there ? (c.position + kPageTokens - 1) / kPageTokens + store_->state_blocks() : 0;
    if (is_there && blocks <= store_->spare_blocks()) {
      if (disk_->leased_blocks() + blocks > store_->spare_blocks()) return;
      store_->tokens_of(next.checkpoint, unwritten_tokens_);
      (void)disk_->persist(*store_, next.checkpoint, next.tenant, unwritten_tokens_);
    }
    unwritten_.pop_front();
  }
}

// What is kept comes back after a restart: nothing that is still in memory stays unwritten.
void Scheduler::finish_writing() {
  while (disk_ != nullptr && !unwritten_.empty()) {
    disk_->wait();
    poll_disk();
    if (disk_->idle() && !unwritten_.empty()) return;  // not for want of a lease
  }
}

void Scheduler::forget(uint32_t tenant, std::span<const int32_t> tokens) {
  const uint32_t found = store_->find(tenant, tokens);
  if (found != kNoCheckpoint) store_->forget(found);
  if (disk_ != nullptr) (void)disk_->forget_one(tenant, tokens);
}

}  // namespace sluice::engine
