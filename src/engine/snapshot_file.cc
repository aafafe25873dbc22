#include "engine/snapshot_file.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/limits.h"
#include "platform/file.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kMagic = 0x31304E5350434C53;  // "SLCPSN01"

struct Header {
  uint64_t magic = kMagic;
  uint64_t model = 0, program = 0, page_bytes = 0, state_bytes = 0;
  uint64_t tenant = 0, id = 0, parent = 0, from = 0, to = 0;
  uint32_t kv_type = 0, kind = 0, turn = 0, reserved = 0;
  uint64_t data_bytes = 0;
  uint64_t tokens_checksum = 0;
  uint64_t table_checksum = 0;
  uint64_t unused[2] = {0, 0};
  uint64_t checksum = 0;  // of all before it
};
static_assert(sizeof(Header) == 144);

uint64_t hash(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

uint64_t block_count(uint64_t data_bytes) { return (data_bytes + kSnapshotBlockBytes - 1) / kSnapshotBlockBytes; }
uint64_t bitmap_bytes(uint64_t page_bytes) { return (page_bytes / kSnapshotLineBytes + 7) / 8; }
uint64_t data_offset(const Header& h) { return sizeof(Header) + (h.to - h.from) * sizeof(int32_t) + block_count(h.data_bytes) * sizeof(uint64_t); }

bool line_is_zero(const std::byte* line) {
  uint64_t words[kSnapshotLineBytes / 8], any = 0;
  std::memcpy(words, line, sizeof words);
  for (const uint64_t word : words) any |= word;
  return any == 0;
}

std::vector<uint8_t> bitmap_of(const std::byte* page, uint64_t page_bytes, uint64_t& lines) {
  std::vector<uint8_t> bitmap(bitmap_bytes(page_bytes));
  for (uint64_t i = 0; i < page_bytes / kSnapshotLineBytes; ++i) {
    if (line_is_zero(page + i * kSnapshotLineBytes)) continue;
    bitmap[i / 8] = static_cast<uint8_t>(bitmap[i / 8] | 1u << (i % 8));
    ++lines;
  }
  return bitmap;
}

// Gathers the data into checksummed blocks and writes them out behind the table.
class BlockWriter {
 public:
  explicit BlockWriter(platform::AtomicFile& file) : file_(file) { block_.reserve(kSnapshotBlockBytes); }
  Status put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const size_t n = std::min<size_t>(bytes.size(), kSnapshotBlockBytes - block_.size());
      block_.insert(block_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
      bytes = bytes.subspan(n);
      if (block_.size() == kSnapshotBlockBytes) SLUICE_TRY_VOID(flush());
    }
    return {};
  }
  Status flush() {
    if (block_.empty()) return {};
    table_.push_back(hash(block_));
    SLUICE_TRY_VOID(file_.write(block_));
    block_.clear();
    return {};
  }
  const std::vector<uint64_t>& table() const { return table_; }

 private:
  platform::AtomicFile& file_;
  std::vector<std::byte> block_;
  std::vector<uint64_t> table_;
};

Header header_of(const SnapshotInfo& info, uint64_t data_bytes) {
  Header h;
  h.model = info.binding.model;
  h.program = info.binding.program;
  h.page_bytes = info.binding.page_bytes;
  h.state_bytes = info.binding.state_bytes;
  h.kv_type = info.binding.kv_type;
  h.tenant = info.tenant;
  h.id = info.id;
  h.parent = info.parent;
  h.from = info.from;
  h.to = info.to;
  h.kind = info.kind;
  h.turn = info.turn;
  h.data_bytes = data_bytes;
  return h;
}

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_;
};

Status read_at(int descriptor, const std::filesystem::path& path, uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = ::pread(descriptor, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{fmt::format("{}: cannot read: {}", path.string(), std::strerror(errno))};
    if (got == 0) return Error{fmt::format("{}: ends after {} bytes, it should be longer; the file is cut", path.string(), offset)};
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

Error damaged(const std::filesystem::path& path, const char* what) {
  return Error{fmt::format("{}: the checksum of {} does not match; the file is damaged", path.string(), what)};
}

// Every number is held against the file's size before it is used for one.
Status check_header(const Header& h, uint64_t file_bytes, const std::filesystem::path& path) {
  if (h.magic != kMagic) return Error{fmt::format("{}: not a snapshot of this version", path.string())};
  if (hash(std::as_bytes(std::span(&h, 1)).first(offsetof(Header, checksum))) != h.checksum) return damaged(path, "the header");
  const bool sane = h.from < h.to && h.to <= limits::kContextTokensMax && h.data_bytes <= file_bytes &&
                    h.page_bytes <= file_bytes * kSnapshotLineBytes * 8 + 64 && h.page_bytes % kSnapshotLineBytes == 0 && h.state_bytes <= file_bytes &&
                    (h.parent == 0) == (h.from == 0);
  if (!sane || data_offset(h) + h.data_bytes != file_bytes) {
    return Error{fmt::format("{}: {} bytes, its header asks for {}", path.string(), file_bytes, sane ? data_offset(h) + h.data_bytes : 0)};
  }
  return {};
}

Result<Header> read_header(int descriptor, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return Error{fmt::format("{}: {}", path.string(), std::strerror(errno))};
  const uint64_t file_bytes = static_cast<uint64_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || file_bytes < sizeof(Header)) return Error{fmt::format("{}: {} bytes are too few for a snapshot", path.string(), file_bytes)};
  Header h;
  SLUICE_TRY_VOID(read_at(descriptor, path, 0, std::as_writable_bytes(std::span(&h, 1))));
  SLUICE_TRY_VOID(check_header(h, file_bytes, path));
  return h;
}

Result<std::vector<int32_t>> read_tokens(int descriptor, const Header& h, const std::filesystem::path& path) {
  std::vector<int32_t> tokens(h.to - h.from);
  SLUICE_TRY_VOID(read_at(descriptor, path, sizeof(Header), std::as_writable_bytes(std::span(tokens))));
  if (hash(std::as_bytes(std::span(tokens))) != h.tokens_checksum) return damaged(path, "the tokens");
  return tokens;
}

// Hands out the data in order, each block checked before its first byte is used.
class BlockReader {
 public:
  BlockReader(int descriptor, const std::filesystem::path& path, const Header& h, std::vector<uint64_t> table)
      : descriptor_(descriptor), path_(path), offset_(data_offset(h)), left_(h.data_bytes), table_(std::move(table)), block_(kSnapshotBlockBytes) {}

  Status take(std::span<std::byte> out) {
    while (!out.empty()) {
      if (at_ == have_) SLUICE_TRY_VOID(next());
      const size_t n = std::min<size_t>(out.size(), have_ - at_);
      std::memcpy(out.data(), block_.data() + at_, n);
      at_ += n;
      out = out.subspan(n);
    }
    return {};
  }
  // Into all of `parts` in order; whole blocks go there directly, and are hashed where they lie.
  Status take_parts(std::span<const std::span<std::byte>> parts) {
    uint64_t bytes = 0;
    for (const auto part : parts) bytes += part.size();
    std::vector<iovec> block;
    for (size_t i = 0, at = 0; bytes > 0;) {
      const uint64_t wanted = at_ < have_ ? std::min<uint64_t>(have_ - at_, bytes) : std::min(kSnapshotBlockBytes, bytes);
      block.clear();
      for (uint64_t left = wanted; left > 0;) {
        const uint64_t n = std::min<uint64_t>(left, parts[i].size() - at);
        block.push_back({parts[i].data() + at, n});
        left -= n;
        at += n;
        if (at == parts[i].size()) ++i, at = 0;
      }
      bytes -= wanted;
      if (at_ == have_ && wanted == std::min(kSnapshotBlockBytes, left_)) {
        SLUICE_TRY_VOID(next_into(block, wanted));
        continue;
      }
      for (const iovec& piece : block) SLUICE_TRY_VOID(take({static_cast<std::byte*>(piece.iov_base), piece.iov_len}));
    }
    return {};
  }
  bool at_end() const { return at_ == have_ && left_ == 0; }

 private:
  Status next_into(std::span<const iovec> pieces, uint64_t bytes) {
    const ssize_t got = ::preadv(descriptor_, pieces.data(), static_cast<int>(pieces.size()), static_cast<off_t>(offset_));
    uint64_t have = got < 0 ? 0 : static_cast<uint64_t>(got), at = offset_;
    XXH3_state_t hashing;
    XXH3_64bits_reset(&hashing);
    for (const iovec& piece : pieces) {
      const uint64_t there = std::min<uint64_t>(have, piece.iov_len);
      if (there < piece.iov_len) {  // interrupted, cut or unreadable: once more, with its error
        SLUICE_TRY_VOID(read_at(descriptor_, path_, at + there, {static_cast<std::byte*>(piece.iov_base) + there, piece.iov_len - there}));
      }
      XXH3_64bits_update(&hashing, piece.iov_base, piece.iov_len);
      have -= there;
      at += piece.iov_len;
    }
    if (XXH3_64bits_digest(&hashing) != table_[index_++]) return damaged(path_, "a block");
    offset_ += bytes;
    left_ -= bytes;
    return {};
  }
  Status next() {
    if (left_ == 0) return Error{fmt::format("{}: the data ends before its last page", path_.string())};
    have_ = std::min<uint64_t>(left_, kSnapshotBlockBytes);
    at_ = 0;
    SLUICE_TRY_VOID(read_at(descriptor_, path_, offset_, std::span(block_).first(have_)));
    if (hash(std::span(block_).first(have_)) != table_[index_++]) return damaged(path_, "a block");
    offset_ += have_;
    left_ -= have_;
    return {};
  }

  int descriptor_;
  const std::filesystem::path& path_;
  uint64_t offset_, left_;
  std::vector<uint64_t> table_;
  std::vector<std::byte> block_;
  size_t at_ = 0, have_ = 0, index_ = 0;
};

Status read_page(BlockReader& reader, uint64_t page_bytes, std::vector<uint8_t>& bitmap, std::byte* page) {
  bitmap.resize(bitmap_bytes(page_bytes));
  SLUICE_TRY_VOID(reader.take(std::as_writable_bytes(std::span(bitmap))));
  const uint64_t lines = page_bytes / kSnapshotLineBytes;
  for (uint64_t i = 0; i < lines;) {  // runs of lines: a full page is one copy
    const bool stored = (bitmap[i / 8] >> (i % 8) & 1) != 0;
    uint64_t end = i + 1;
    while (end < lines && ((bitmap[end / 8] >> (end % 8) & 1) != 0) == stored) ++end;
    const std::span<std::byte> run(page + i * kSnapshotLineBytes, (end - i) * kSnapshotLineBytes);
    if (stored) {
      SLUICE_TRY_VOID(reader.take(run));
    } else {
      std::memset(run.data(), 0, run.size());
    }
    i = end;
  }
  return {};
}

}  // namespace

Result<uint64_t> write_snapshot(const std::filesystem::path& path, const SnapshotInfo& info, std::span<const std::byte* const> pages,
                                std::span<const std::span<const std::byte>> state) {
  SLUICE_CHECK(pages.size() == info.page_count() && info.tokens.size() == info.to - info.from && info.from < info.to);
  std::vector<std::vector<uint8_t>> bitmaps;
  uint64_t lines = 0, bytes = info.binding.state_bytes;
  for (const std::byte* page : pages) bitmaps.push_back(bitmap_of(page, info.binding.page_bytes, lines));
  bytes += lines * kSnapshotLineBytes + pages.size() * bitmap_bytes(info.binding.page_bytes);
  Header header = header_of(info, bytes);
  const auto tokens = std::as_bytes(std::span(info.tokens));
  header.tokens_checksum = hash(tokens);

  SLUICE_TRY(platform::AtomicFile file, platform::AtomicFile::create(path));
  SLUICE_TRY_VOID(file.reserve(data_offset(header) + bytes));
  SLUICE_TRY_VOID(file.write(std::as_bytes(std::span(&header, 1))));
  SLUICE_TRY_VOID(file.write(tokens));
  std::vector<uint64_t> table(block_count(bytes));
  SLUICE_TRY_VOID(file.write(std::as_bytes(std::span(table))));
  BlockWriter blocks(file);
  for (size_t p = 0; p < pages.size(); ++p) {
    SLUICE_TRY_VOID(blocks.put(std::as_bytes(std::span(bitmaps[p]))));
    for (uint64_t i = 0; i < info.binding.page_bytes / kSnapshotLineBytes; ++i) {
      if ((bitmaps[p][i / 8] >> (i % 8) & 1) != 0) SLUICE_TRY_VOID(blocks.put({pages[p] + i * kSnapshotLineBytes, kSnapshotLineBytes}));
    }
  }
  for (const auto part : state) SLUICE_TRY_VOID(blocks.put(part));
  SLUICE_TRY_VOID(blocks.flush());
  SLUICE_CHECK(blocks.table().size() == table.size());
  header.table_checksum = hash(std::as_bytes(std::span(blocks.table())));
  header.checksum = hash(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)));
  SLUICE_TRY_VOID(file.write_at(0, std::as_bytes(std::span(&header, 1))));
  SLUICE_TRY_VOID(file.write_at(sizeof(Header) + tokens.size(), std::as_bytes(std::span(blocks.table()))));
  SLUICE_TRY_VOID(file.commit());
  return data_offset(header) + bytes;
}

Result<SnapshotInfo> read_snapshot_info(const std::filesystem::path& path) {
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (descriptor.get() < 0) return Error{fmt::format("{}: cannot open: {}", path.string(), std::strerror(errno))};
  SLUICE_TRY(const Header h, read_header(descriptor.get(), path));
  SnapshotInfo info;
  info.binding = {h.model, h.program, h.page_bytes, h.state_bytes, h.kv_type};
  info.tenant = h.tenant;
  info.id = h.id;
  info.parent = h.parent;
  info.from = h.from;
  info.to = h.to;
  info.kind = h.kind;
  info.turn = h.turn;
  info.file_bytes = data_offset(h) + h.data_bytes;
  SLUICE_TRY(info.tokens, read_tokens(descriptor.get(), h, path));
  return info;
}

Status read_snapshot(const std::filesystem::path& path, const SnapshotInfo& info, std::span<std::byte* const> pages,
                     std::span<const std::span<std::byte>> state) {
  uint64_t state_bytes = 0;
  for (const auto part : state) state_bytes += part.size();
  SLUICE_CHECK(pages.size() == info.page_count() && (state.empty() || state_bytes == info.binding.state_bytes));
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (descriptor.get() < 0) return Error{fmt::format("{}: cannot open: {}", path.string(), std::strerror(errno))};
  SLUICE_TRY(const Header h, read_header(descriptor.get(), path));
  const SnapshotBinding binding{h.model, h.program, h.page_bytes, h.state_bytes, h.kv_type};
  if (!(binding == info.binding) || h.id != info.id || h.from != info.from || h.to != info.to || h.tenant != info.tenant) {
    return Error{fmt::format("{}: is not the snapshot it was", path.string())};
  }
  std::vector<uint64_t> table(block_count(h.data_bytes));
  SLUICE_TRY_VOID(read_at(descriptor.get(), path, sizeof(Header) + (h.to - h.from) * sizeof(int32_t), std::as_writable_bytes(std::span(table))));
  if (hash(std::as_bytes(std::span(table))) != h.table_checksum) return damaged(path, "the table");
  BlockReader reader(descriptor.get(), path, h, std::move(table));
  std::vector<uint8_t> bitmap;
  for (std::byte* page : pages) SLUICE_TRY_VOID(read_page(reader, h.page_bytes, bitmap, page));
  if (state.empty()) return {};
  SLUICE_TRY_VOID(reader.take_parts(state));
  if (!reader.at_end()) return Error{fmt::format("{}: goes on behind its state", path.string())};
  return {};
}

}  // namespace sluice::engine
