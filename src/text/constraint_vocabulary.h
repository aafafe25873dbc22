// A tokenizer's vocabulary prepared for constraints, once per model and shared by all of them.
// Contract: immutable from outside and safe to share between threads; masks of the built-in rules are computed here, once.
// Next: text/constraint.h is where it is used.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/grammar_compile.h"
#include "text/token_trie.h"

namespace sluice::text {

class Tokenizer;

using MaskWord = uint64_t;  // token i is bit i % 64 of word i / 64

// The tokens that a state allows, as far as that does not depend on what is open around its rule.
struct StateMask {
  uint32_t plain = 0;            // index into ConstraintVocabulary::plain_mask
  std::vector<uint32_t> tokens;  // allowed besides those, when few
  std::vector<MaskWord> words;   // allowed besides those, when many
  TokenTrie rest;                // what is left of tokens in whose middle the rule ends
  uint64_t bytes() const { return sizeof(*this) + tokens.size() * 4 + words.size() * sizeof(MaskWord) + rest.bytes(); }
};

// One slot per state, filled at most once, by whoever comes first.
class StateMaskTable {
 public:
  explicit StateMaskTable(size_t states) : slots_(states) {}
  ~StateMaskTable();
  StateMaskTable(const StateMaskTable&) = delete;
  StateMaskTable& operator=(const StateMaskTable&) = delete;

  const StateMask* get(size_t state) const { return slots_[state].load(std::memory_order_acquire); }
  const StateMask* publish(size_t state, std::unique_ptr<StateMask> mask);
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed) + slots_.size() * sizeof(void*); }

 private:
  std::vector<std::atomic<const StateMask*>> slots_;
  std::atomic<uint64_t> bytes_ = 0;
};

class ConstraintVocabulary {
 public:
  // token_bytes[i]: the bytes that token i stands for; special[i] (may be empty: none is): token i is a control token, its bytes are its
  // name; end_tokens: ids that end the output. Tokens without bytes, those longer than limits::kConstraintTokenBytesMax, and those
  // with a byte that no UTF-8 has (0xFE, 0xFF), are never allowed.
  static Result<std::shared_ptr<const ConstraintVocabulary>> create(std::span<const std::string> token_bytes,
                                                                    std::span<const uint32_t> end_tokens, std::span<const uint8_t> special);
  // A tokenizer's; `logits` of the model may be more than the tokenizer has tokens: those are never allowed.
  static Result<std::shared_ptr<const ConstraintVocabulary>> of(const Tokenizer& tokenizer, size_t logits);

  size_t size() const { return token_bytes_.size(); }
  size_t mask_words() const { return (size() + 63) / 64; }
  // As the grammar sees it: special tokens carry kSpecialOpen and kSpecialClose.
  const std::string& token_bytes(uint32_t token) const { return token_bytes_[token]; }
  const std::vector<uint32_t>& end_tokens() const { return end_tokens_; }
  bool is_end(uint32_t token) const;

  const TokenTrie& plain() const { return plain_; }  // tokens of whole, plain characters only
  const TokenTrie& hard() const { return hard_; }    // all others
  // Tokens of at most `index` plain characters; index kSafeMax + 1: of any number.
  const std::vector<MaskWord>& plain_mask(uint32_t index) const { return plain_masks_[index]; }
  StateMaskTable& builtin_masks() const { return *builtin_masks_; }
  uint64_t bytes() const;

 private:
  ConstraintVocabulary() = default;

  std::vector<std::string> token_bytes_;
  std::vector<uint32_t> end_tokens_;
  TokenTrie plain_, hard_;
  std::vector<std::vector<MaskWord>> plain_masks_;  // (kSafeMax + 2, mask_words)
  std::unique_ptr<StateMaskTable> builtin_masks_;
};

}  // namespace sluice::text
