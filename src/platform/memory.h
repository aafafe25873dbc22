// Anonymous page-aligned memory for arenas, and what the kernel says this process and this machine use. Nothing here is called per token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/result.h"

namespace sluice::platform {

// Zeroed, private memory aligned to at least a page; to 2 MiB where huge pages are asked for. Pages are taken when first touched, or all at
// once by touch().
class AnonymousMapping {
 public:
  enum class Pages : uint8_t { kNormal, kHuge };  // kHuge asks for transparent huge pages; the kernel may say no

  static Result<AnonymousMapping> map(uint64_t bytes, Pages pages);
  AnonymousMapping() = default;
  AnonymousMapping(AnonymousMapping&& other) noexcept;
  AnonymousMapping& operator=(AnonymousMapping&& other) noexcept;
  ~AnonymousMapping();

  std::span<std::byte> bytes() const { return {data_, size_}; }
  void touch() const;                                            // every page becomes resident
  void release(uint64_t offset, uint64_t bytes) const;           // whole pages inside the range go back to the kernel and read as zeros

 private:
  std::byte* data_ = nullptr;  // aligned; inside [base_, base_ + reserved_)
  size_t size_ = 0;
  void* base_ = nullptr;
  size_t reserved_ = 0;
};

// From /proc/self/status; zeros where it cannot be read.
struct ProcessMemory {
  uint64_t resident_bytes = 0;            // VmRSS
  uint64_t resident_anonymous_bytes = 0;  // RssAnon: what no file backs
  uint64_t resident_peak_bytes = 0;       // VmHWM
};
ProcessMemory process_memory();

// What may still be allocated: MemAvailable, cut by the cgroup's limit. 0 = not known.
uint64_t available_memory_bytes();

// "VmRSS:   123 kB" in the text of a /proc file, in bytes.
std::optional<uint64_t> proc_kilobytes(std::string_view text, std::string_view key);

}  // namespace sluice::platform
