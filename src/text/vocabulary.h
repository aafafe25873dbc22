// The model inside a tokenizer: one piece of text to ids. Symbols are tokens, or texts outside the vocabulary that take
// part in merges. Contract: built from a checked spec, which must outlive it; immutable, so safe to share. Never gives
// a control token. Next: text/tokenizer.cc (what happens before), text/merges.h (the merging).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "text/merges.h"
#include "text/prefix_set.h"
#include "text/symbol_index.h"
#include "text/tokenizer_spec.h"

namespace sluice::text {

// Working memory of one thread's encode calls.
struct PieceScratch {
  Merger merger;
  std::vector<uint32_t> symbols;
  std::vector<std::string_view> unknown;  // the characters that no symbol stands for, in order
  struct Cached {
    uint8_t bytes = 0;  // 0: empty
    char text[27] = {};
    uint32_t begin = 0;  // range of the output that this piece made before
    uint32_t count = 0;
  };
  std::vector<Cached> cache;
  struct Best {
    double score;
    uint32_t from;
    uint32_t token;
  };
  std::vector<Best> best;
};

class Vocabulary {
 public:
  static Result<std::unique_ptr<const Vocabulary>> create(const TokenizerSpec& spec);

  // Appends the piece's ids. `out` may only be appended to between calls that share a scratch.
  Status encode(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const;

  // A token that ordinary text may become.
  std::optional<uint32_t> find(std::string_view text) const;

  // No token holds U+2581 after another character: a text may be cut before each run of U+2581 without changing its
  // ids.
  bool words_are_separate() const { return words_are_separate_; }

 private:
  explicit Vocabulary(const TokenizerSpec& spec)
      : spec_(spec), index_(spec.tokens.size() + spec.extra_symbols.size() + spec.merges.size() / 8) {}

  // The symbol of a text, or kNotFound.
  uint32_t lookup(std::string_view text) const {
    return index_.find(text, [this](uint32_t s) { return text_of(s); });
  }
  std::string_view text_of(uint32_t symbol) const {
    const size_t tokens = spec_.tokens.size();
    return symbol < tokens ? spec_.tokens[symbol] : extra_[symbol - tokens];
  }

  void index_tokens();
  Status build_ranked_merges();
  Status build_scored_merges();
  void build_unigram();
  Result<uint32_t> symbol(std::string_view text);
  void encode_bytes(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const;
  void encode_characters(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const;
  void encode_unigram(std::string_view piece, PieceScratch& scratch, std::vector<int32_t>& out) const;
  void emit_symbol(uint32_t symbol, std::vector<int32_t>& out) const;
  void emit_unknown(std::string_view text, std::vector<int32_t>& out) const;
  void emit_unknown_character(std::string_view character, std::vector<int32_t>& out) const;

  const TokenizerSpec& spec_;
  SymbolIndex index_;              // mergeable tokens and extra symbols by text
  std::deque<std::string> extra_;  // texts of symbols from tokens.size() on; a deque keeps them in place
  size_t extra_bytes_ = 0;
  MergeTable merges_{0};
  PrefixSet unigram_;
  double unknown_score_ = 0;
  std::array<int32_t, 256> byte_ids_{};       // -1: none
  std::array<uint32_t, 256> byte_symbols_{};  // kNoSymbol: none
  std::unordered_map<uint32_t, std::pair<uint32_t, uint32_t>>
      unused_;  // an unused token is emitted as the two it is made of
  bool words_are_separate_ = false;
};

}  // namespace sluice::text
