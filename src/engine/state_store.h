// The state store: recurrent states and KV pages of conversations, shared by prefix, inside a byte budget that is taken once and counts states, pages and
// tree. lookup() finds the deepest checkpoint of a prompt and says why not deeper; insert() keeps a checkpoint with the pages below it or refuses.
// KV without a state is never kept, so it never counts as a hit. Not thread-safe: the engine's one thread owns it; the clock is the caller's.
// Rules and evidence: docs/state.md. Next: page_tree.h, eviction.h, placement.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/checkpoint.h"

namespace sluice::engine {

struct StoreOptions {
  uint64_t budget_bytes = 0;
  uint64_t page_bytes = 0;        // KV of 64 tokens
  uint64_t state_bytes = 0;       // one recurrent state
  CostModel cost;
  uint64_t program = 0;           // fingerprint of model and program; a lookup for another one misses
  uint64_t tokens_min = 1;        // shorter prompts are neither kept nor looked up
  uint64_t ttl_ms = 0;            // untouched for longer: gone; 0: never
  uint32_t pin_percent = 50;      // of the budget, for pins
  uint64_t running_pages = 0;     // blocks that running sequences may take at most: never promised to pins
  bool bytes_backed = false;      // memory behind the blocks (an engine) or only their numbers (replay, tests)
};

// Why a lookup did not resume at the prompt's last token. The names are stable: they stand in logs and answers.
#define SLUICE_MISS_REASONS(X)                     \
  X(kNoSuchPrefix, "no such prefix")               \
  X(kDiffers, "differs")                           \
  X(kCheckpointEvicted, "checkpoint evicted")      \
  X(kNearestCheckpoint, "nearest checkpoint")      \
  X(kKvEvicted, "KV evicted")                      \
  X(kOtherTenant, "other tenant")                  \
  X(kOtherProgram, "other model or program")       \
  X(kExpired, "expired")                           \
  X(kBelowMinimum, "below minimum")                \
  X(kDiskReadFailed, "disk read failed")
enum class MissReason : uint8_t {
  kNone,  // resumed at the last token, or the prompt only goes on where the stored text ended
#define X(name, text) name,
  SLUICE_MISS_REASONS(X)
#undef X
};
const char* miss_reason_name(MissReason reason);

struct LookupRequest {
  uint32_t tenant = 0;
  uint64_t program = 0;
  uint64_t now_ms = 0;
  std::span<const int32_t> tokens;
  std::span<const uint32_t> message_starts;  // optional: positions, rising; names the message that differs
};

struct Lookup {
  uint64_t resume = 0;                       // tokens that need not be computed; at most tokens - 1
  uint32_t checkpoint = kNoCheckpoint;       // leased until release(); a model without recurrent state may resume where there is none
  uint64_t payload = 0;
  std::vector<BlockId> pages;                // of positions [0, resume), referenced until release(); copy the last one if it is not full
  uint64_t matched = 0;                      // tokens that agree with something stored
  MissReason reason = MissReason::kNone;
  std::optional<uint64_t> differs_at;        // first token that differs from what is stored, and what is stored there
  int32_t stored_token = 0;
  std::optional<uint32_t> message;           // index in message_starts
  uint64_t distance = 0;                     // kNearestCheckpoint: tokens between the checkpoint and where the prompt parts
  uint64_t lost_position = 0, lost_at_ms = 0, lost_to_bytes = 0;  // evicted or expired: which, when, for a need of how many bytes
  uint64_t shared = 0;                       // tokens that agree with something stored or lost: where a junction is, at least `matched`
};

struct InsertRequest {
  uint32_t tenant = 0;
  uint64_t now_ms = 0;
  std::span<const int32_t> tokens;           // all tokens read: the checkpoint's position is tokens.size()
  Kind kind = Kind::kPromptEnd;
  uint32_t turn = 0;
  uint64_t payload = 0;
  std::span<const std::byte> state;          // bytes_backed: state_bytes of it
  BlockId* state_blocks = nullptr;           // or its blocks, from take_state(); kNoBlock afterwards if they are the checkpoint's now
  std::span<const BlockId> pages;            // bytes_backed: the sequence's pages of all its positions, from take_page()
  bool spare_only = false;                   // keep it only if nothing has to go for it
  bool always = false;                       // evict whatever is in the way
};

struct StoreStats {
  uint64_t lookups = 0, hits = 0, made = 0, refused = 0, evicted = 0, expired = 0;
  uint32_t held = 0, held_max = 0;
  uint64_t state_bytes = 0, page_bytes = 0, tree_bytes = 0, bytes_max = 0;  // bytes_max: the highest sum, never above the budget
};

class StateStore final : private StoreView {
 public:
  static Result<std::unique_ptr<StateStore>> create(const StoreOptions& options, std::unique_ptr<Evictor> evictor);
  // The least budget with which there are `blocks` blocks (and room for one state with a page), tables included.
  static uint64_t bytes_for(const StoreOptions& options, uint64_t blocks);

  // Where lookup() would resume, without counting as a use.
  uint64_t resumable(uint32_t tenant, std::span<const int32_t> tokens);
  // The checkpoint at exactly these tokens' end, or kNoCheckpoint.
  uint32_t find(uint32_t tenant, std::span<const int32_t> tokens);
  void lookup(const LookupRequest& request, Lookup& out);  // `out` is reused between calls: nothing is allocated once it has grown
  void release(Lookup& lookup);
  // The checkpoint's number, or kNoCheckpoint if it was not worth its bytes. It may go at any later insert().
  uint32_t insert(const InsertRequest& request);

  // Pages for a running sequence (bytes_backed); evicts for them, an error when only pinned and running ones are left.
  Result<BlockId> take_page();
  // The same for one who writes all of it: what another conversation left is still there.
  Result<BlockId> take_block();
  // Blocks for a state that is still to be filled, for insert() or release_state(); evicts for them.
  Result<BlockId> take_state();
  void release_state(BlockId first) { pool_.release_chain(first); }
  void parts_of(BlockId first, std::vector<std::span<std::byte>>& out);
  void retain_page(BlockId page) { pool_.retain(page); }
  void release_page(BlockId page) { pool_.release(page); }
  std::byte* page_data(BlockId page) { return pool_.data(page); }
  void copy_state(uint32_t checkpoint, std::span<std::byte> out);
  // All that it has read.
  void tokens_of(uint32_t checkpoint, std::vector<int32_t>& out) const;
  // A lease on a checkpoint and its pages, as a hit would hold them, without counting as one; until release().
  void hold(uint32_t checkpoint, Lookup& out);
  // Where its state lies, `bytes` of it in order; good while it is leased.
  void state_parts(uint32_t checkpoint, uint64_t bytes, std::vector<std::span<const std::byte>>& out);

  // A pin is a lease: it ends `ttl_ms` after the last hit. Refused with the numbers when pins would hold more than their share.
  Status pin(uint32_t checkpoint, uint64_t ttl_ms, uint64_t now_ms);
  void unpin(uint32_t checkpoint);
  // Unpins it and lets its memory go; while somebody goes on from it, it stays until it is evicted.
  void forget(uint32_t checkpoint);

  const Checkpoint& checkpoint(uint32_t id) const { return records_[id]; }
  std::span<Checkpoint> records() override { return records_; }
  uint32_t free_blocks() const { return pool_.free_count(); }
  uint32_t blocks() const { return pool_.capacity(); }
  // Beyond what running sequences may need: as many as may be held against eviction at one time.
  uint64_t spare_blocks() const { return pool_.capacity() - std::min<uint64_t>(options_.running_pages, pool_.capacity()); }
  uint32_t state_blocks() const { return state_blocks_; }
  StoreStats stats() const;
  // Everything that must always hold, slowly; for tests.
  void check() const;

 private:
  static constexpr uint32_t kLosses = 4096, kLossWays = 4;
  // A checkpoint that went or was refused. Hashes and positions, no text; known again by the hash of all its tokens.
  struct Loss {
    uint64_t hash = 0, prefix_hash = 0, position = 0, at_ms = 0, need_bytes = 0;
    bool expired = false, kv_too = false, refused = false;
    Ghost ghost;
  };

  StateStore(const StoreOptions& options, std::unique_ptr<Evictor> evictor, BlockPool pool, uint32_t nodes, uint32_t records);

  uint64_t request() const override { return request_; }
  uint64_t tick() const override { return tick_; }
  bool may_go(const Checkpoint& c) const override { return c.node != kNoNode && !c.building && c.leases == 0 && c.pin_until_ms <= now_ms_; }
  uint64_t bytes_freed(uint32_t id) override;
  uint64_t state_bytes() const override { return state_blocks_ * block_cost_; }
  uint64_t page_bytes() const override { return block_cost_; }
  const CostModel& cost() const override { return options_.cost; }

  uint32_t deepest(std::span<const int32_t> tokens, uint32_t tenant, uint64_t limit);
  void count_time();
  void refresh(uint32_t id, bool wanted_more);
  void explain(const LookupRequest& request, Lookup& out);
  void explain_difference(const LookupRequest& request, Lookup& out) const;
  void find_losses(const LookupRequest& request);
  void haunt(Lookup& out);
  bool other_tenant_has(const LookupRequest& request) const;

  bool make_room(uint32_t blocks, uint32_t newcomer, bool always, bool spare_only);
  uint32_t take_record();
  void place(const InsertRequest& request, uint32_t id, NodeId guard);
  void adopt_children(uint32_t id);
  bool is_prefix_of(const Checkpoint& shorter, const Checkpoint& longer) const;
  void count_up(NodeId from, uint32_t id);
  void evict(uint32_t id, uint64_t need_bytes, bool expired);
  void refuse(uint32_t id, std::span<const int32_t> tokens);
  Loss& loss_for(uint64_t prefix_hash, uint64_t hash);
  void take_over_loss(uint32_t id);
  void drop(uint32_t id);
  void expire();
  void note_peak();

  StoreOptions options_;
  std::unique_ptr<Evictor> evictor_;
  BlockPool pool_;
  PageTree tree_;
  std::vector<Checkpoint> records_;
  std::vector<uint32_t> free_records_;
  std::vector<Loss> losses_;          // sets of four by prefix_hash, the oldest of a set goes
  std::vector<uint32_t> loss_tags_;   // of each one's prefix_hash, to read a set at once; 0: none
  std::vector<uint32_t> losses_met_;  // by the last lookup, rising positions
  std::vector<uint32_t> tenants_;
  Walk walk_;
  uint32_t state_blocks_ = 0;
  uint64_t block_cost_ = 0;  // a block and its share of the tables
  uint64_t fixed_bytes_ = 0;
  uint64_t request_ = 0, tick_ = 0, ticked_ms_ = 0, ticks_ahead_ = 0, now_ms_ = 0, next_expiry_ms_ = 0, pinned_bytes_ = 0;
  StoreStats stats_;
};

}  // namespace sluice::engine
