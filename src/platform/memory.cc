#include "platform/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "platform/file.h"

namespace sluice::platform {
namespace {

constexpr size_t kHugePageBytes = 2u << 20;
constexpr uint64_t kProcFileBytesMax = 1u << 20;

size_t page_bytes() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

std::string proc_file(const char* path) {
  Result<std::string> text = read_whole_file(path, kProcFileBytesMax);
  return text.ok() ? std::move(text).value() : std::string();
}

// A cgroup v2 number; "max" and a missing file are "no limit".
std::optional<uint64_t> cgroup_number(const char* path) {
  const std::string text = proc_file(path);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

}  // namespace

Result<AnonymousMapping> AnonymousMapping::map(uint64_t bytes, Pages pages) {
  AnonymousMapping mapping;
  if (bytes == 0) return mapping;
  const size_t slack = pages == Pages::kHuge ? kHugePageBytes : 0;
  const auto refused = [&](int code) {
    return Error{"cannot map " + std::to_string(bytes) + " bytes of memory: " + std::system_category().message(code)};
  };
  if (bytes > SIZE_MAX / 2 - slack) return refused(ENOMEM);
  const size_t reserved = static_cast<size_t>(bytes) + slack;
  void* base = ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return refused(errno);
  const uintptr_t start = reinterpret_cast<uintptr_t>(base);
  const uintptr_t aligned = slack == 0 ? start : (start + slack - 1) / slack * slack;
  mapping.base_ = base;
  mapping.reserved_ = reserved;
  mapping.data_ = static_cast<std::byte*>(base) + (aligned - start);
  mapping.size_ = static_cast<size_t>(bytes);
  if (pages == Pages::kHuge) ::madvise(mapping.data_, mapping.size_, MADV_HUGEPAGE);
  return mapping;
}

AnonymousMapping::AnonymousMapping(AnonymousMapping&& other) noexcept { *this = std::move(other); }

AnonymousMapping& AnonymousMapping::operator=(AnonymousMapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(base_, other.base_);
  std::swap(reserved_, other.reserved_);
  return *this;
}

AnonymousMapping::~AnonymousMapping() {
  if (base_ != nullptr) ::munmap(base_, reserved_);
}

void AnonymousMapping::touch() const {
#ifdef MADV_POPULATE_WRITE
  if (size_ > 0 && ::madvise(data_, size_, MADV_POPULATE_WRITE) == 0) return;  // one call, since Linux 5.14; else a fault a page
#endif
  const size_t step = page_bytes();
  for (size_t i = 0; i < size_; i += step) {
    volatile std::byte* byte = data_ + i;
    *byte = *byte;
  }
}

void AnonymousMapping::release(uint64_t offset, uint64_t bytes) const {
  SLUICE_CHECK(offset <= size_ && bytes <= size_ - offset);
  const uint64_t page = page_bytes();
  const uint64_t first = (offset + page - 1) / page * page;
  const uint64_t end = (offset + bytes) / page * page;
  if (end > first) ::madvise(data_ + first, end - first, MADV_DONTNEED);
}

std::optional<uint64_t> proc_kilobytes(std::string_view text, std::string_view key) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    line.remove_prefix(key.size() + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    uint64_t value = 0;
    const auto [last, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || last == line.data() || value > UINT64_MAX / 1024) return std::nullopt;
    return value * 1024;
  }
  return std::nullopt;
}

ProcessMemory process_memory() {
  const std::string text = proc_file("/proc/self/status");
  ProcessMemory memory;
  memory.resident_bytes = proc_kilobytes(text, "VmRSS").value_or(0);
  memory.resident_anonymous_bytes = proc_kilobytes(text, "RssAnon").value_or(0);
  memory.resident_peak_bytes = proc_kilobytes(text, "VmHWM").value_or(0);
  return memory;
}

uint64_t available_memory_bytes() {
  const uint64_t machine = proc_kilobytes(proc_file("/proc/meminfo"), "MemAvailable").value_or(0);
  const std::optional<uint64_t> limit = cgroup_number("/sys/fs/cgroup/memory.max");
  const std::optional<uint64_t> used = cgroup_number("/sys/fs/cgroup/memory.current");
  if (!limit || !used) return machine;
  const uint64_t left = *limit > *used ? *limit - *used : 0;
  return machine == 0 ? left : std::min(machine, left);
}

}  // namespace sluice::platform
