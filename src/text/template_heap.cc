// The render's bump allocator and budgets (template_heap.h). Blocks start at 16 KiB and double up to 1 MiB; a larger request gets its own.
// Contract: every refusal names the limit. Next: template_string.cc.
#include "text/template_heap.h"

#include <algorithm>

#include <fmt/format.h>

namespace sluice::text::jinja {

void Heap::fail(std::string sentence) {
  if (failed_) return;
  failed_ = true;
  error_ = std::move(sentence);
}

bool Heap::afford(size_t count) {
  if (failed_) return false;
  if (count <= limits_.memory_bytes && used_ + held_ <= limits_.memory_bytes - count) return true;
  fail(fmt::format("the template needs more than {} bytes of memory (the limit for one render)", limits_.memory_bytes));
  return false;
}

bool Heap::hold(size_t count) {
  if (!afford(count)) return false;
  held_ += count;
  return true;
}

bool Heap::work(uint64_t steps) {
  if (failed_) return false;
  steps_ += std::min<uint64_t>(steps, limits_.steps + 1);
  if (steps_ > limits_.steps) {
    fail(fmt::format("the template takes more than {} steps (the limit for one render)", limits_.steps));
  } else if (used_ + held_ > limits_.memory_bytes) {
    (void)afford(0);
  }
  return !failed_;
}

bool Heap::enter() {
  if (failed_) return false;
  if (depth_ >= limits_.depth) {
    fail(fmt::format("the template nests more than {} levels deep while running (the limit for one render)", limits_.depth));
    return false;
  }
  ++depth_;
  return true;
}

void* Heap::take(size_t count, size_t alignment) {
  count = std::max<size_t>(count, 1);  // never nullptr
  const size_t padding = (alignment - reinterpret_cast<uintptr_t>(next_) % alignment) % alignment;
  used_ += count + padding;
  if (count + padding <= left_) {
    char* result = next_ + padding;
    next_ = result + count;
    left_ -= count + padding;
    return result;
  }
  constexpr size_t kFirstBlock = 16 << 10;
  constexpr size_t kBlockMax = 1 << 20;
  const size_t block = std::min(kBlockMax, kFirstBlock << std::min<size_t>(blocks_.size(), 6));
  if (count > block / 4) {  // its own block, so that the current one stays in use
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(count));
    return blocks_.back().get();
  }
  blocks_.push_back(std::make_unique_for_overwrite<char[]>(block));
  next_ = blocks_.back().get() + count;
  left_ = block - count;
  return blocks_.back().get();
}

}  // namespace sluice::text::jinja
