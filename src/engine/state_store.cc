#include "engine/state_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace sluice::engine {
namespace {

constexpr uint32_t kRecordsMax = 1u << 20;
constexpr uint64_t kTicksAheadMax = 64;   // a busy hour is not owed to the quiet one after it
constexpr uint32_t kPathReserved = 4096;  // pages of one conversation; longer ones let the path grow
constexpr uint64_t kTableBytesPerBlock = 3 * sizeof(uint32_t);  // references, next, free list

}  // namespace

Result<std::unique_ptr<StateStore>> StateStore::create(const StoreOptions& options, std::unique_ptr<Evictor> evictor) {
  if (options.page_bytes == 0) return Error{"the state store needs pages of at least one byte"};
  const uint64_t state_blocks = (options.state_bytes + options.page_bytes - 1) / options.page_bytes;
  const uint64_t per_block = options.page_bytes + PageTree::bytes_per_node() + kTableBytesPerBlock;
  const uint64_t records = std::min<uint64_t>(options.budget_bytes / (std::max<uint64_t>(state_blocks, 1) * per_block) + 2, kRecordsMax);
  const uint64_t fixed = records * (sizeof(Checkpoint) + sizeof(uint32_t)) + kLosses * (sizeof(Loss) + sizeof(uint32_t));
  const uint64_t least = fixed + (state_blocks + 1) * per_block;
  if (options.budget_bytes < least) {
    return Error{fmt::format("a state store of {} bytes cannot hold one state of {} bytes with a page: it needs {}", options.budget_bytes,
                             options.state_bytes, least)};
  }
  // The bucket table is a power of two: at most two entries a node, which bytes_per_node() counts.
  const uint64_t blocks = std::min<uint64_t>((options.budget_bytes - fixed) / per_block, 0x7fffffff);
  SLUICE_TRY(BlockPool pool, BlockPool::create(static_cast<uint32_t>(blocks), options.page_bytes, options.bytes_backed));
  std::unique_ptr<StateStore> store(
      new StateStore(options, std::move(evictor), std::move(pool), static_cast<uint32_t>(blocks), static_cast<uint32_t>(records)));
  store->state_blocks_ = static_cast<uint32_t>(state_blocks);
  store->block_cost_ = per_block;
  store->fixed_bytes_ = fixed;
  return store;
}

StateStore::StateStore(const StoreOptions& options, std::unique_ptr<Evictor> evictor, BlockPool pool, uint32_t nodes, uint32_t records)
    : options_(options), evictor_(std::move(evictor)), pool_(std::move(pool)), tree_(nodes), records_(records), losses_(kLosses), loss_tags_(kLosses) {
  for (uint32_t i = records; i > 0; --i) free_records_.push_back(i - 1);
  walk_.path.reserve(std::min(nodes, kPathReserved));
  losses_met_.reserve(kLosses);
}

uint64_t StateStore::bytes_for(const StoreOptions& options, uint64_t blocks) {
  const uint64_t state_blocks = (options.state_bytes + options.page_bytes - 1) / options.page_bytes;
  const uint64_t per_block = options.page_bytes + PageTree::bytes_per_node() + kTableBytesPerBlock;
  const uint64_t record = sizeof(Checkpoint) + sizeof(uint32_t), per_record = std::max<uint64_t>(state_blocks, 1) * per_block;
  const uint64_t needed = std::max(blocks, state_blocks + 1) * per_block + 3 * record + kLosses * (sizeof(Loss) + sizeof(uint32_t));
  return needed + needed / (per_record - record) * record + record;  // create() makes a record for every per_record bytes
}

uint32_t StateStore::deepest(std::span<const int32_t> tokens, uint32_t tenant, uint64_t limit) {
  tree_.walk(tenant, tokens, walk_);
  uint32_t best = kNoCheckpoint;
  uint64_t best_position = 0;
  // From the deepest page up: nothing in a page above can lie deeper.
  for (uint64_t depth = walk_.path.size() + (walk_.partial == kNoNode ? 0 : 1); depth > 0 && best == kNoCheckpoint; --depth) {
    tree_.at_depth(tenant, tokens, walk_, depth - 1, [&](NodeId node, uint32_t common) {
      const uint64_t agreed = (depth - 1) * kPageTokens + common;
      for (uint32_t c = tree_[node].first_checkpoint; c != kNoCheckpoint; c = records_[c].next_in_node) {
        const uint64_t position = records_[c].position;
        if (position > agreed || position > limit || position <= best_position) continue;
        best_position = position;
        best = c;
      }
    });
  }
  return best;
}

uint64_t StateStore::resumable(uint32_t tenant, std::span<const int32_t> tokens) {
  if (tokens.size() < options_.tokens_min || tokens.empty()) return 0;
  const uint32_t found = deepest(tokens, tenant, tokens.size() - 1);
  if (state_blocks_ == 0) return std::min<uint64_t>(walk_.matched, tokens.size() - 1);
  return found == kNoCheckpoint ? 0 : records_[found].position;
}

uint32_t StateStore::find(uint32_t tenant, std::span<const int32_t> tokens) {
  const uint32_t found = deepest(tokens, tenant, tokens.size());
  return found != kNoCheckpoint && records_[found].position == tokens.size() ? found : kNoCheckpoint;
}

// A request is a tick; seconds first pay for the ticks of a burst before them, and are ticks beyond that.
void StateStore::count_time() {
  const uint64_t seconds = (now_ms_ - ticked_ms_) / 1000;
  const uint64_t paid = std::min(seconds, ticks_ahead_ + 1);
  ticked_ms_ += seconds * 1000;
  ticks_ahead_ = std::min(ticks_ahead_ + 1 - paid, kTicksAheadMax);
  tick_ += 1 + seconds - paid;
}

void StateStore::lookup(const LookupRequest& request, Lookup& out) {
  now_ms_ = std::max(now_ms_, request.now_ms);
  ++request_;
  count_time();
  ++stats_.lookups;
  expire();
  evictor_->next_request(*this);
  out.resume = out.matched = out.shared = out.payload = out.distance = out.lost_position = out.lost_at_ms = out.lost_to_bytes = 0;
  out.checkpoint = kNoCheckpoint;
  out.pages.clear();
  out.reason = MissReason::kNone;
  out.differs_at.reset();
  out.message.reset();
  if (request.program != options_.program) {
    out.reason = MissReason::kOtherProgram;
    return;
  }
  if (request.tokens.size() < options_.tokens_min || request.tokens.empty()) {
    out.reason = MissReason::kBelowMinimum;
    return;
  }
  const uint32_t found = deepest(request.tokens, request.tenant, request.tokens.size() - 1);
  out.matched = walk_.matched;
  out.shared = out.matched;
  find_losses(request);
  NodeId node = kNoNode;
  if (found != kNoCheckpoint) {
    const bool wanted_more = !losses_met_.empty() && losses_[losses_met_.back()].position > records_[found].position;
    refresh(found, wanted_more);
    Checkpoint& c = records_[found];
    ++c.leases;
    ++stats_.hits;
    out.checkpoint = found;
    out.resume = c.position;
    out.payload = c.payload;
    node = c.node;
  }
  if (state_blocks_ == 0 && walk_.matched > out.resume) {  // keys and values can be cut anywhere
    if (found == kNoCheckpoint) ++stats_.hits;
    out.resume = std::min<uint64_t>(walk_.matched, request.tokens.size() - 1);
    node = out.resume > walk_.path.size() * kPageTokens ? walk_.partial : out.resume == 0 ? kNoNode : walk_.path[(out.resume - 1) / kPageTokens];
  }
  if (node != kNoNode) {
    out.pages.resize(tree_[node].depth + 1);
    for (size_t i = out.pages.size(); i > 0; --i, node = tree_[node].parent) {
      out.pages[i - 1] = tree_[node].page;
      pool_.retain(tree_[node].page);
    }
  }
  explain(request, out);
  haunt(out);
}

void StateStore::hold(uint32_t checkpoint, Lookup& out) {
  Checkpoint& c = records_[checkpoint];
  SLUICE_CHECK(c.node != kNoNode && !c.building);
  ++c.leases;
  out.checkpoint = checkpoint;
  out.resume = c.position;
  out.payload = c.payload;
  NodeId node = c.node;
  out.pages.resize(tree_[node].depth + 1);
  for (size_t i = out.pages.size(); i > 0; --i, node = tree_[node].parent) {
    out.pages[i - 1] = tree_[node].page;
    pool_.retain(tree_[node].page);
  }
}

Result<BlockId> StateStore::take_state() {
  if (state_blocks_ == 0) return kNoBlock;
  if (!make_room(state_blocks_, kNoCheckpoint, true, false)) {
    return Error{fmt::format("the state store has no block left for a state of {} bytes: everything else is pinned or in use", options_.state_bytes)};
  }
  const BlockId first = pool_.take_chain(state_blocks_);
  note_peak();
  return first;
}

void StateStore::parts_of(BlockId first, std::vector<std::span<std::byte>>& out) {
  out.clear();
  uint64_t left = options_.state_bytes;
  for (BlockId block = first; block != kNoBlock && left > 0; block = pool_.next(block)) {
    const uint64_t part = std::min<uint64_t>(pool_.block_bytes(), left);
    out.push_back({pool_.data(block), part});
    left -= part;
  }
}

void StateStore::state_parts(uint32_t checkpoint, uint64_t bytes, std::vector<std::span<const std::byte>>& out) {
  out.clear();
  for (BlockId block = records_[checkpoint].state; block != kNoBlock && bytes > 0; block = pool_.next(block)) {
    const uint64_t part = std::min<uint64_t>(pool_.block_bytes(), bytes);
    out.push_back({pool_.data(block), part});
    bytes -= part;
  }
}

// A hit refreshes the one checkpoint that it consumes; those on the way to it are told that they were passed.
void StateStore::refresh(uint32_t id, bool wanted_more) {
  Checkpoint& c = records_[id];
  evictor_->consumed(*this, id, wanted_more);
  c.hits += wanted_more ? 0 : 1;
  c.passes = wanted_more ? c.passes + 1 : 0;
  c.left = false;
  c.last_use = request_;
  c.touched = c.counted_until = tick_;
  c.touched_ms = now_ms_;
  if (c.pin_until_ms > now_ms_) c.pin_until_ms = now_ms_ + c.pin_ttl_ms;
  for (uint32_t up = c.parent; up != kNoCheckpoint; up = records_[up].parent) {
    evictor_->passed(*this, up);
    ++records_[up].passes;
    records_[up].left = false;
    records_[up].touched = records_[up].counted_until = tick_;
    records_[up].touched_ms = now_ms_;
  }
}

void StateStore::release(Lookup& lookup) {
  for (const BlockId page : lookup.pages) pool_.release(page);
  lookup.pages.clear();
  if (lookup.checkpoint == kNoCheckpoint) return;
  SLUICE_CHECK(records_[lookup.checkpoint].leases > 0);
  --records_[lookup.checkpoint].leases;
  lookup.checkpoint = kNoCheckpoint;
}

uint64_t StateStore::bytes_freed(uint32_t id) {
  Checkpoint& c = records_[id];
  if (!c.exclusive_known) {
    c.exclusive_pages = 0;
    for (NodeId node = c.node; node < 0x80000000u && tree_[node].below == 1; node = tree_[node].parent) ++c.exclusive_pages;
    c.exclusive_known = true;
  }
  return (uint64_t{state_blocks_} + c.exclusive_pages) * block_cost_;
}

uint32_t StateStore::take_record() {
  if (free_records_.empty()) return kNoCheckpoint;
  const uint32_t id = free_records_.back();
  free_records_.pop_back();
  return id;
}

// One more checkpoint keeps `from` and everything above it.
void StateStore::count_up(NodeId from, uint32_t id) {
  for (NodeId node = from; node < 0x80000000u; node = tree_[node].parent) {
    Node& n = tree_[node];
    if (n.below == 1) records_[n.below_xor].exclusive_known = false;
    ++n.below;
    n.below_xor ^= id;
  }
}

bool StateStore::make_room(uint32_t blocks, uint32_t newcomer, bool always, bool spare_only) {
  while (pool_.free_count() < blocks) {
    if (spare_only) return false;
    const uint32_t victim = evictor_->choose(*this, always ? kNoCheckpoint : newcomer, blocks * block_cost_);
    if (victim == kNoCheckpoint) return false;
    evict(victim, blocks * block_cost_, false);
  }
  return true;
}

uint32_t StateStore::insert(const InsertRequest& request) {
  now_ms_ = std::max(now_ms_, request.now_ms);
  const uint64_t position = request.tokens.size();
  if (position < options_.tokens_min || position == 0) return kNoCheckpoint;
  const uint32_t before = deepest(request.tokens, request.tenant, position);
  if (before != kNoCheckpoint && records_[before].position == position) return before;
  const uint32_t id = take_record();
  if (id == kNoCheckpoint) {
    ++stats_.refused;
    return kNoCheckpoint;
  }
  // The node that will be the deepest one already there: a page that agrees and can hold or take the rest, or the last whole page.
  const bool shares_partial = walk_.partial != kNoNode && (walk_.matched == position || walk_.matched % kPageTokens == tree_[walk_.partial].used);
  const NodeId guard = shares_partial ? walk_.partial : walk_.path.empty() ? PageTree::root_of(request.tenant) : walk_.path.back();
  const uint64_t have = walk_.path.size() + (shares_partial ? 1 : 0);
  const uint64_t pages = (position + kPageTokens - 1) / kPageTokens;
  Checkpoint& c = records_[id];
  c = Checkpoint{};
  c.building = true;
  c.node = guard;
  c.kind = request.kind;
  c.turn = request.turn;
  c.position = position;
  c.parent = before;
  c.payload = request.payload;
  c.last_use = request_;
  c.touched = c.counted_until = tick_;
  c.touched_ms = now_ms_;
  if (before != kNoCheckpoint) ++records_[before].children;
  count_up(guard, id);
  evictor_->made(*this, id);
  const uint64_t new_pages = request.pages.empty() ? pages - have : 0, new_state = request.state_blocks == nullptr ? state_blocks_ : 0;
  if (!make_room(static_cast<uint32_t>(new_state + new_pages), id, request.always, request.spare_only) || tree_.free_count() < pages - have) {
    refuse(id, request.tokens);
    return kNoCheckpoint;
  }
  if (std::find(tenants_.begin(), tenants_.end(), request.tenant) == tenants_.end()) tenants_.push_back(request.tenant);
  place(request, id, guard);
  return id;
}

void StateStore::place(const InsertRequest& request, uint32_t id, NodeId guard) {
  const uint64_t position = request.tokens.size();
  NodeId last = guard;
  uint64_t depth = guard < 0x80000000u ? tree_[guard].depth + 1 : 0;
  if (depth > 0 && tree_[guard].used < kPageTokens) {
    const auto page_tokens = request.tokens.subspan((depth - 1) * kPageTokens, std::min(kPageTokens, position - (depth - 1) * kPageTokens));
    if (page_tokens.size() > tree_[guard].used) {
      tree_.extend(guard, page_tokens);
      if (!request.pages.empty()) {  // the sequence's own copy holds these tokens and more
        pool_.retain(request.pages[depth - 1]);
        pool_.release(tree_[guard].page);
        tree_[guard].page = request.pages[depth - 1];
      }
    }
  }
  for (; depth * kPageTokens < position; ++depth) {
    BlockId page = kNoBlock;
    if (request.pages.empty()) {
      page = pool_.take();
    } else {
      page = request.pages[depth];
      pool_.retain(page);
    }
    const auto page_tokens = request.tokens.subspan(depth * kPageTokens, std::min(kPageTokens, position - depth * kPageTokens));
    last = tree_.add(last, static_cast<uint32_t>(depth), page_tokens, page);
    tree_[last].below = 1;
    tree_[last].below_xor = id;
  }
  Checkpoint& c = records_[id];
  c.node = last;
  c.state = request.state_blocks == nullptr ? pool_.take_chain(state_blocks_) : std::exchange(*request.state_blocks, kNoBlock);
  c.next_in_node = tree_[last].first_checkpoint;
  tree_[last].first_checkpoint = id;
  c.building = false;
  uint64_t at = 0;
  for (BlockId block = c.state; block != kNoBlock && at < request.state.size(); block = pool_.next(block)) {
    const uint64_t bytes = std::min<uint64_t>(pool_.block_bytes(), request.state.size() - at);
    std::memcpy(pool_.data(block), request.state.data() + at, bytes);
    at += bytes;
  }
  if (walk_.matched == position) adopt_children(id);  // else some of these tokens are new: nothing goes on from them
  take_over_loss(id);
  ++stats_.made;
  ++stats_.held;
  note_peak();
}

void StateStore::copy_state(uint32_t checkpoint, std::span<std::byte> out) {
  uint64_t at = 0;
  for (BlockId block = records_[checkpoint].state; block != kNoBlock && at < out.size(); block = pool_.next(block)) {
    const uint64_t bytes = std::min<uint64_t>(pool_.block_bytes(), out.size() - at);
    std::memcpy(out.data() + at, pool_.data(block), bytes);
    at += bytes;
  }
}

void StateStore::tokens_of(uint32_t checkpoint, std::vector<int32_t>& out) const {
  out.resize(records_[checkpoint].position);
  for (NodeId node = records_[checkpoint].node; node < 0x80000000u; node = tree_[node].parent) {
    const uint64_t begin = uint64_t{tree_[node].depth} * kPageTokens;
    const auto tokens = tree_.tokens(node).first(std::min(kPageTokens, out.size() - begin));
    std::copy(tokens.begin(), tokens.end(), out.begin() + static_cast<ptrdiff_t>(begin));
  }
}

bool StateStore::is_prefix_of(const Checkpoint& shorter, const Checkpoint& longer) const {
  NodeId node = longer.node;
  const uint32_t depth = tree_[shorter.node].depth;
  while (tree_[node].depth > depth) node = tree_[node].parent;
  if (node == shorter.node) return true;
  if (tree_[node].parent != tree_[shorter.node].parent) return false;
  const uint64_t agree = shorter.position - uint64_t{depth} * kPageTokens;
  if (tree_[node].used < agree) return false;
  const auto tokens = tree_.tokens(node).first(agree);
  return std::equal(tokens.begin(), tokens.end(), tree_.tokens(shorter.node).begin());
}

void StateStore::adopt_children(uint32_t id) {
  Checkpoint& c = records_[id];
  if (c.parent != kNoCheckpoint && records_[c.parent].children == 1) return;  // it is the only one
  for (uint32_t other = 0; other < records_.size(); ++other) {
    Checkpoint& o = records_[other];
    if (other == id || o.node == kNoNode || o.building || o.parent != c.parent || o.position <= c.position || !is_prefix_of(c, o)) continue;
    if (o.parent != kNoCheckpoint) --records_[o.parent].children;
    o.parent = id;
    ++c.children;
  }
}

// The place for one more loss: its own, an empty one, or the oldest of its set.
StateStore::Loss& StateStore::loss_for(uint64_t prefix_hash, uint64_t hash) {
  const uint32_t set = static_cast<uint32_t>(prefix_hash) & (kLosses - kLossWays), tag = static_cast<uint32_t>(prefix_hash >> 32) | 1u;
  uint32_t place = set;
  for (uint32_t i = set; i < set + kLossWays; ++i) {
    if (loss_tags_[i] == 0 || (loss_tags_[i] == tag && losses_[i].hash == hash)) {
      place = i;
      break;
    }
    if (losses_[i].ghost.touched < losses_[place].ghost.touched) place = i;
  }
  if (loss_tags_[place] != 0) evictor_->forgotten(*this, losses_[place].ghost);
  loss_tags_[place] = tag;
  losses_[place] = {};
  losses_[place].prefix_hash = prefix_hash;
  losses_[place].hash = hash;
  return losses_[place];
}

// What is there is no ghost any more.
void StateStore::take_over_loss(uint32_t id) {
  Checkpoint& c = records_[id];
  const Node& node = tree_[c.node];
  const uint32_t set = static_cast<uint32_t>(node.prefix_hash) & (kLosses - kLossWays), tag = static_cast<uint32_t>(node.prefix_hash >> 32) | 1u;
  for (uint32_t i = set; i < set + kLossWays; ++i) {
    if (loss_tags_[i] != tag || losses_[i].position != c.position || losses_[i].prefix_hash != node.prefix_hash) continue;
    const auto tokens = tree_.tokens(c.node).first(c.position - uint64_t{node.depth} * kPageTokens);
    if (PageTree::hash_page(node.prefix_hash, tokens) != losses_[i].hash) continue;
    evictor_->forgotten(*this, losses_[i].ghost);
    c.hits = losses_[i].ghost.hits;
    loss_tags_[i] = 0;
  }
}

void StateStore::evict(uint32_t id, uint64_t need_bytes, bool expired) {
  const Checkpoint& c = records_[id];
  SLUICE_CHECK(may_go(c));
  const Node& node = tree_[c.node];
  const auto tokens = tree_.tokens(c.node).first(c.position - uint64_t{node.depth} * kPageTokens);
  Loss& loss = loss_for(node.prefix_hash, PageTree::hash_page(node.prefix_hash, tokens));
  loss.position = c.position;
  loss.at_ms = now_ms_;
  loss.need_bytes = need_bytes;
  loss.expired = expired;
  loss.kv_too = node.below == 1;
  ++(expired ? stats_.expired : stats_.evicted);
  unpin(id);
  evictor_->lost(*this, id, loss.ghost);
  drop(id);
  --stats_.held;
}

// A newcomer that was not worth its bytes: what it would have answered for is remembered all the same.
void StateStore::refuse(uint32_t id, std::span<const int32_t> tokens) {
  const Checkpoint& c = records_[id];
  ++stats_.refused;
  uint64_t depth = 0, hash = c.node;  // a root: what hash_page() of the first page starts from
  if (c.node < 0x80000000u) {
    depth = tree_[c.node].depth;
    hash = tree_[c.node].prefix_hash;
  }
  const uint64_t last = (c.position - 1) / kPageTokens;
  for (; depth < last; ++depth) hash = PageTree::hash_page(hash, tokens.subspan(depth * kPageTokens, kPageTokens));
  Loss& loss = loss_for(hash, PageTree::hash_page(hash, tokens.subspan(depth * kPageTokens)));
  loss.position = c.position;
  loss.at_ms = now_ms_;
  loss.refused = true;
  evictor_->lost(*this, id, loss.ghost);
  drop(id);
}

// Gives up a checkpoint and every page that only it kept. Also undoes one that is being built.
void StateStore::drop(uint32_t id) {
  Checkpoint& c = records_[id];
  if (!c.building) {
    uint32_t* link = &tree_[c.node].first_checkpoint;
    while (*link != id) link = &records_[*link].next_in_node;
    *link = c.next_in_node;
    pool_.release_chain(c.state);
  }
  for (NodeId node = c.node; node < 0x80000000u;) {
    Node& n = tree_[node];
    const NodeId parent = n.parent;
    --n.below;
    n.below_xor ^= id;
    if (n.below == 1) records_[n.below_xor].exclusive_known = false;
    if (n.below == 0) {
      pool_.release(n.page);
      tree_.remove(node, walk_);
    }
    node = parent;
  }
  if (c.children > 0) {
    for (Checkpoint& o : records_) {
      if (o.node != kNoNode && o.parent == id) {
        o.parent = c.parent;
        if (c.parent != kNoCheckpoint) ++records_[c.parent].children;
      }
    }
  }
  if (c.parent != kNoCheckpoint) --records_[c.parent].children;
  c = Checkpoint{};
  free_records_.push_back(id);
}

void StateStore::expire() {
  if (options_.ttl_ms == 0 || now_ms_ < next_expiry_ms_) return;
  next_expiry_ms_ = now_ms_ + options_.ttl_ms / 16 + 1;  // a scan now and then, not one a request
  for (uint32_t id = 0; id < records_.size(); ++id) {
    if (may_go(records_[id]) && records_[id].touched_ms + options_.ttl_ms <= now_ms_) evict(id, 0, true);
  }
}

Result<BlockId> StateStore::take_block() {
  if (!make_room(1, kNoCheckpoint, true, false)) {
    return Error{fmt::format("all {} blocks of the state store are pinned or in use by running conversations", pool_.capacity())};
  }
  const BlockId block = pool_.take();
  note_peak();
  return block;
}

Result<BlockId> StateStore::take_page() {
  SLUICE_TRY(const BlockId page, take_block());
  // Nobody sees what another conversation left in it, and a snapshot need not write what was never used.
  if (options_.bytes_backed) std::memset(pool_.data(page), 0, pool_.block_bytes());
  return page;
}

Status StateStore::pin(uint32_t id, uint64_t ttl_ms, uint64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  if (id >= records_.size() || records_[id].node == kNoNode) return Error{fmt::format("there is no checkpoint {} to pin", id)};
  for (uint32_t i = 0; i < records_.size(); ++i) {
    if (records_[i].pin_bytes > 0 && records_[i].pin_until_ms <= now_ms_) unpin(i);
  }
  unpin(id);
  Checkpoint& c = records_[id];
  const uint64_t bytes = (uint64_t{state_blocks_} + tree_[c.node].depth + 1) * block_cost_;  // shared pages count for each pin
  const uint64_t most = (options_.budget_bytes - std::min(options_.running_pages * block_cost_, options_.budget_bytes)) / 100 * options_.pin_percent;
  if (pinned_bytes_ + bytes > most) {
    return Error{fmt::format("pinning {} bytes beside {} already pinned exceeds the pins' share of {} bytes", bytes, pinned_bytes_, most)};
  }
  c.pin_bytes = bytes;
  c.pin_ttl_ms = ttl_ms;
  c.pin_until_ms = now_ms_ + ttl_ms;
  pinned_bytes_ += bytes;
  return {};
}

void StateStore::unpin(uint32_t id) {
  Checkpoint& c = records_[id];
  pinned_bytes_ -= c.pin_bytes;
  c.pin_bytes = c.pin_until_ms = c.pin_ttl_ms = 0;
}

void StateStore::forget(uint32_t id) {
  unpin(id);
  if (may_go(records_[id])) evict(id, 0, false);
}

void StateStore::note_peak() {
  const uint32_t used = pool_.capacity() - pool_.free_count();
  stats_.held_max = std::max(stats_.held_max, stats_.held);
  stats_.bytes_max = std::max(stats_.bytes_max, fixed_bytes_ + used * block_cost_);
}

StoreStats StateStore::stats() const {
  StoreStats out = stats_;
  const uint64_t used = pool_.capacity() - pool_.free_count();
  out.state_bytes = uint64_t{stats_.held} * state_blocks_ * pool_.block_bytes();
  out.page_bytes = used * pool_.block_bytes() - out.state_bytes;
  out.tree_bytes = fixed_bytes_ + used * (block_cost_ - pool_.block_bytes());
  return out;
}

}  // namespace sluice::engine
