// Everything a tokenizer is, as plain data: what the readers (tokenizer_gguf, tokenizer_json, sentencepiece_model)
// make, what a compiled package stores, and what Tokenizer::create takes. Contract: check_spec says whether a spec is
// sound; parse_spec accepts any bytes and returns a sound spec or an Error. Next: text/tokenizer.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::text {

enum class ModelKind : uint8_t {
  kByteLevelBpe = 0,      // merges by rank over bytes (GPT-2)
  kCharacterBpe = 1,      // merges by rank over characters (tokenizer.json of Llama 2, Gemma, Jamba)
  kSentencePieceBpe = 2,  // merges by score over characters (tokenizer.model, GGUF "llama")
  kUnigram = 3,           // best sum of scores (tokenizer.model, GGUF "t5")
};
inline constexpr uint8_t kModelKinds = 4;

// Numbered as in GGUF's tokenizer.ggml.token_type and in sentencepiece_model.proto.
enum class TokenType : uint8_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

enum class NormalizerKind : uint8_t {
  kNfc = 0,
  kNfd = 1,
  kNfkc = 2,
  kNfkd = 3,
  kLowercase = 4,
  kPrepend = 5,         // text: what to prepend to a text that is not empty
  kReplace = 6,         // text: literal, or expression if is_regex; replacement
  kStrip = 7,           // left, right
  kCharsmap = 8,        // text: SentencePiece's precompiled_charsmap
  kCollapseSpaces = 9,  // SentencePiece's remove_extra_whitespaces: trim, and runs of U+0020 to one
  kStripAccents = 10,   // drops marks
};
inline constexpr uint8_t kNormalizerKinds = 11;

struct NormalizerStep {
  NormalizerKind kind = NormalizerKind::kNfc;
  std::string text = {};
  std::string replacement = {};
  bool is_regex = false;
  bool left = false;
  bool right = false;
  bool operator==(const NormalizerStep&) const = default;
};

enum class SplitBehavior : uint8_t {
  kIsolated = 0,
  kRemoved = 1,
  kMergedWithPrevious = 2,
  kMergedWithNext = 3,
  kContiguous = 4
};
inline constexpr uint8_t kSplitBehaviors = 5;

enum class PreTokenizerKind : uint8_t {
  kSplit = 0,        // text: literal, or expression if is_regex; behavior, invert
  kPrefixSpace = 1,  // a blank before every piece that does not begin with one (ByteLevel add_prefix_space)
  kMetaspace = 2,    // text: replacement for U+0020; prefix, split_words
};
inline constexpr uint8_t kPreTokenizerKinds = 3;

// kFirst: only at the very beginning; kAlways: also after every added token.
enum class SpacePrefix : uint8_t { kNever = 0, kFirst = 1, kAlways = 2 };
inline constexpr uint8_t kSpacePrefixes = 3;

struct PreTokenizerStep {
  PreTokenizerKind kind = PreTokenizerKind::kSplit;
  std::string text = {};
  bool is_regex = true;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
  SpacePrefix prefix = SpacePrefix::kNever;
  bool split_words = false;
  bool operator==(const PreTokenizerStep&) const = default;
};

// Left and right symbol: below tokens.size() a token, else extra_symbols[i - tokens.size()]. The rank is the merge's
// index.
struct Merge {
  uint32_t left = 0;
  uint32_t right = 0;
  bool operator==(const Merge&) const = default;
};

// A token that is looked for in the text before anything else. Its text is tokens[id], literally.
struct AddedToken {
  uint32_t id = 0;
  bool special = false;     // found only if the caller asks to parse specials
  bool normalized = false;  // looked for after the normalizer, in its normalised form
  bool lstrip = false;      // swallows white space to its left / right
  bool rstrip = false;
  bool single_word = false;  // only between characters that are not letters, digits or underscore
  bool operator==(const AddedToken&) const = default;
};

// One of the templates that a tokenizer carries, as text (chat_template.h runs it).
struct NamedTemplate {
  std::string name;  // "default" or the template's own name
  std::string text;
  bool operator==(const NamedTemplate&) const = default;
};

struct TokenizerSpec {
  ModelKind kind = ModelKind::kByteLevelBpe;

  // What a token stands for: bytes for kByteLevelBpe; else UTF-8, with U+2581 for a blank where replace_spaces says so.
  // A kByte token's text is that one byte.
  std::vector<std::string> tokens;
  std::vector<TokenType> types;  // one per token
  std::vector<float> scores;     // one per token, or empty
  std::vector<std::string> extra_symbols;
  std::vector<Merge> merges;

  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<AddedToken> added_tokens;

  SpacePrefix space_prefix = SpacePrefix::kNever;  // a blank before the text, after the normalizer
  bool replace_spaces = false;                     // U+0020 becomes U+2581, after the prefix
  bool restore_spaces = false;                     // U+2581 in a token prints as a blank
  bool strip_leading_space = false;                // the blank that space_prefix (or a Prepend) added is not printed
  bool byte_fallback = false;                      // unknown characters become byte tokens
  bool fuse_unknown = false;                       // neighbouring unknowns become one
  bool ignore_merges = false;                      // a piece that is a token is that token, whatever the merges say

  int32_t bos_id = -1;
  int32_t eos_id = -1;
  int32_t eot_id = -1;
  int32_t eom_id = -1;
  int32_t unknown_id = -1;
  int32_t pad_id = -1;
  std::vector<int32_t> prefix_ids;  // what add_special puts before and after a text
  std::vector<int32_t> suffix_ids;
  std::vector<int32_t> end_ids;  // more ids that end a generation

  std::vector<NamedTemplate> chat_templates;
  std::vector<std::string> notes;  // sentences for a person: what was odd about the file

  bool operator==(const TokenizerSpec&) const = default;
};

// Lengths, ranges, numbering: everything Tokenizer::create relies on.
Status check_spec(const TokenizerSpec& spec);

std::string serialize(const TokenizerSpec& spec);
Result<TokenizerSpec> parse_spec(std::string_view bytes);

}  // namespace sluice::text
