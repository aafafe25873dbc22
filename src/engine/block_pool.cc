#include "engine/block_pool.h"

namespace sluice::engine {

Result<BlockPool> BlockPool::create(uint32_t count, uint64_t block_bytes, bool bytes_backed) {
  BlockPool pool;
  pool.block_bytes_ = block_bytes;
  pool.references_.assign(count, 0);
  pool.next_.assign(count, kNoBlock);
  pool.free_.reserve(count);
  for (uint32_t i = count; i > 0; --i) pool.free_.push_back(i - 1);
  if (bytes_backed) {
    SLUICE_TRY(platform::AnonymousMapping memory, platform::AnonymousMapping::map(uint64_t{count} * block_bytes, platform::AnonymousMapping::Pages::kNormal));
    pool.memory_.emplace(std::move(memory));
  }
  return pool;
}

BlockId BlockPool::take() {
  SLUICE_CHECK(!free_.empty());
  const BlockId block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  next_[block] = kNoBlock;
  return block;
}

void BlockPool::retain(BlockId block) {
  SLUICE_CHECK(references_[block] > 0);
  ++references_[block];
}

void BlockPool::release(BlockId block) {
  SLUICE_CHECK(references_[block] > 0);
  if (--references_[block] == 0) free_.push_back(block);
}

BlockId BlockPool::take_chain(uint32_t count) {
  BlockId first = kNoBlock;
  for (uint32_t i = 0; i < count; ++i) {
    const BlockId block = take();
    next_[block] = first;
    first = block;
  }
  return first;
}

void BlockPool::release_chain(BlockId first) {
  while (first != kNoBlock) {
    const BlockId following = next_[first];
    release(first);
    first = following;
  }
}

}  // namespace sluice::engine
