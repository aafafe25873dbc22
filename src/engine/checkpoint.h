// What the store knows of one checkpoint (a saved recurrent state at a position), and the rules by which one is chosen to go.
// Contract: an Evictor names a checkpoint that may_go(), or kNoCheckpoint when the newcomer is worth less than everything held.
// Next: state_store.h (the store), eviction.h (the rules).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "engine/block_pool.h"
#include "engine/page_tree.h"

namespace sluice::engine {

enum class Kind : uint8_t { kPromptEnd, kBeforeEnd, kAnswerEnd, kSystemEnd, kJunction, kGrid };
inline constexpr uint32_t kKinds = 6;

// Demand that goes on for a state that is not there any more, or was never kept: whoever asks for it resumes at the nearest one before it.
struct Ghost {
  uint64_t touched = 0;        // ticks: made, asked for or passed
  uint64_t counted_until = 0;  // waiting was told to the learner up to here
  uint32_t hits = 0, passes = 0, turn = 0;
  bool left = false;
  Kind kind = Kind::kPromptEnd;
};
// What a checkpoint answers for beside its own demand: ghosts below it, in uses of their classes.
struct Inherited {
  double inner = 0;            // of ghosts that something kept goes on from, in multiples of its own rate: they age together
  double weight = 0;           // of ghosts at the end of their line, in multiples of the strongest one's rate
  uint32_t row = 0;            // the strongest one's class
  uint64_t touched = 0;        // and its last use
};

struct Checkpoint {
  NodeId node = kNoNode;                   // page that holds its last position; kNoNode: the record is free
  uint32_t next_in_node = kNoCheckpoint;
  uint32_t parent = kNoCheckpoint;         // nearest checkpoint at a shorter prefix of the same tokens
  uint32_t children = 0;                   // checkpoints whose parent this is
  BlockId state = kNoBlock;                // chain
  Kind kind = Kind::kPromptEnd;
  bool building = false;                   // insert() is not done with it
  bool exclusive_known = false;
  bool left = false;                       // the evictor's: since its last use, traffic went on elsewhere from above it
  uint32_t exclusive_pages = 0;            // pages that go with it (when exclusive_known)
  uint32_t leases = 0;                     // lookups in use
  uint32_t hits = 0;
  uint32_t passes = 0;                     // lookups that went deeper since the last hit
  uint32_t turn = 0;                       // 0: its request found nothing to resume
  uint64_t position = 0;                   // tokens read
  uint64_t last_use = 0;                   // requests: made or consumed
  uint64_t touched = 0;                    // ticks: made, consumed or passed
  uint64_t counted_until = 0;              // waiting was told to the learner up to here
  uint64_t payload = 0;                    // the caller's word, returned on a hit
  uint64_t touched_ms = 0;
  uint64_t pin_until_ms = 0;               // 0: not pinned
  uint64_t pin_ttl_ms = 0;
  uint64_t pin_bytes = 0;
  Inherited inherited;
};

// Cost of computing tokens [from, to): a linear part and attention's.
struct CostModel {
  double linear = 1.0;
  double quadratic = 0.0;
  double between(uint64_t from, uint64_t to) const {
    const double a = static_cast<double>(from), b = static_cast<double>(to);
    return linear * (b - a) + quadratic * (b * b - a * a);
  }
};

// What an Evictor may ask of the store.
class StoreView {
 public:
  virtual ~StoreView() = default;
  virtual std::span<Checkpoint> records() = 0;  // free ones among them
  virtual uint64_t request() const = 0;
  // Idle times: one a request, and one a second where requests come more slowly. People and tools pause in seconds, whatever others do meanwhile.
  virtual uint64_t tick() const = 0;
  virtual bool may_go(const Checkpoint& checkpoint) const = 0;  // in use, not leased, not pinned, complete
  virtual uint64_t bytes_freed(uint32_t checkpoint) = 0;
  virtual uint64_t state_bytes() const = 0;
  virtual uint64_t page_bytes() const = 0;
  virtual const CostModel& cost() const = 0;
};

class Evictor {
 public:
  virtual ~Evictor() = default;
  virtual void next_request(StoreView&) {}
  virtual void made(StoreView&, uint32_t) {}           // being built: kind, position and parent are known
  // A lookup resumed here, and wanted a ghost below it or no more than this; before the record is refreshed.
  virtual void consumed(StoreView&, uint32_t, bool /*wanted_more*/) {}
  virtual void passed(StoreView&, uint32_t) {}         // a lookup resumed deeper on the same path; before the record is refreshed
  virtual void lost(StoreView&, uint32_t, Ghost&) {}   // evicted or refused, its parent still known
  virtual void asked(StoreView&, Ghost&) {}            // a lookup wanted what is not there
  virtual void ghost_passed(StoreView&, Ghost&) {}     // a lookup went by; ghosts that nobody meets are told of by forgotten()
  virtual void forgotten(StoreView&, Ghost&) {}
  // `newcomer` is a record being built; `newcomer_bytes` what it takes.
  virtual uint32_t choose(StoreView& store, uint32_t newcomer, uint64_t newcomer_bytes) = 0;
};

}  // namespace sluice::engine
