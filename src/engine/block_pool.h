// A fixed number of equal blocks: a KV page is one block, a checkpoint a chain of them, so states and pages share one budget and nothing fragments.
// Blocks are counted by reference; with `bytes_backed` the memory behind them is one mapping taken at create(), otherwise only numbers are kept.
// Next: state_store.h, which owns the pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/result.h"
#include "platform/memory.h"

namespace sluice::engine {

using BlockId = uint32_t;
inline constexpr BlockId kNoBlock = UINT32_MAX;

class BlockPool {
 public:
  static Result<BlockPool> create(uint32_t count, uint64_t block_bytes, bool bytes_backed);

  // One reference each; the caller has made sure that there is a free block.
  BlockId take();
  void retain(BlockId block);
  void release(BlockId block);

  // Chains: blocks of one checkpoint, linked in order.
  BlockId take_chain(uint32_t count);
  void release_chain(BlockId first);
  BlockId next(BlockId block) const { return next_[block]; }

  std::byte* data(BlockId block) { return memory_ ? memory_->bytes().data() + uint64_t{block} * block_bytes_ : nullptr; }
  uint32_t references(BlockId block) const { return references_[block]; }
  uint32_t capacity() const { return static_cast<uint32_t>(references_.size()); }
  uint32_t free_count() const { return static_cast<uint32_t>(free_.size()); }
  uint64_t block_bytes() const { return block_bytes_; }

 private:
  std::vector<uint32_t> references_;
  std::vector<BlockId> next_;
  std::vector<BlockId> free_;  // a stack; capacity() entries reserved once
  uint64_t block_bytes_ = 0;
  std::optional<platform::AnonymousMapping> memory_;
};

}  // namespace sluice::engine
