// For the tests of this room: bytes that end at an unreadable page, so that reading one byte too far is a crash in every build; and the heap
// that a call takes at its peak.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/check.h"

namespace sluice::weights {

class GuardedBytes {
 public:
  explicit GuardedBytes(size_t bytes_max) : pages_((bytes_max + kPage - 1) / kPage * kPage) {
    void* base = ::mmap(nullptr, pages_ + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SLUICE_CHECK(base != MAP_FAILED);
    base_ = static_cast<std::byte*>(base);
    SLUICE_CHECK(::mprotect(base_ + pages_, kPage, PROT_NONE) == 0);
  }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  ~GuardedBytes() { ::munmap(base_, pages_ + kPage); }

  // A copy whose end is the end of what may be read.
  std::span<std::byte> hold(std::span<const std::byte> bytes) {
    SLUICE_CHECK(bytes.size() <= pages_);
    std::byte* at = base_ + pages_ - bytes.size();
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    return {at, bytes.size()};
  }

 private:
  static constexpr size_t kPage = 4096;
  size_t pages_;
  std::byte* base_ = nullptr;
};

// Counted by the operator new in reader_test.cc.
void heap_peak_reset();
uint64_t heap_peak_bytes();  // above what was in use at the reset

}  // namespace sluice::weights
