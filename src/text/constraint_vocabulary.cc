// Sorts tokens into plain ones (whole characters that a JSON string may hold unescaped) and hard ones, and counts characters.
// Contract: text/constraint_vocabulary.h. Next: text/grammar_matcher.cc computes the masks.
#include "text/constraint_vocabulary.h"

#include <algorithm>

#include "text/grammar_matcher.h"
#include "text/tokenizer.h"

namespace sluice::text {
namespace {

// The number of characters, or -1 if not all of them are plain.
int plain_characters(std::string_view bytes) {
  int count = 0;
  for (size_t i = 0; i < bytes.size(); ++count) {
    const int32_t c = next_code_point(bytes, i);
    if (c < 0x20 || c == '"' || c == '\\') return -1;
  }
  return count;
}

void set_bit(std::vector<MaskWord>& words, uint32_t token) { words[token / 64] |= MaskWord{1} << (token % 64); }

}  // namespace

StateMaskTable::~StateMaskTable() {
  for (auto& slot : slots_) delete slot.load(std::memory_order_relaxed);
}

const StateMask* StateMaskTable::publish(size_t state, std::unique_ptr<StateMask> mask) {
  const StateMask* expected = nullptr;
  if (!slots_[state].compare_exchange_strong(expected, mask.get(), std::memory_order_acq_rel)) return expected;
  bytes_.fetch_add(mask->bytes(), std::memory_order_relaxed);
  return mask.release();
}

Result<std::shared_ptr<const ConstraintVocabulary>> ConstraintVocabulary::create(std::span<const std::string> token_bytes,
                                                                                 std::span<const uint32_t> end_tokens,
                                                                                 std::span<const uint8_t> special) {
  if (token_bytes.size() > limits::kVocabularyMax) {
    return Error{"the vocabulary has " + std::to_string(token_bytes.size()) + " tokens, more than " +
                 std::to_string(limits::kVocabularyMax)};
  }
  std::shared_ptr<ConstraintVocabulary> out(new ConstraintVocabulary);
  out->token_bytes_.assign(token_bytes.begin(), token_bytes.end());
  for (const uint32_t token : end_tokens) {
    if (token >= token_bytes.size())
      return Error{"end token " + std::to_string(token) + " is outside the vocabulary of " + std::to_string(token_bytes.size())};
    out->end_tokens_.push_back(token);
  }
  std::sort(out->end_tokens_.begin(), out->end_tokens_.end());
  out->plain_masks_.assign(kSafeMax + 2, std::vector<MaskWord>(out->mask_words(), 0));
  std::vector<std::pair<std::string_view, uint32_t>> plain, hard;
  for (uint32_t token = 0; token < out->size(); ++token) {
    std::string& bytes = out->token_bytes_[token];
    // The two bytes that no UTF-8 has mark special tokens: a token that holds one could spell a special token's name from without.
    const bool marked = bytes.find(kSpecialOpen) != std::string::npos || bytes.find(kSpecialClose) != std::string::npos;
    if (marked || bytes.size() > limits::kConstraintTokenBytesMax) bytes.clear();
    if (bytes.empty() || out->is_end(token)) continue;
    if (token < special.size() && special[token]) bytes = kSpecialOpen + bytes + kSpecialClose;
    const int chars = plain_characters(bytes);
    (chars >= 0 ? plain : hard).emplace_back(bytes, token);
    for (int k = chars; k >= 0 && k <= kSafeMax; ++k) set_bit(out->plain_masks_[static_cast<size_t>(k)], token);
    if (chars >= 0) set_bit(out->plain_masks_[kSafeMax + 1], token);
  }
  out->plain_ = TokenTrie::build(std::move(plain));
  out->hard_ = TokenTrie::build(std::move(hard));
  // Plain depth must not be used to skip in the hard trie.
  for (TrieNode& node : out->hard_.nodes) node.chars_max = 255;
  Allowance allowance({1ull << 30, 1ull << 30});
  Grammar grammar = grammar_with_builtins(allowance);
  grammar.root = grammar.add_rule();
  grammar.empty(grammar.root, kRuleStart, kRuleEnd);
  SLUICE_TRY(const Pda pda, compile_grammar(grammar, allowance));
  out->builtin_masks_ = std::make_unique<StateMaskTable>(pda.builtin_states);
  Matcher matcher(pda);
  for (uint32_t s = 0; s < pda.builtin_states; ++s) {
    if (pda.states[s].edges > 0) out->builtin_masks_->publish(s, matcher.compute_mask(s, *out));
  }
  return std::shared_ptr<const ConstraintVocabulary>(std::move(out));
}

Result<std::shared_ptr<const ConstraintVocabulary>> ConstraintVocabulary::of(const Tokenizer& tokenizer, size_t logits) {
  std::vector<std::string> bytes(std::max(logits, tokenizer.vocabulary_size()));
  std::vector<uint8_t> special(bytes.size(), 0);
  for (size_t i = 0; i < tokenizer.vocabulary_size(); ++i) {
    const int32_t id = static_cast<int32_t>(i);
    if (tokenizer.type(id) == TokenType::kUnused || tokenizer.type(id) == TokenType::kUnknown) continue;
    bytes[i] = tokenizer.token_bytes(id);
    special[i] = tokenizer.is_control(id);
  }
  const std::vector<uint32_t> end(tokenizer.end_ids().begin(), tokenizer.end_ids().end());
  return create(bytes, end, special);
}

bool ConstraintVocabulary::is_end(uint32_t token) const { return std::binary_search(end_tokens_.begin(), end_tokens_.end(), token); }

uint64_t ConstraintVocabulary::bytes() const {
  uint64_t total = plain_.bytes() + hard_.bytes() + builtin_masks_->bytes() + plain_masks_.size() * mask_words() * sizeof(MaskWord);
  for (const std::string& bytes : token_bytes_) total += sizeof(std::string) + (bytes.size() > 15 ? bytes.size() : 0);
  return total;
}

}  // namespace sluice::text
