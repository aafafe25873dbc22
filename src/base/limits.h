// The one table of limits on what files, flags and requests may ask for. Error messages name the value and the limit from here.
#pragma once

#include <cstdint>

namespace sluice::limits {

// Containers (reference: GGUF v3 specification; safetensors' own reader caps its header at 100 MB).
inline constexpr uint64_t kStringBytesMax = 1ull << 30;
inline constexpr uint64_t kTensorNameBytesMax = 512;
inline constexpr uint64_t kTensorsMax = 1ull << 18;  // Kimi K2 with a scale per weight has 140k; 2^18 keeps the tables of a hostile file small
inline constexpr uint32_t kTensorRankMax = 8;
inline constexpr uint64_t kMetadataKeysMax = 1ull << 16;
inline constexpr uint64_t kMetadataKeyBytesMax = 65535;     // GGUF specification
inline constexpr uint64_t kMetadataTextBytesMax = 1ull << 20;   // one string that is copied; longer ones stay views into the file
inline constexpr uint64_t kMetadataArrayMax = 1ull << 16;       // elements of one array that is copied (per-layer lists)
inline constexpr uint64_t kMetadataCopyBytesMax = 32ull << 20;  // everything copied out of one header
inline constexpr uint64_t kShardsMax = 4096;
inline constexpr uint64_t kSafetensorsHeaderBytesMax = 100'000'000;
inline constexpr uint64_t kConfigBytesMax = 2ull << 20;
inline constexpr uint32_t kJsonDepthMax = 64;

// Models.
inline constexpr uint64_t kLayersMax = 4096;
inline constexpr uint64_t kVocabularyMax = 1ull << 24;
inline constexpr uint64_t kDimensionMax = 1ull << 24;
inline constexpr uint64_t kExpertsMax = 4096;
inline constexpr uint64_t kHeadsMax = 65536;
inline constexpr uint64_t kHeadDimensionMax = 65536;
inline constexpr uint64_t kScanStatesMax = 1024;
inline constexpr uint64_t kConvTapsMax = 8;
inline constexpr uint64_t kParametersMax = 1ull << 50;

// Text.
inline constexpr uint64_t kPromptBytesMax = (1ull << 31) - 1;
inline constexpr uint64_t kTokenBytesMax = 1ull << 16;
inline constexpr uint64_t kScoredPieceBytesMax = 512;  // SentencePiece pieces; real ones stay below 100
inline constexpr uint64_t kMergesMax = 1ull << 24;
inline constexpr uint64_t kExtraSymbolBytesMax = 64ull << 20;
inline constexpr uint64_t kTokenizerStepsMax = 64;
inline constexpr uint64_t kExpressionBytesMax = 1ull << 16;
inline constexpr uint64_t kPieceBytesMax = 64ull << 20;  // one pre-token; merging takes about 24 bytes of memory per character of it
inline constexpr uint64_t kTemplateBytesMax = 1ull << 20;
inline constexpr uint64_t kTemplateStepsMax = 4'000'000;
inline constexpr uint64_t kTemplateOutputBytesMax = 64ull << 20;
inline constexpr uint64_t kTemplateMemoryBytesMax = 256ull << 20;
inline constexpr uint64_t kTemplateSwitchBytesMax = 1024;  // of one string in a request's chat_template_kwargs
inline constexpr uint32_t kTemplateParametersMax = 255;      // of one macro, and keyword arguments of one call
inline constexpr uint32_t kTemplateNestingMax = 200;  // of one expression or of blocks in the source
inline constexpr uint32_t kTemplateDepthMax = 1000;   // of running expressions, blocks and macro calls: Python's own recursion limit

// Constraints on output (text/constraint.h). 10 M steps are about 100 ms.
inline constexpr uint64_t kConstraintStepsMax = 10'000'000;
inline constexpr uint64_t kConstraintBytesMax = 64ull << 20;
inline constexpr uint64_t kConstraintSourceBytesMax = 1ull << 20;
inline constexpr uint32_t kConstraintNestingMax = 64;        // groups in a pattern or grammar, levels in a schema
inline constexpr uint64_t kConstraintRepeatMax = 2000;       // {n,m}, minLength, maxLength, minItems, maxItems ...
inline constexpr uint32_t kConstraintStackMax = 512;         // open rules at one time while matching
inline constexpr uint32_t kConstraintReadingsMax = 4096;     // ways to read the same output at one time
inline constexpr uint32_t kConstraintTokenBytesMax = 512;    // a longer token is never allowed under a constraint
inline constexpr uint64_t kConstraintMaskBytesMax = 64ull << 20;  // kept masks of one constraint; more are computed each time
inline constexpr uint64_t kConstraintJumpBytesMax = 4096;
inline constexpr uint32_t kConstraintRollbackMax = 1024;     // tokens
inline constexpr uint32_t kConstraintNumberDigitsMax = 64;   // digits before and after the decimal point

// Runtime.
inline constexpr uint32_t kThreadsMax = 64;
inline constexpr uint64_t kContextTokensMax = 1ull << 24;

}  // namespace sluice::limits
