// Limits of what is kept for clients; kept.h has the bytes of all together. Next: limits.h.
#pragma once

#include <cstdint>

namespace sluice::server::limits {

inline constexpr uint64_t kFileBytesMax = 32ull << 20;
inline constexpr uint32_t kFilesMax = 1000;              // of one key
inline constexpr uint32_t kBatchLinesMax = 50'000;
inline constexpr uint64_t kBatchLineBytesMax = 1ull << 20;
inline constexpr uint32_t kBatchesActiveMax = 20;        // of one key
inline constexpr uint32_t kBatchesKeptMax = 1000;        // of one key; the oldest that are over go
inline constexpr uint32_t kTurnsMax = 10'000;            // responses and conversations' turns of one key; the least recently used go
inline constexpr uint32_t kTurnsChainedMax = 1000;       // behind one another
inline constexpr uint32_t kConversationsMax = 10'000;    // of one key; and as many saved states
inline constexpr uint32_t kPageMax = 100;                // of a list

}  // namespace sluice::server::limits
