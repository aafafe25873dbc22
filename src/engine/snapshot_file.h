// One checkpoint in a file: a recurrent state at a position and the KV pages that its parent's file does not hold. Files are written once, never changed,
// and name their parent, so that a conversation's bytes grow with its length and not with its square (jundot/omlx #2546: 282.7 GB in place of 13.8).
// Layout, little-endian: header (144 bytes, its checksum last), tokens [from, to), one XXH3-64 per 64 KiB block of the data, their checksum; then the data:
// pages floor(from / 64) .. ceil(to / 64) - 1, each a bitmap of its 64-byte lines and the lines that are not zero, then the state.
// Contract: a reader gives back exactly what was written or an Error naming the file; it never trusts a number before its checksum.
// Next: disk_tier.h, which names, finds and deletes files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/result.h"

namespace sluice::engine {

inline constexpr uint64_t kSnapshotBlockBytes = 64 << 10;
inline constexpr uint64_t kSnapshotLineBytes = 64;

// What both ends must agree on: a snapshot of another model, program or KV type is refused.
struct SnapshotBinding {
  uint64_t model = 0;    // fingerprint of the weights
  uint64_t program = 0;  // of the program's text: what a state means
  uint64_t page_bytes = 0;
  uint64_t state_bytes = 0;
  uint32_t kv_type = 0;
  bool operator==(const SnapshotBinding&) const = default;
};

struct SnapshotInfo {
  SnapshotBinding binding;
  uint64_t tenant = 0;
  uint64_t id = 0;
  uint64_t parent = 0;  // 0: the segment starts at position 0
  uint64_t from = 0, to = 0;
  uint32_t kind = 0, turn = 0;
  std::vector<int32_t> tokens;  // [from, to)
  uint64_t file_bytes = 0;

  uint64_t first_page() const { return from / 64; }
  uint64_t page_count() const { return binding.page_bytes == 0 ? 0 : (to + 63) / 64 - first_page(); }
};

// `pages`: page_count() of page_bytes each; `state`: parts that make up state_bytes. Written beside `path`, synced, renamed, the folder synced.
// The file's bytes.
Result<uint64_t> write_snapshot(const std::filesystem::path& path, const SnapshotInfo& info, std::span<const std::byte* const> pages,
                      std::span<const std::span<const std::byte>> state);

// Header and tokens only, both checked.
Result<SnapshotInfo> read_snapshot_info(const std::filesystem::path& path);

// Pages into `pages` (page_count() pointers), and the state, in order, into the parts that make up state_bytes (none: it is left out). On an Error what
// they hold is undefined. `info` as read_snapshot_info() gave it; a file that has changed since is an Error.
Status read_snapshot(const std::filesystem::path& path, const SnapshotInfo& info, std::span<std::byte* const> pages,
                     std::span<const std::span<std::byte>> state);

}  // namespace sluice::engine
