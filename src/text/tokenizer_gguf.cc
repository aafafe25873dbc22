// GGUF's tokenizer.ggml.* keys to a spec. The pre-tokenizer is named there; what each name means is one table here.
// Contract: text/tokenizer_gguf.h.
// Next: text/tokenizer_gguf_test.cc.
#include "text/tokenizer_gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/limits.h"
#include "text/byte_alphabet.h"
#include "text/splitters.h"
#include "text/utf8.h"

namespace sluice::text {
namespace {

struct PreTokenizerName {
  std::string_view name;
  std::vector<std::string_view> expressions;
  bool ignore_merges = false;
  bool add_bos = false;
};

const std::vector<PreTokenizerName>& pre_tokenizer_names() {
  using namespace expressions;
  static const std::vector<PreTokenizerName> table = [] {
    std::vector<PreTokenizerName> t;
    const auto add = [&](std::initializer_list<std::string_view> names, std::vector<std::string_view> cuts,
                         bool ignore_merges, bool add_bos) {
      for (const std::string_view name : names) t.push_back({name, cuts, ignore_merges, add_bos});
    };
    add({"gpt-2", "olmo", "mpt", "phi-2", "exaone4", "granite-docling", "modern-bert", "jais", "trillion"}, {kGpt2},
        false, false);
    add({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}, {kOneNumber, kGpt2}, false,
        false);
    add({"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"}, {kLlama3}, true, true);
    add({"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, {kLlama3}, false, false);
    add({"qwen2", "stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez", "solar-open"}, {kQwen2}, false, false);
    add({"qwen35"}, {kQwen35}, false, false);
    add({"tekken"}, {kTekken}, true, true);
    add({"gpt-4o", "llama4", "minimax-m2"}, {kGpt4o}, false, false);
    add({"kimi-k2"}, {kKimi}, false, false);
    add({"deepseek-v3", "hunyuan-dense"}, {kNumbers3, kHanKana, kDeepSeek3}, false, false);
    add({"deepseek-llm"}, {kNewline, kSpacedCased, kSpacedDeepSeekPunctuation, kSpacesAtEnd, kDeepSeekEast, kNumbers},
        false, false);
    add({"deepseek-coder"}, {kNewline, kSpacedLetters, kSpacedPunctuation, kDeepSeekEast, kOneNumber}, false, false);
    add({"falcon"}, {kFalconPunctuation, kGpt2, kThreeDigits}, false, false);
    add({"chameleon"}, {kDefaultPunctuation, kGpt2, kNumbers, kThreeDigits}, false, true);
    add({"default", ""}, {kDefaultPunctuation, kGpt2, kNumbers, kThreeDigits}, false, false);
    return t;
  }();
  return table;
}

const PreTokenizerName& pre_tokenizer_named(std::string_view name, std::vector<std::string>& notes) {
  const auto& table = pre_tokenizer_names();
  const auto named = [&](std::string_view wanted) {
    return std::find_if(table.begin(), table.end(),
                        [&](const PreTokenizerName& entry) { return entry.name == wanted; });
  };
  const auto found = named(name);
  if (found != table.end()) return *found;
  notes.push_back(fmt::format("pre-tokenizer '{}' is unknown; 'default' is used", shown(name)));
  return *named("default");
}

Result<int32_t> checked_id(const char* key, std::optional<int64_t> given, int64_t otherwise, size_t tokens) {
  if (!given) return static_cast<int32_t>(otherwise >= 0 && static_cast<size_t>(otherwise) < tokens ? otherwise : -1);
  // Writers put -1, or its 32 bits, for "none".
  if (*given == -1 || *given == UINT32_MAX) return -1;
  if (*given < 0 || static_cast<uint64_t>(*given) >= tokens)
    return Error{fmt::format("tokenizer.ggml.{} is {} with {} tokens", key, *given, tokens)};
  return static_cast<int32_t>(*given);
}

Status read_ids(const GgufTokenizerFields& fields, bool is_llama, TokenizerSpec& spec) {
  const size_t tokens = fields.tokens.size();
  SLUICE_TRY(spec.bos_id, checked_id("bos_token_id", fields.bos_token_id, is_llama ? 1 : -1, tokens));
  SLUICE_TRY(spec.eos_id, checked_id("eos_token_id", fields.eos_token_id, is_llama ? 2 : -1, tokens));
  SLUICE_TRY(spec.eot_id, checked_id("eot_token_id", fields.eot_token_id, -1, tokens));
  SLUICE_TRY(spec.eom_id, checked_id("eom_token_id", fields.eom_token_id, -1, tokens));
  SLUICE_TRY(spec.unknown_id, checked_id("unknown_token_id", fields.unknown_token_id, is_llama ? 0 : -1, tokens));
  SLUICE_TRY(spec.pad_id, checked_id("padding_token_id", fields.padding_token_id, -1, tokens));
  return {};
}

TokenType type_by_name(size_t id, std::string_view text, const TokenizerSpec& spec) {
  if (parse_byte_token(text)) return TokenType::kByte;
  const auto i = static_cast<int32_t>(std::min<size_t>(id, INT32_MAX));
  if (i == spec.unknown_id) return TokenType::kUnknown;
  return i == spec.bos_id || i == spec.eos_id ? TokenType::kControl : TokenType::kNormal;
}

Status read_types(const GgufTokenizerFields& fields, bool is_llama, TokenizerSpec& spec) {
  const size_t count = fields.tokens.size();
  if (!fields.token_type.empty() && fields.token_type.size() != count) {
    return Error{
        fmt::format("tokenizer.ggml.token_type has {} entries for {} tokens", fields.token_type.size(), count)};
  }
  spec.types.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (fields.token_type.empty()) {
      spec.types.push_back(is_llama ? type_by_name(i, fields.tokens[i], spec) : TokenType::kNormal);
      continue;
    }
    const int32_t type = fields.token_type[i];
    if (type < 0 || type > 6) return Error{fmt::format("token {} has type {}, known are 0 to 6", i, type)};
    spec.types.push_back(type == 0 ? TokenType::kNormal : static_cast<TokenType>(type));
  }
  return {};
}

// Control, unknown and user-defined tokens are found in the text as they stand; the first two only on request.
void add_added_tokens(TokenizerSpec& spec) {
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const TokenType type = spec.types[i];
    const bool special = type == TokenType::kControl || type == TokenType::kUnknown;
    if ((!special && type != TokenType::kUserDefined) || spec.tokens[i].empty()) continue;
    spec.added_tokens.push_back({.id = static_cast<uint32_t>(i), .special = special});
  }
}

void add_ends(const GgufTokenizerFields& fields, bool add_bos, bool add_eos, TokenizerSpec& spec) {
  if (fields.add_bos_token.value_or(add_bos) && spec.bos_id >= 0) spec.prefix_ids = {spec.bos_id};
  if (fields.add_eos_token.value_or(add_eos) && spec.eos_id >= 0) spec.suffix_ids = {spec.eos_id};
}

// "A B", cut at the first blank that is not the first byte.
Status read_merges(const std::vector<std::string>& merges, TokenizerSpec& spec) {
  if (merges.size() > limits::kMergesMax)
    return Error{fmt::format("{} merges, limit {}", merges.size(), limits::kMergesMax)};
  std::unordered_map<std::string, uint32_t> symbols;
  symbols.reserve(spec.tokens.size());
  for (size_t i = 0; i < spec.tokens.size(); ++i) symbols.emplace(spec.tokens[i], static_cast<uint32_t>(i));
  const auto symbol = [&](std::string_view text) {
    std::string bytes = from_byte_alphabet(text).value_or(std::string(text));
    const auto next = static_cast<uint32_t>(spec.tokens.size() + spec.extra_symbols.size());
    const auto [place, is_new] = symbols.emplace(std::move(bytes), next);
    if (is_new) spec.extra_symbols.push_back(place->first);
    return place->second;
  };
  spec.merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const std::string_view merge = merges[i];
    const size_t blank = merge.find(' ', 1);
    if (blank == std::string_view::npos || blank + 1 == merge.size()) {
      return Error{fmt::format("merge {} is '{}', not two parts with a blank between", i, shown(merge))};
    }
    spec.merges.push_back({symbol(merge.substr(0, blank)), symbol(merge.substr(blank + 1))});
  }
  return {};
}

Result<TokenizerSpec> byte_level_spec(GgufTokenizerFields& fields) {
  TokenizerSpec spec;
  spec.kind = ModelKind::kByteLevelBpe;
  SLUICE_TRY_VOID(read_ids(fields, false, spec));
  SLUICE_TRY_VOID(read_types(fields, false, spec));
  spec.tokens = std::move(fields.tokens);
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    const TokenType type = spec.types[i];
    if (type == TokenType::kByte) spec.types[i] = TokenType::kNormal;
    if (type == TokenType::kControl || type == TokenType::kUnknown || type == TokenType::kUserDefined) continue;
    if (auto bytes = from_byte_alphabet(spec.tokens[i])) spec.tokens[i] = std::move(*bytes);
  }
  SLUICE_TRY_VOID(read_merges(fields.merges, spec));
  const PreTokenizerName& pre = pre_tokenizer_named(fields.pre, spec.notes);
  for (const std::string_view expression : pre.expressions)
    spec.pre_tokenizer.push_back({.text = std::string(expression)});
  spec.ignore_merges = pre.ignore_merges;
  if (fields.add_space_prefix.value_or(false)) spec.space_prefix = SpacePrefix::kAlways;
  spec.strip_leading_space = spec.space_prefix != SpacePrefix::kNever;
  add_added_tokens(spec);
  add_ends(fields, pre.add_bos, false, spec);
  return spec;
}

Status read_scores(GgufTokenizerFields& fields, TokenizerSpec& spec) {
  const size_t count = spec.tokens.size();
  if (fields.scores.empty()) {
    fields.scores.assign(count, 0.0f);
  } else if (fields.scores.size() != count) {
    return Error{fmt::format("tokenizer.ggml.scores has {} entries for {} tokens", fields.scores.size(), count)};
  }
  spec.scores = std::move(fields.scores);
  float low = std::numeric_limits<float>::infinity();
  float high = -low;
  size_t normal = 0;
  for (size_t i = 0; i < count; ++i) {
    if (spec.types[i] != TokenType::kNormal) continue;
    ++normal;
    low = std::min(low, spec.scores[i]);
    high = std::max(high, spec.scores[i]);
  }
  // A converter without tokenizer.model writes one placeholder for all: merging then goes from left to right, not by
  // rank.
  if (normal > 1 && low == high) {
    spec.notes.push_back(fmt::format(
        "all {} scores are {}: this file lost its merge order, and some text becomes other ids than its authors'; "
        "read tokenizer.json instead if there is one",
        normal, low));
  }
  return {};
}

Result<TokenizerSpec> sentencepiece_spec(GgufTokenizerFields& fields, ModelKind kind) {
  TokenizerSpec spec;
  spec.kind = kind;
  const bool is_llama = kind == ModelKind::kSentencePieceBpe;
  SLUICE_TRY_VOID(read_ids(fields, is_llama, spec));
  SLUICE_TRY_VOID(read_types(fields, true, spec));
  spec.tokens = std::move(fields.tokens);
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.types[i] != TokenType::kByte) continue;
    const auto byte = parse_byte_token(spec.tokens[i]);
    if (!byte) return Error{fmt::format("byte token {} is '{}', not <0x00> to <0xFF>", i, shown(spec.tokens[i]))};
    spec.tokens[i].assign(1, static_cast<char>(*byte));
    spec.byte_fallback = true;
  }
  SLUICE_TRY_VOID(read_scores(fields, spec));
  if (!is_llama) {
    if (!fields.precompiled_charsmap.empty()) {
      spec.normalizer.push_back({.kind = NormalizerKind::kCharsmap, .text = std::move(fields.precompiled_charsmap)});
    }
    if (fields.remove_extra_whitespaces.value_or(true))
      spec.normalizer.push_back({.kind = NormalizerKind::kCollapseSpaces});
    spec.fuse_unknown = true;
  }
  spec.space_prefix = fields.add_space_prefix.value_or(true) ? SpacePrefix::kAlways : SpacePrefix::kNever;
  spec.replace_spaces = true;
  spec.restore_spaces = true;
  spec.strip_leading_space = spec.space_prefix != SpacePrefix::kNever;
  add_added_tokens(spec);
  add_ends(fields, is_llama, !is_llama, spec);
  return spec;
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::optional<uint8_t> parse_byte_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = digit_of(text[3]);
  const int low = digit_of(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high * 16 + low);
}

Result<TokenizerSpec> spec_from_gguf(GgufTokenizerFields fields) {
  if (fields.tokens.size() > limits::kVocabularyMax) {
    return Error{fmt::format("{} tokens, limit {}", fields.tokens.size(), limits::kVocabularyMax)};
  }
  const auto make = [&]() -> Result<TokenizerSpec> {
    if (fields.model == "gpt2") return byte_level_spec(fields);
    if (fields.model == "llama") return sentencepiece_spec(fields, ModelKind::kSentencePieceBpe);
    if (fields.model == "t5") return sentencepiece_spec(fields, ModelKind::kUnigram);
    return Error{
        fmt::format("tokenizer.ggml.model '{}' is not supported; known are llama, gpt2, t5", shown(fields.model))};
  };
  SLUICE_TRY(TokenizerSpec spec, make());
  spec.chat_templates = std::move(fields.chat_templates);
  SLUICE_TRY_VOID(check_spec(spec));
  return spec;
}

}  // namespace sluice::text
