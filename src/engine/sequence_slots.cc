#include "engine/sequence_slots.h"

#include <algorithm>
#include <cstring>

namespace sluice::engine {
namespace {

constexpr uint64_t kAlignment = 64;

uint64_t state_stride(const StepSizes& sizes) { return program::round_up(std::max<uint64_t>(sizes.state_bytes, kAlignment), kAlignment); }

}  // namespace

uint64_t SequenceSlots::bytes(const StepSizes& sizes, uint32_t count, uint64_t context, bool with_backups) {
  const uint64_t pages = (context + kPageTokens - 1) / kPageTokens;
  return count * (state_stride(sizes) * (with_backups ? 2 : 1) + context * sizeof(int32_t) + pages * (sizeof(BlockId) + sizeof(uint8_t*)));
}

Result<SequenceSlots> SequenceSlots::create(const StepSizes& sizes, uint32_t count, uint64_t context, bool with_backups, StateStore& store) {
  SequenceSlots out;
  out.store_ = &store;
  out.page_bytes_ = sizes.page_bytes;
  out.state_bytes_ = sizes.state_bytes;
  out.stride_ = state_stride(sizes);
  SLUICE_TRY(out.states_, platform::AnonymousMapping::map(count * out.stride_, platform::AnonymousMapping::Pages::kHuge));
  // The plan counts these bytes anyway. Taken now, or a fork into slots that nobody has used yet waits for the kernel: 570 ms of CPU time in place of 75 for
  // 1 GB (with small pages 110).
  out.states_.touch();
  if (with_backups && sizes.state_bytes > 0) {
    SLUICE_TRY(out.backups_, platform::AnonymousMapping::map(count * out.stride_, platform::AnonymousMapping::Pages::kNormal));
  }
  const uint64_t pages = sizes.page_bytes == 0 ? 0 : (context + kPageTokens - 1) / kPageTokens;
  out.slots_.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    SequenceSlot& slot = out.slots_[i];
    slot.tokens.reserve(context + 1);
    slot.pages.reserve(pages);
    slot.page_data.resize(pages);
    slot.memory = {out.states_.bytes().data() + i * out.stride_, slot.page_data.data()};
    out.free_.push_back(count - 1 - i);
  }
  return out;
}

uint32_t SequenceSlots::take() {
  SLUICE_CHECK(!free_.empty());
  const uint32_t index = free_.back();
  free_.pop_back();
  SequenceSlot& slot = slots_[index];
  slot.tokens.clear();
  slot.read = 0;
  return index;
}

void SequenceSlots::begin(uint32_t slot) { std::memset(slots_[slot].memory.state, 0, state_bytes_); }

void SequenceSlots::give_back(uint32_t index) {
  SequenceSlot& slot = slots_[index];
  for (const BlockId page : slot.pages) store_->release_page(page);
  slot.pages.clear();
  free_.push_back(index);
}

Status SequenceSlots::add_page(SequenceSlot& slot) {
  SLUICE_TRY(const BlockId page, store_->take_page());
  slot.page_data[slot.pages.size()] = reinterpret_cast<uint8_t*>(store_->page_data(page));
  slot.pages.push_back(page);
  return {};
}

Status SequenceSlots::reserve(uint32_t index, uint64_t positions) {
  if (page_bytes_ == 0) return {};
  SequenceSlot& slot = slots_[index];
  SLUICE_CHECK(positions <= slot.page_data.size() * kPageTokens);
  while (slot.pages.size() * kPageTokens < positions) SLUICE_TRY_VOID(add_page(slot));
  return {};
}

Status SequenceSlots::resume(uint32_t index, Lookup& lookup) {
  SequenceSlot& slot = slots_[index];
  SLUICE_CHECK(slot.pages.empty());
  if (state_bytes_ > 0) store_->copy_state(lookup.checkpoint, {slot.memory.state, state_bytes_});
  slot.read = lookup.resume;
  if (page_bytes_ > 0) {
    const uint64_t full = lookup.resume / kPageTokens;
    for (uint64_t i = 0; i < full; ++i) {  // the lookup's references become the slot's
      slot.page_data[i] = reinterpret_cast<uint8_t*>(store_->page_data(lookup.pages[i]));
      slot.pages.push_back(lookup.pages[i]);
    }
    lookup.pages.erase(lookup.pages.begin(), lookup.pages.begin() + static_cast<std::ptrdiff_t>(full));
    if (lookup.resume % kPageTokens != 0) {
      if (const Status added = add_page(slot); !added.ok()) {
        store_->release(lookup);
        return added;
      }
      std::memcpy(slot.page_data[full], store_->page_data(lookup.pages[0]), page_bytes_);
    }
  }
  store_->release(lookup);
  return {};
}

Status SequenceSlots::fork(uint32_t from, uint32_t to) {
  const SequenceSlot& source = slots_[from];
  SequenceSlot& slot = slots_[to];
  SLUICE_CHECK(slot.pages.empty());
  slot.tokens.assign(source.tokens.begin(), source.tokens.end());
  slot.read = source.read;
  std::memcpy(slot.memory.state, source.memory.state, state_bytes_);
  if (page_bytes_ == 0) return {};
  const uint64_t full = source.read / kPageTokens;
  for (uint64_t i = 0; i < full; ++i) {
    store_->retain_page(source.pages[i]);
    slot.page_data[i] = source.page_data[i];
    slot.pages.push_back(source.pages[i]);
  }
  if (source.read % kPageTokens != 0) {
    SLUICE_TRY_VOID(add_page(slot));
    std::memcpy(slot.page_data[full], source.page_data[full], page_bytes_);
  }
  return {};
}

void SequenceSlots::back_up(uint32_t slot) {
  if (state_bytes_ > 0) std::memcpy(backups_.bytes().data() + slot * stride_, slots_[slot].memory.state, state_bytes_);
}

void SequenceSlots::take_back(uint32_t slot) {
  if (state_bytes_ > 0) std::memcpy(slots_[slot].memory.state, backups_.bytes().data() + slot * stride_, state_bytes_);
}

}  // namespace sluice::engine
