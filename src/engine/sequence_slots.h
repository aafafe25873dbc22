// The memory of running sequences: a fixed number of slots, each with one recurrent state of its own (planned apart from the store) and KV pages from the
// store's pool. Full pages are shared by reference with the store and with forks; a page that is not full is copied before its new owner writes.
// Contract: one thread (the engine's). Next: scheduler.h, which fills the slots; state_store.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "engine/state_store.h"
#include "engine/step_runner.h"
#include "platform/memory.h"

namespace sluice::engine {

struct SequenceSlot {
  runtime::Sequence memory;
  std::vector<int32_t> tokens;      // read, and to be read
  uint64_t read = 0;                // tokens that the state has seen
  std::vector<BlockId> pages;       // one reference each
  std::vector<uint8_t*> page_data;  // what memory.pages points to; as many as the context has
};

class SequenceSlots {
 public:
  // `with_backups`: a second state per slot, to take back what was drafted in vain.
  static Result<SequenceSlots> create(const StepSizes& sizes, uint32_t count, uint64_t context, bool with_backups, StateStore& store);
  static uint64_t bytes(const StepSizes& sizes, uint32_t count, uint64_t context, bool with_backups);

  SequenceSlot& operator[](uint32_t slot) { return slots_[slot]; }
  uint32_t free_count() const { return static_cast<uint32_t>(free_.size()); }

  // A slot without pages, whose state is whatever was there before: begin(), resume() or fork() comes next.
  uint32_t take();
  // An empty conversation: a state of zeros.
  void begin(uint32_t slot);
  void give_back(uint32_t slot);

  // Goes on from a checkpoint; takes the lookup's pages over and ends its lease.
  Status resume(uint32_t slot, Lookup& lookup);
  // Pages for positions [0, positions).
  Status reserve(uint32_t slot, uint64_t positions);
  // `to` (just taken) becomes what `from` is.
  Status fork(uint32_t from, uint32_t to);

  std::span<std::byte> state(uint32_t slot) { return {slots_[slot].memory.state, state_bytes_}; }
  void back_up(uint32_t slot);
  void take_back(uint32_t slot);

 private:
  SequenceSlots() = default;
  Status add_page(SequenceSlot& slot);

  StateStore* store_ = nullptr;
  uint64_t page_bytes_ = 0, state_bytes_ = 0, stride_ = 0;
  platform::AnonymousMapping states_, backups_;
  std::vector<SequenceSlot> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace sluice::engine
