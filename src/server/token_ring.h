// A bounded ring of records from the engine's thread to the I/O thread: one writer, one reader, no lock, no allocation once made.
// Contract: push() is false when a record does not fit; what is in the ring stays. pop() gives records in order, whole.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "base/check.h"

namespace sluice::server {

class TokenRing {
 public:
  // A power of two.
  explicit TokenRing(size_t bytes) : bytes_(std::make_unique_for_overwrite<std::byte[]>(bytes)), mask_(bytes - 1) { SLUICE_CHECK((bytes & mask_) == 0); }

  // The parts as one record.
  bool push(std::initializer_list<std::span<const std::byte>> parts) {
    size_t size = sizeof(uint32_t);
    for (const auto& part : parts) size += part.size();
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (size > mask_ + 1 - (tail - head_.load(std::memory_order_acquire))) return false;
    const auto length = static_cast<uint32_t>(size - sizeof(uint32_t));
    size_t at = copy_in(tail, std::as_bytes(std::span(&length, 1)));
    for (const auto& part : parts) at = copy_in(at, part);
    tail_.store(at, std::memory_order_release);
    return true;
  }

  // False when there is none.
  bool pop(std::vector<std::byte>& record) {
    const size_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return false;
    uint32_t length = 0;
    const size_t at = copy_out(head, std::as_writable_bytes(std::span(&length, 1)));
    record.resize(length);
    head_.store(copy_out(at, record), std::memory_order_release);
    return true;
  }

  // By the writer: is it worth a wake-up although nobody waits for single records?
  bool half_full() const { return tail_.load(std::memory_order_relaxed) - head_.load(std::memory_order_relaxed) > mask_ / 2; }

 private:
  size_t copy_in(size_t at, std::span<const std::byte> from) {
    const size_t first = std::min(from.size(), mask_ + 1 - (at & mask_));
    if (first > 0) std::memcpy(bytes_.get() + (at & mask_), from.data(), first);
    if (from.size() > first) std::memcpy(bytes_.get(), from.data() + first, from.size() - first);
    return at + from.size();
  }
  size_t copy_out(size_t at, std::span<std::byte> to) const {
    const size_t first = std::min(to.size(), mask_ + 1 - (at & mask_));
    if (first > 0) std::memcpy(to.data(), bytes_.get() + (at & mask_), first);
    if (to.size() > first) std::memcpy(to.data() + first, bytes_.get(), to.size() - first);
    return at + to.size();
  }

  const std::unique_ptr<std::byte[]> bytes_;
  const size_t mask_;
  alignas(64) std::atomic<size_t> head_{0};
  alignas(64) std::atomic<size_t> tail_{0};
};

}  // namespace sluice::server
