#include "engine/disk_tier.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <unordered_map>

#include "base/check.h"

namespace sluice::engine {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffix = ".snap";
constexpr uint32_t kNone = UINT32_MAX;

// A temporary file of AtomicFile is ".NAME.PID-N.tmp": it may go when no such process is left.
bool is_abandoned(const std::string& name) {
  if (!name.starts_with('.') || !name.ends_with(".tmp")) return false;
  const size_t dash = name.rfind('-');
  const size_t dot = dash == std::string::npos ? dash : name.rfind('.', dash);
  if (dot == std::string::npos) return false;
  int process = 0;
  const auto parsed = std::from_chars(name.data() + dot + 1, name.data() + dash, process);
  if (parsed.ec != std::errc() || parsed.ptr != name.data() + dash || process <= 0) return false;
  return process == ::getpid() ? false : ::kill(process, 0) != 0 && errno == ESRCH;
}

std::string folder_name(const SnapshotBinding& b) { return fmt::format("{:016x}-{:016x}-{}", b.model, b.program, b.kv_type); }

}  // namespace

struct DiskTier::Impl {
  enum class Phase : uint8_t { kFree, kQueued, kDurable };
  struct Snapshot {
    SnapshotInfo info;
    Phase phase = Phase::kFree;
    uint32_t parent = kNone;
    uint32_t first_child = kNone, next_sibling = kNone;  // newest first; roots hang on roots_
    uint32_t reading = 0;
    uint64_t last_use = 0;
  };
  struct Job {
    enum class What : uint8_t { kWrite, kRead, kDelete, kScan, kStop } what = What::kStop;
    uint32_t snapshot = kNone;
    fs::path path;
    SnapshotInfo info;                                    // kWrite
    std::vector<const std::byte*> pages;                  // kWrite
    std::vector<std::byte> last_page;                     // kWrite: the page that its sequence may still be writing behind the position
    std::vector<std::span<const std::byte>> state_parts;  // kWrite
    Lookup hold;                                          // kWrite: the store's lease
    uint64_t ticket = 0;                                  // kRead
    std::vector<uint32_t> chain;                          // kRead: root first
    std::vector<std::pair<fs::path, SnapshotInfo>> files;
    std::vector<BlockId> blocks;                          // kRead: taken pages
    std::vector<std::byte*> targets;
    BlockId state_blocks = kNoBlock;                      // kRead: where the state goes at once, if the store can spare them
    uint32_t state_leased = 0;
    std::vector<std::byte> state;                         // kRead: else it goes here first
    std::vector<std::span<std::byte>> state_targets;
    uint32_t store_tenant = 0;
    uint64_t now_ms = 0;
    std::vector<uint64_t> known;                          // kScan: sorted ids
    std::vector<SnapshotInfo> found;                      // kScan
    Status status;
    size_t failed = 0;                                    // kRead: index in chain
  };

  struct Scan {
    std::vector<SnapshotInfo> found;
    uint64_t damaged = 0;
    std::string error;
  };

  DiskOptions options;
  fs::path folder;
  std::vector<Snapshot> snapshots;
  std::vector<uint32_t> free;
  std::unordered_map<uint64_t, uint32_t> roots;   // tenant -> first root snapshot
  std::unordered_map<uint64_t, uint32_t> by_id;
  uint64_t uses = 0, tickets = 0, unfinished = 0;
  DiskStats stats;
  std::mt19937_64 ids{std::random_device{}()};

  std::thread thread;
  mutable std::mutex mutex;
  mutable std::condition_variable wake, quiet;
  std::deque<Job> queue, finished;
  uint32_t writes_queued = 0;
  uint64_t leased_blocks = 0;
  bool working = false;
  bool scanning = false;
  fs::file_time_type scanned{};  // the folder's time at the last scan; the thread's

  fs::path path_of(uint64_t tenant, uint64_t id) const { return folder / fmt::format("{:016x}-{:016x}{}", tenant, id, kSuffix); }

  uint32_t& first_of(const Snapshot& s) { return s.parent == kNone ? roots.try_emplace(s.info.tenant, kNone).first->second : snapshots[s.parent].first_child; }
  uint32_t add(SnapshotInfo info, uint32_t parent, Phase phase);
  void remove(uint32_t id);
  struct Walked {
    uint32_t best = kNone;
    uint64_t shared = 0;  // tokens that agree with any
  };
  Walked walk(uint64_t tenant, std::span<const int32_t> tokens, uint64_t limit, bool durable) const;
  Scan scan(const std::vector<uint64_t>& known) const;
  void take_in(std::vector<SnapshotInfo> found);
  void push(Job job);
  void run();
  void work(Job& job);
  void write(Job& job) const;
  void look_again(Job& job);
  void read_chain(Job& job) const;
  void finish_write(StateStore& store, Job& job);
  void place_state(StateStore& store, Job& job);
  void finish_read(StateStore& store, Job& job, std::vector<Loaded>& loads);
  bool make_room(uint64_t bytes);
  void unlink_later(uint32_t id);
  void drop_subtree(uint32_t id, bool unlink);
};

uint32_t DiskTier::Impl::add(SnapshotInfo info, uint32_t parent, Phase phase) {
  uint32_t index = kNone;
  if (free.empty()) {
    index = static_cast<uint32_t>(snapshots.size());
    snapshots.emplace_back();
  } else {
    index = free.back();
    free.pop_back();
  }
  Snapshot& s = snapshots[index];
  s = Snapshot{};
  s.info = std::move(info);
  s.phase = phase;
  s.parent = parent;
  s.last_use = ++uses;
  by_id[s.info.id] = index;
  uint32_t& first = first_of(s);
  s.next_sibling = first;
  first = index;
  ++stats.snapshots;
  stats.bytes += s.info.file_bytes;
  return index;
}

void DiskTier::Impl::remove(uint32_t index) {
  Snapshot& s = snapshots[index];
  SLUICE_CHECK(s.first_child == kNone && s.phase != Phase::kFree);
  uint32_t* link = &first_of(s);
  while (*link != index) link = &snapshots[*link].next_sibling;
  *link = s.next_sibling;
  by_id.erase(s.info.id);
  --stats.snapshots;
  stats.bytes -= s.info.file_bytes;
  s = Snapshot{};
  free.push_back(index);
}

// Depth first over children whose tokens agree; several may (a shorter one that was written later is a sibling of the longer).
DiskTier::Impl::Walked DiskTier::Impl::walk(uint64_t tenant, std::span<const int32_t> tokens, uint64_t limit, bool durable) const {
  Walked out;
  const auto root = roots.find(tenant);
  if (root == roots.end()) return out;
  std::vector<uint32_t> open;
  const auto consider = [&](uint32_t first) {
    for (uint32_t i = first; i != kNone; i = snapshots[i].next_sibling) {
      const Snapshot& s = snapshots[i];
      if (durable && s.phase != Phase::kDurable) continue;
      const auto parts = std::mismatch(s.info.tokens.begin(), s.info.tokens.end(), tokens.begin() + static_cast<ptrdiff_t>(s.info.from), tokens.end());
      out.shared = std::max(out.shared, static_cast<uint64_t>(parts.second - tokens.begin()));
      if (parts.first != s.info.tokens.end() || s.info.to > limit) continue;
      if (out.best == kNone || s.info.to > snapshots[out.best].info.to) out.best = i;
      open.push_back(i);
    }
  };
  consider(root->second);
  while (!open.empty()) {
    const uint32_t i = open.back();
    open.pop_back();
    consider(snapshots[i].first_child);
  }
  return out;
}

// Everything of this binding in the folder whose id is not among `known` (sorted). Abandoned temporary files go.
DiskTier::Impl::Scan DiskTier::Impl::scan(const std::vector<uint64_t>& known) const {
  Scan out;
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    const std::string name = it->path().filename().string();
    if (is_abandoned(name)) ::unlink(it->path().c_str());
    uint64_t tenant = 0, id = 0;
    if (name.size() != 33 + std::strlen(kSuffix) || !name.ends_with(kSuffix)) continue;
    if (std::from_chars(name.data(), name.data() + 16, tenant, 16).ec != std::errc()) continue;
    if (std::from_chars(name.data() + 17, name.data() + 33, id, 16).ec != std::errc()) continue;
    if (std::binary_search(known.begin(), known.end(), id)) continue;
    Result<SnapshotInfo> info = read_snapshot_info(it->path());
    if (!info.ok()) {
      ++out.damaged;
      out.error = info.error().message;
    } else if (info->binding == options.binding && info->tenant == tenant && info->id == id) {
      out.found.push_back(std::move(info).value());
    }
  }
  return out;
}

// A file whose parent is missing is of no use. It goes, unless it is so new that another process may have written the parent while we looked elsewhere.
void DiskTier::Impl::take_in(std::vector<SnapshotInfo> found) {
  std::sort(found.begin(), found.end(), [](const SnapshotInfo& a, const SnapshotInfo& b) { return a.from != b.from ? a.from < b.from : a.id < b.id; });
  for (SnapshotInfo& info : found) {  // a parent ends where its child begins, so it comes first
    if (by_id.contains(info.id)) continue;
    const auto parent = by_id.find(info.parent);
    const bool fits = info.parent == 0 || (parent != by_id.end() && snapshots[parent->second].info.to == info.from &&
                                           snapshots[parent->second].info.tenant == info.tenant);
    if (fits) {
      const uint32_t above = info.parent == 0 ? kNone : parent->second;
      add(std::move(info), above, Phase::kDurable);
      continue;
    }
    std::error_code code;
    const fs::path path = path_of(info.tenant, info.id);
    const auto written = fs::last_write_time(path, code);
    if (!code && fs::file_time_type::clock::now() - written > std::chrono::hours(1)) ::unlink(path.c_str());
  }
}

void DiskTier::Impl::push(Job job) {
  ++unfinished;
  {
    const std::lock_guard lock(mutex);
    if (job.what == Job::What::kRead) {
      queue.push_front(std::move(job));  // somebody waits for it
    } else {
      queue.push_back(std::move(job));
    }
  }
  wake.notify_one();
}

void DiskTier::Impl::run() {
  std::unique_lock lock(mutex);
  while (true) {
    wake.wait(lock, [&] { return !queue.empty(); });
    Job job = std::move(queue.front());
    queue.pop_front();
    if (job.what == Job::What::kStop) return;
    working = true;
    lock.unlock();
    work(job);
    lock.lock();
    working = false;
    finished.push_back(std::move(job));
    if (queue.empty()) quiet.notify_all();
    if (options.notify) {
      lock.unlock();
      options.notify();
      lock.lock();
    }
  }
}

void DiskTier::Impl::work(Job& job) {
  switch (job.what) {
    case Job::What::kWrite: write(job); break;
    case Job::What::kRead: read_chain(job); break;
    case Job::What::kDelete: ::unlink(job.path.c_str()); break;
    case Job::What::kScan: look_again(job); break;
    case Job::What::kStop: break;
  }
}

void DiskTier::Impl::write(Job& job) const {
  const Result<uint64_t> bytes = write_snapshot(job.path, job.info, job.pages, job.state_parts);
  if (!bytes.ok()) {
    job.status = bytes.error();
    ::unlink(job.path.c_str());  // in place, but its name may not be durable: nothing may stand on it
    return;
  }
  job.info.file_bytes = *bytes;
}

void DiskTier::Impl::look_again(Job& job) {
  std::error_code code;
  const fs::file_time_type now = fs::last_write_time(folder, code);
  if (code || now == scanned) return;
  scanned = now;
  job.found = scan(job.known).found;
}

void DiskTier::Impl::read_chain(Job& job) const {
  for (size_t i = 0; i < job.files.size(); ++i) {
    const auto& [path, info] = job.files[i];
    const std::span<std::byte* const> targets = std::span(job.targets).subspan(info.binding.page_bytes == 0 ? 0 : info.first_page(), info.page_count());
    const bool is_last = i + 1 == job.files.size();
    const std::span<const std::span<std::byte>> state(job.state_targets);
    job.status = read_snapshot(path, info, targets, is_last ? state : state.first(0));
    ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // for the next process's order of use
    if (!job.status.ok()) {
      job.failed = i;
      return;
    }
  }
}

void DiskTier::Impl::unlink_later(uint32_t index) {
  Job job;
  job.what = Job::What::kDelete;
  job.path = path_of(snapshots[index].info.tenant, snapshots[index].info.id);
  ++stats.deleted;
  push(std::move(job));
}

void DiskTier::Impl::drop_subtree(uint32_t index, bool unlink) {
  while (snapshots[index].first_child != kNone) drop_subtree(snapshots[index].first_child, unlink);
  if (unlink) unlink_later(index);
  remove(index);
}

// Leaves in the order of their last use until `bytes` fit under the cap.
bool DiskTier::Impl::make_room(uint64_t bytes) {
  if (bytes > options.cap_bytes) return false;
  while (stats.bytes + bytes > options.cap_bytes) {
    uint32_t oldest = kNone;
    for (uint32_t i = 0; i < snapshots.size(); ++i) {
      const Snapshot& s = snapshots[i];
      if (s.phase != Phase::kDurable || s.first_child != kNone || s.reading > 0) continue;
      if (oldest == kNone || s.last_use < snapshots[oldest].last_use) oldest = i;
    }
    if (oldest == kNone) return false;
    unlink_later(oldest);
    remove(oldest);
  }
  return true;
}

void DiskTier::Impl::finish_write(StateStore& store, Job& job) {
  leased_blocks -= job.hold.pages.size() + job.state_parts.size();
  store.release(job.hold);
  --writes_queued;
  const auto it = by_id.find(job.info.id);
  if (it == by_id.end()) {  // forgotten while it was written
    if (job.status.ok()) ::unlink(job.path.c_str());
    return;
  }
  Snapshot& s = snapshots[it->second];
  const bool orphan = s.parent != kNone && snapshots[s.parent].phase != Phase::kDurable;
  if (job.status.ok() && !orphan) {
    s.phase = Phase::kDurable;
    stats.bytes += job.info.file_bytes - s.info.file_bytes;  // until now the most it could be
    s.info.file_bytes = job.info.file_bytes;
    ++stats.written;
    return;
  }
  ++stats.write_failures;
  if (!job.status.ok()) stats.last_error = job.status.error().message;
  drop_subtree(it->second, job.status.ok());  // what was queued behind it needs it
}

// Into the store's own blocks, if holding them takes nothing that running sequences or pins were promised.
void DiskTier::Impl::place_state(StateStore& store, Job& job) {
  if (store.state_blocks() > 0 && leased_blocks + store.state_blocks() <= store.spare_blocks() / 2) {
    if (const Result<BlockId> blocks = store.take_state(); blocks.ok()) {
      job.state_blocks = *blocks;
      job.state_leased = store.state_blocks();
      leased_blocks += job.state_leased;
      store.parts_of(job.state_blocks, job.state_targets);
      return;
    }
  }
  job.state.resize(options.binding.state_bytes);
  job.state_targets = {std::span(job.state)};
}

void DiskTier::Impl::finish_read(StateStore& store, Job& job, std::vector<Loaded>& loads) {
  Loaded out;
  out.ticket = job.ticket;
  for (const uint32_t i : job.chain) --snapshots[i].reading;
  leased_blocks -= job.state_leased;
  if (job.status.ok()) {
    ++stats.loaded;
    std::vector<int32_t> tokens;
    for (const auto& [path, info] : job.files) tokens.insert(tokens.end(), info.tokens.begin(), info.tokens.end());
    const SnapshotInfo& leaf = job.files.back().second;
    out.checkpoint = store.insert({.tenant = job.store_tenant, .now_ms = job.now_ms, .tokens = tokens, .kind = static_cast<Kind>(leaf.kind % kKinds),
                                   .turn = leaf.turn, .state = job.state, .state_blocks = job.state_leased > 0 ? &job.state_blocks : nullptr,
                                   .pages = job.blocks, .always = true});
    for (const uint32_t i : job.chain) snapshots[i].last_use = ++uses;
    if (out.checkpoint == kNoCheckpoint) out.error = "no memory to keep what was read";
  } else {
    ++stats.load_failures;
    out.error = stats.last_error = job.status.error().message;
    const uint32_t bad = job.chain[job.failed];
    // Parents of a damaged file are good; what goes on from it is not. Another reader may still be in it: then the next one finds the damage again.
    bool in_use = false;
    for (const Snapshot& s : snapshots) in_use = in_use || s.reading > 0;
    if (!in_use && snapshots[bad].info.id == job.files[job.failed].second.id) drop_subtree(bad, true);
  }
  for (const BlockId block : job.blocks) store.release_page(block);
  store.release_state(job.state_blocks);
  loads.push_back(std::move(out));
}

DiskTier::DiskTier(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<DiskTier>> DiskTier::open(const DiskOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->folder = options.folder / folder_name(options.binding);
  std::error_code code;
  fs::create_directories(impl->folder, code);
  if (code) return Error{fmt::format("cannot make the folder {} for states: {}", impl->folder.string(), code.message())};
  fs::permissions(impl->folder, fs::perms::owner_all, code);  // conversations are nobody else's business
  Impl::Scan scan = impl->scan({});
  impl->stats.load_failures = scan.damaged;
  impl->stats.last_error = scan.error;
  impl->take_in(std::move(scan.found));
  impl->stats.cap_bytes = options.cap_bytes;
  (void)impl->make_room(0);
  Impl* const raw = impl.get();
  impl->thread = std::thread([raw] { raw->run(); });
  return std::unique_ptr<DiskTier>(new DiskTier(std::move(impl)));
}

DiskTier::~DiskTier() {
  if (!impl_) return;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->queue.emplace_back();  // kStop, behind what is queued
  }
  impl_->wake.notify_one();
  impl_->thread.join();
}

bool DiskTier::persist(StateStore& store, uint32_t checkpoint, uint64_t tenant, std::span<const int32_t> tokens) {
  Impl& impl = *impl_;
  if (full()) {
    ++impl.stats.refused;
    return false;
  }
  const Checkpoint& c = store.checkpoint(checkpoint);
  SLUICE_CHECK(c.node != kNoNode && tokens.size() == c.position);
  const uint32_t parent = impl.walk(tenant, tokens, tokens.size(), false).best;
  if (parent != kNone && impl.snapshots[parent].info.to == tokens.size()) return false;

  Impl::Job job;
  job.what = Impl::Job::What::kWrite;
  SnapshotInfo& info = job.info;
  info.binding = impl.options.binding;
  info.tenant = tenant;
  do info.id = impl.ids(); while (info.id == 0 || impl.by_id.contains(info.id));
  info.parent = parent == kNone ? 0 : impl.snapshots[parent].info.id;
  info.from = parent == kNone ? 0 : impl.snapshots[parent].info.to;
  info.to = tokens.size();
  info.kind = static_cast<uint32_t>(c.kind);
  info.turn = c.turn;
  info.tokens.assign(tokens.begin() + static_cast<ptrdiff_t>(info.from), tokens.end());
  const uint64_t data = info.page_count() * info.binding.page_bytes + info.binding.state_bytes;
  info.file_bytes = data + data / 128 + info.tokens.size() * 4 + 4096;  // at most; the true size is known when it is written
  if (!impl.make_room(info.file_bytes)) {
    ++impl.stats.refused;
    return false;
  }
  store.hold(checkpoint, job.hold);
  for (uint64_t p = info.first_page(); p < info.first_page() + info.page_count(); ++p) job.pages.push_back(store.page_data(job.hold.pages[p]));
  if (info.to % kPageTokens != 0 && !job.pages.empty()) {
    job.last_page.assign(job.pages.back(), job.pages.back() + info.binding.page_bytes);
    job.pages.back() = job.last_page.data();
  }
  store.state_parts(checkpoint, info.binding.state_bytes, job.state_parts);
  job.path = impl.path_of(tenant, info.id);
  job.snapshot = impl.add(info, parent, Impl::Phase::kQueued);
  ++impl.writes_queued;
  impl.leased_blocks += job.hold.pages.size() + job.state_parts.size();
  impl.push(std::move(job));
  return true;
}

DiskFound DiskTier::find(uint64_t tenant, std::span<const int32_t> tokens, uint64_t limit) const {
  const Impl::Walked walked = impl_->walk(tenant, tokens, limit, true);
  DiskFound out;
  out.shared = walked.shared;
  if (walked.best != kNone) out.hit = DiskHit{impl_->snapshots[walked.best].info.to, walked.best};
  return out;
}

Result<uint64_t> DiskTier::start_load(StateStore& store, const DiskHit& hit, uint32_t store_tenant, uint64_t now_ms) {
  Impl& impl = *impl_;
  SLUICE_CHECK(hit.snapshot < impl.snapshots.size() && impl.snapshots[hit.snapshot].phase == Impl::Phase::kDurable);
  Impl::Job job;
  job.what = Impl::Job::What::kRead;
  job.store_tenant = store_tenant;
  job.now_ms = now_ms;
  const uint64_t pages = impl.options.binding.page_bytes == 0 ? 0 : (hit.position + kPageTokens - 1) / kPageTokens;
  for (uint64_t p = 0; p < pages; ++p) {
    const Result<BlockId> page = store.take_block();
    if (!page.ok()) {
      for (const BlockId taken : job.blocks) store.release_page(taken);
      return page.error();
    }
    job.blocks.push_back(*page);
    job.targets.push_back(store.page_data(*page));
  }
  for (uint32_t i = hit.snapshot; i != kNone; i = impl.snapshots[i].parent) job.chain.push_back(i);
  std::reverse(job.chain.begin(), job.chain.end());
  for (const uint32_t i : job.chain) {
    ++impl.snapshots[i].reading;
    job.files.emplace_back(impl.path_of(impl.snapshots[i].info.tenant, impl.snapshots[i].info.id), impl.snapshots[i].info);
  }
  impl.place_state(store, job);
  job.ticket = ++impl.tickets;
  const uint64_t ticket = job.ticket;
  impl.push(std::move(job));
  return ticket;
}

void DiskTier::poll(StateStore& store, std::vector<Loaded>& loads) {
  Impl& impl = *impl_;
  if (impl.unfinished == 0) return;
  std::deque<Impl::Job> done;
  {
    const std::lock_guard lock(impl.mutex);
    done.swap(impl.finished);
  }
  for (Impl::Job& job : done) {
    --impl.unfinished;
    if (job.what == Impl::Job::What::kWrite) impl.finish_write(store, job);
    if (job.what == Impl::Job::What::kRead) impl.finish_read(store, job, loads);
    if (job.what == Impl::Job::What::kScan) {
      impl.scanning = false;
      impl.take_in(std::move(job.found));
    }
  }
}

void DiskTier::refresh() {
  Impl& impl = *impl_;
  if (impl.scanning) return;
  impl.scanning = true;
  Impl::Job job;
  job.what = Impl::Job::What::kScan;
  for (const auto& [id, index] : impl.by_id) job.known.push_back(id);
  std::sort(job.known.begin(), job.known.end());
  impl.push(std::move(job));
}

bool DiskTier::refreshing() const { return impl_->scanning; }

uint64_t DiskTier::leased_blocks() const { return impl_->leased_blocks; }

bool DiskTier::full() const { return impl_->writes_queued >= impl_->options.queue_max; }

bool DiskTier::idle() const { return impl_->unfinished == 0; }

void DiskTier::wait() const {
  std::unique_lock lock(impl_->mutex);
  impl_->quiet.wait(lock, [&] { return impl_->queue.empty() && !impl_->working; });
}

uint64_t DiskTier::forget(uint64_t tenant, std::span<const int32_t> tokens) {
  Impl& impl = *impl_;
  uint64_t count = 0;
  const auto root = impl.roots.find(tenant);
  if (root == impl.roots.end()) return 0;
  std::vector<uint32_t> doomed;
  // A subtree goes when its path passes `tokens`: walk down while the path still agrees.
  std::vector<uint32_t> open;
  for (uint32_t i = root->second; i != kNone; i = impl.snapshots[i].next_sibling) open.push_back(i);
  while (!open.empty()) {
    const uint32_t i = open.back();
    open.pop_back();
    const SnapshotInfo& info = impl.snapshots[i].info;
    const uint64_t compare = std::min<uint64_t>(info.to, tokens.size());
    const bool agrees = compare <= info.from || std::equal(tokens.begin() + static_cast<ptrdiff_t>(info.from), tokens.begin() + static_cast<ptrdiff_t>(compare),
                                                           info.tokens.begin());
    if (!agrees) continue;
    if (info.to >= tokens.size()) {
      doomed.push_back(i);
      continue;
    }
    for (uint32_t child = impl.snapshots[i].first_child; child != kNone; child = impl.snapshots[child].next_sibling) open.push_back(child);
  }
  for (const uint32_t i : doomed) {
    const uint64_t before = impl.stats.snapshots;
    impl.drop_subtree(i, true);
    count += before - impl.stats.snapshots;
  }
  return count;
}

bool DiskTier::forget_one(uint64_t tenant, std::span<const int32_t> tokens) {
  const std::optional<DiskHit> hit = find(tenant, tokens, tokens.size()).hit;
  if (!hit || hit->position != tokens.size()) return false;
  const Impl::Snapshot& found = impl_->snapshots[hit->snapshot];
  if (found.first_child != kNone || found.reading > 0) return false;
  impl_->drop_subtree(hit->snapshot, true);
  return true;
}

const DiskStats& DiskTier::stats() const { return impl_->stats; }

Result<std::vector<SnapshotListing>> list_snapshots(const fs::path& folder) {
  std::vector<SnapshotListing> out;
  std::error_code code;
  for (fs::recursive_directory_iterator it(folder, code), end; !code && it != end; it.increment(code)) {
    if (it->is_regular_file(code) && it->path().extension() == kSuffix) out.push_back({it->path(), read_snapshot_info(it->path())});
  }
  if (code) return Error{fmt::format("{}: {}", folder.string(), code.message())};
  std::sort(out.begin(), out.end(), [](const SnapshotListing& a, const SnapshotListing& b) { return a.path < b.path; });
  return out;
}

Status verify_snapshot(const fs::path& path) {
  SLUICE_TRY(const SnapshotInfo info, read_snapshot_info(path));
  std::vector<std::byte> page(info.binding.page_bytes), state(info.binding.state_bytes);
  const std::vector<std::byte*> pages(info.page_count(), page.data());
  const std::span<std::byte> parts[] = {state};
  return read_snapshot(path, info, pages, parts);
}

}  // namespace sluice::engine
