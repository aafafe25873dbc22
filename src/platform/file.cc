#include "platform/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/check.h"

namespace sluice::platform {
namespace {

constexpr uint64_t kWriteChunkBytes = 8u << 20;  // progress is told after each

Error errno_error(const std::string& action, const std::filesystem::path& path, int code) {
  return Error{"cannot " + action + " " + path.string() + ": " + std::system_category().message(code)};
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISCHR(mode)) return "a character device";
  if (S_ISBLK(mode)) return "a block device";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "not a regular file";
}

Status check_regular(const std::filesystem::path& path, const struct stat& status) {
  if (S_ISREG(status.st_mode)) return {};
  return Error{"cannot open " + path.string() + ": it is " + kind_of(status.st_mode) + ", and only regular files are read"};
}

FileIdentity identity_of(const struct stat& status) {
  FileIdentity identity;
  identity.size = static_cast<uint64_t>(status.st_size);
  identity.modified_ns = static_cast<int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
  identity.device = status.st_dev;
  identity.inode = status.st_ino;
  return identity;
}

Status check_path(const std::filesystem::path& path) {
  if (path.native().find('\0') == std::string::npos) return {};
  return Error{"a file path may not contain a NUL byte"};
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_;
};

struct OpenFile {
  Descriptor descriptor;
  FileIdentity identity;
};

// The kind is looked at before opening (opening some devices does something) and again after (the name may have been swapped meanwhile;
// O_NONBLOCK keeps a pipe from blocking in that case).
Result<OpenFile> open_regular(const std::filesystem::path& path) {
  SLUICE_TRY_VOID(check_path(path));
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error("open", path, errno);
  SLUICE_TRY_VOID(check_regular(path, status));
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (descriptor.get() < 0) return errno_error("open", path, errno);
  if (::fstat(descriptor.get(), &status) != 0) return errno_error("open", path, errno);
  SLUICE_TRY_VOID(check_regular(path, status));
  return OpenFile{std::move(descriptor), identity_of(status)};
}

}  // namespace

Result<FileIdentity> identify_file(const std::filesystem::path& path) {
  SLUICE_TRY_VOID(check_path(path));
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error("open", path, errno);
  SLUICE_TRY_VOID(check_regular(path, status));
  return identity_of(status);
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  SLUICE_TRY(const OpenFile file, open_regular(path));
  MappedFile mapped;
  mapped.path_ = path;
  mapped.identity_ = file.identity;
  if (file.identity.size == 0) return mapped;
  void* data = ::mmap(nullptr, file.identity.size, PROT_READ, MAP_SHARED, file.descriptor.get(), 0);
  if (data == MAP_FAILED) return errno_error("map", path, errno);
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = file.identity.size;
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)),
      identity_(other.identity_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  std::swap(identity_, other.identity_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::advise_will_need() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_WILLNEED);
}

void MappedFile::advise_huge_pages() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_HUGEPAGE);
}

void MappedFile::advise_sequential() const {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_SEQUENTIAL);
}

void MappedFile::release(uint64_t offset, uint64_t bytes) const {
  SLUICE_CHECK(offset <= size_ && bytes <= size_ - offset);
  if (bytes == 0) return;
  const uint64_t first = offset & ~(static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) - 1);
  ::madvise(const_cast<std::byte*>(data_) + first, offset + bytes - first, MADV_DONTNEED);
}

Result<std::string> read_whole_file(const std::filesystem::path& path, uint64_t bytes_max) {
  SLUICE_TRY(const OpenFile file, open_regular(path));
  const auto too_long = [&](uint64_t size) {
    return Error{path.string() + " has " + std::to_string(size) + " bytes, the limit is " + std::to_string(bytes_max)};
  };
  if (file.identity.size > bytes_max) return too_long(file.identity.size);
  std::string text(file.identity.size, '\0');
  size_t have = 0;
  while (true) {  // files of /proc say size 0: read to the end, not to the size
    if (have == text.size()) {
      if (have > bytes_max) return too_long(have);
      text.resize(std::min<uint64_t>(bytes_max + 1, have + std::max<uint64_t>(have / 2, 4096)));
    }
    const ssize_t got = ::read(file.descriptor.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error("read", path, errno);
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  text.resize(have);
  return text;
}

Result<AtomicFile> AtomicFile::create(const std::filesystem::path& path) {
  SLUICE_TRY_VOID(check_path(path));
  if (path.filename().empty()) return Error{"cannot write " + path.string() + ": it names no file"};
  static std::atomic<uint64_t> counter{0};
  AtomicFile file;
  file.path_ = path;
  for (int attempt = 0; attempt < 100; ++attempt) {  // a name may be left over from a killed process with our id
    const std::string name =
        "." + path.filename().string() + "." + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1)) + ".tmp";
    const std::filesystem::path temporary = path.parent_path() / name;
    file.descriptor_ = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);  // cut by the umask
    if (file.descriptor_ >= 0) {
      file.temporary_ = temporary;
      return file;
    }
    if (errno != EEXIST) return errno_error("create", temporary, errno);
  }
  return errno_error("create a temporary file beside", path, EEXIST);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept { *this = std::move(other); }

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(written_, other.written_);
  std::swap(reserved_, other.reserved_);
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(progress_, other.progress_);
  return *this;
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() {
  if (descriptor_ < 0) return;
  ::close(std::exchange(descriptor_, -1));
  ::unlink(temporary_.c_str());
}

Status AtomicFile::reserve(uint64_t bytes) {
  SLUICE_CHECK(descriptor_ >= 0);
  if (bytes <= reserved_) return {};
  const int code = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  if (code == EOPNOTSUPP || code == EINVAL) return {};  // a file system without the call
  if (code != 0) return errno_error("reserve " + std::to_string(bytes) + " bytes for", path_, code);
  reserved_ = bytes;
  return {};
}

Status AtomicFile::put(uint64_t offset, std::span<const std::byte> bytes) {
  SLUICE_CHECK(descriptor_ >= 0);
  while (!bytes.empty()) {
    const size_t count = std::min<size_t>(bytes.size(), kWriteChunkBytes);
    const ssize_t done = ::pwrite(descriptor_, bytes.data(), count, static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno_error("write", path_, errno);
    if (done == 0) return errno_error("write", path_, ENOSPC);
    offset += static_cast<uint64_t>(done);
    bytes = bytes.subspan(static_cast<size_t>(done));
    if (offset > written_) {
      written_ = offset;
      if (progress_) progress_(written_);
    }
  }
  return {};
}

Status AtomicFile::write(std::span<const std::byte> bytes) { return put(written_, bytes); }

Status AtomicFile::write(std::string_view text) { return write(std::as_bytes(std::span(text.data(), text.size()))); }

Status AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  SLUICE_CHECK(offset <= written_ && bytes.size() <= written_ - offset);
  return put(offset, bytes);
}

Status AtomicFile::commit() {
  SLUICE_CHECK(descriptor_ >= 0);
  if (reserved_ > written_ && ::ftruncate(descriptor_, static_cast<off_t>(written_)) != 0) return errno_error("write", path_, errno);
  if (::fsync(descriptor_) != 0) return errno_error("sync", path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return errno_error("put in place", path_, errno);
  ::close(std::exchange(descriptor_, -1));
  // The file is in place; syncing the folder makes the name survive a power cut.
  const std::filesystem::path folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || ::fsync(directory.get()) != 0) {
    if (errno == EINVAL || errno == ENOTSUP) return {};  // a file system without synced folders
    return errno_error("sync the folder of", path_, errno);
  }
  return {};
}

}  // namespace sluice::platform
