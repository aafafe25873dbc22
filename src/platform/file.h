// Files: read-only mappings, bounded whole reads, and atomic replacement. Only regular files are opened (links are followed); devices,
// folders, FIFOs and sockets are refused before they are opened, so no read can block or never end. Errors name the path and the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::platform {

// What tells one state of a file from another without reading it.
struct FileIdentity {
  uint64_t size = 0;
  int64_t modified_ns = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
  bool operator==(const FileIdentity&) const = default;
};

Result<FileIdentity> identify_file(const std::filesystem::path& path);

// The bytes of a file as they were when it was opened: the size is taken once. If another process truncates the file meanwhile, touching
// the lost pages is a SIGBUS, as with every mapping; packages and models are replaced by rename (AtomicFile), never truncated.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  const FileIdentity& identity() const { return identity_; }

  // Hints; the kernel may ignore them.
  void advise_will_need() const;
  void advise_huge_pages() const;
  void advise_sequential() const;
  // The pages of this range leave the resident size; they come back from the file when touched.
  void release(uint64_t offset, uint64_t bytes) const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::filesystem::path path_;
  FileIdentity identity_;
};

// The whole file, refused if it is longer than bytes_max (it may grow while it is read: never more than bytes_max + 1 bytes are taken).
Result<std::string> read_whole_file(const std::filesystem::path& path, uint64_t bytes_max);

// Writes a new file beside `path` and puts it in place in one step: readers see the old bytes or all of the new ones, also after a crash.
// Without a successful commit() nothing remains.
class AtomicFile {
 public:
  using Progress = std::function<void(uint64_t bytes_written)>;

  static Result<AtomicFile> create(const std::filesystem::path& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  void set_progress(Progress progress) { progress_ = std::move(progress); }
  // Takes disk space for `bytes` now, so that a full disk is found before the work and not after it.
  Status reserve(uint64_t bytes);
  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);
  Status write_at(uint64_t offset, std::span<const std::byte> bytes);  // inside what is already written: a header filled in at the end
  uint64_t size() const { return written_; }
  Status commit();

 private:
  AtomicFile() = default;
  void discard();
  Status put(uint64_t offset, std::span<const std::byte> bytes);

  int descriptor_ = -1;
  uint64_t written_ = 0;
  uint64_t reserved_ = 0;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  Progress progress_;
};

}  // namespace sluice::platform
