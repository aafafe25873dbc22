// The server's table of limits: what a connection and a request may ask for. Refusals name the field, the value and the limit from here.
// Defaults that a flag can change are in http.h (HttpOptions); these cannot be changed.
#pragma once

#include <cstdint>

namespace sluice::server::limits {

// HTTP.
inline constexpr uint64_t kHttpTargetBytesMax = 4096;
inline constexpr uint64_t kHttpFieldBytesMax = 8192;       // one header field
inline constexpr uint64_t kHttpHeaderBytesMax = 32 * 1024;  // the whole header
inline constexpr uint32_t kHttpFieldsMax = 100;
inline constexpr uint64_t kHttpChunkExtensionBytesMax = 256;
inline constexpr uint64_t kBodyBytesMax = 16ull << 20;      // of a route that does not say otherwise
inline constexpr uint64_t kResponseBufferBytes = 256 * 1024;  // formatted but not yet taken by the socket, per connection

// JSON of requests.
inline constexpr uint32_t kJsonDepthMax = 64;
inline constexpr uint32_t kJsonKeysMax = 10'000;       // of the whole document
inline constexpr uint32_t kJsonNumberBytesMax = 64;
inline constexpr uint64_t kJsonValuesMax = 1'000'000;  // of the whole document

// Chat and completion requests.
inline constexpr uint32_t kChoicesMax = 16;              // n, best_of
inline constexpr uint32_t kStopStringsMax = 4;
inline constexpr uint32_t kStopStringBytesMax = 256;
inline constexpr uint32_t kStopIdsMax = 64;
inline constexpr uint32_t kTopLogprobsMax = 20;
inline constexpr uint32_t kLogitBiasMax = 1024;          // entries
inline constexpr uint32_t kToolsMax = 128;
inline constexpr uint32_t kMessagesMax = 4096;
inline constexpr uint32_t kPartsMax = 1024;              // of one message's content
inline constexpr uint32_t kDocumentsMax = 256;
inline constexpr uint32_t kMetadataEntriesMax = 16;
inline constexpr uint32_t kEmbeddingInputsMax = 2048;    // as OpenAI's
inline constexpr uint32_t kNameBytesMax = 256;           // of ids, users, models
inline constexpr uint64_t kDeadlineMsMax = 86'400'000;

// Between the engine's thread and the one that writes to sockets.
inline constexpr uint64_t kTokenRingBytes = 64 * 1024;   // of one request

}  // namespace sluice::server::limits
