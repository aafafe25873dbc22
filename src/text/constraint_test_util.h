// Helpers of the constraint tests: small vocabularies, a brute-force mask, and running a text through a constraint token by token.
// Contract: tests only. Next: text/constraint_test.cc.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "text/constraint.h"

namespace sluice::text {

// All single bytes, some words that cut across JSON punctuation and UTF-8, then <end> and a special token.
inline std::vector<std::string> small_vocabulary() {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  for (const char* word : {"tr",
                           "true",
                           "false",
                           "null",
                           "\":",
                           "\",\"",
                           "\"}",
                           "\"]",
                           "\":\"",
                           "{\"",
                           "}}",
                           "},{",
                           "],",
                           "[[",
                           "]]",
                           "12",
                           "123",
                           "0.5",
                           "-1",
                           "e+",
                           "name",
                           "na",
                           "me\"",
                           "ab",
                           "abc",
                           "a\"",
                           "foo",
                           "bar",
                           " ",
                           "  ",
                           "\n",
                           ", ",
                           ": ",
                           "\\u",
                           "\\n",
                           "\\\"",
                           "é",
                           "\xC3",
                           "\xA9\"",
                           "日本",
                           "\xE6\x97",
                           "hello world",
                           "a long run of words",
                           "<tool_call>",
                           "</tool_call>",
                           "</think>",
                           "\n\n",
                           "yes",
                           "no",
                           "2024-",
                           "-01",
                           "@",
                           ".com"}) {
    tokens.emplace_back(word);
  }
  tokens.emplace_back("<end>");
  tokens.emplace_back("<|call|>");
  return tokens;
}

inline std::shared_ptr<const ConstraintVocabulary> small() {
  static const std::shared_ptr<const ConstraintVocabulary> vocabulary = [] {
    const std::vector<std::string> tokens = small_vocabulary();
    std::vector<uint8_t> special(tokens.size(), 0);
    special.back() = 1;
    const std::vector<uint32_t> end = {static_cast<uint32_t>(tokens.size() - 2)};
    auto created = ConstraintVocabulary::create(tokens, end, special);
    SLUICE_CHECK(created.ok());
    return *created;
  }();
  return vocabulary;
}
inline uint32_t end_token() { return small()->end_tokens()[0]; }

inline ConstraintSpec spec_of(ConstraintKind kind, std::string text) {
  ConstraintSpec spec;
  spec.kind = kind;
  spec.text = std::move(text);
  return spec;
}

inline std::shared_ptr<const Constraint> compiled(const ConstraintSpec& spec) {
  auto constraint = Constraint::compile(spec, small(), {});
  EXPECT_TRUE(constraint.ok()) << (constraint.ok() ? "" : constraint.error().message);
  return constraint.ok() ? *constraint : nullptr;
}

inline std::string refusal(const ConstraintSpec& spec) {
  const auto constraint = Constraint::compile(spec, small(), {});
  return constraint.ok() ? "" : constraint.error().message;
}

inline bool accepts(const std::shared_ptr<const Constraint>& constraint, std::string_view text) {
  ConstraintState state(constraint);
  return (text.empty() || state.accept_text(text)) && state.can_end();
}

inline bool bit(const std::vector<MaskWord>& mask, uint32_t token) { return mask[token / 64] >> (token % 64) & 1; }

// The mask must allow exactly what accept() takes.
inline void expect_exact_mask(ConstraintState& state, const ConstraintVocabulary& vocabulary, std::string_view where) {
  std::vector<MaskWord> mask(vocabulary.mask_words());
  state.fill_mask(mask);
  for (uint32_t token = 0; token < vocabulary.size(); ++token) {
    ConstraintState fork(state);
    EXPECT_EQ(bit(mask, token), fork.accept(token)) << "token '" << vocabulary.token_bytes(token) << "' after '" << where << "'";
  }
}

// A number generator for tests; the same everywhere.
struct TestRandom {
  uint64_t state = 1;
  uint64_t next() {
    state += 0x9E3779B97F4A7C15ull;
    uint64_t z = state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
  uint64_t below(uint64_t n) { return next() % n; }
};

// A uniformly random allowed token; -1 if there is none.
inline int64_t random_token(const std::vector<MaskWord>& mask, TestRandom& random) {
  uint64_t count = 0;
  for (const MaskWord word : mask) count += static_cast<uint64_t>(__builtin_popcountll(word));
  if (count == 0) return -1;
  uint64_t skip = random.below(count);
  for (size_t w = 0; w < mask.size(); ++w) {
    MaskWord word = mask[w];
    const uint64_t here = static_cast<uint64_t>(__builtin_popcountll(word));
    if (skip >= here) {
      skip -= here;
      continue;
    }
    for (; skip > 0; --skip) word &= word - 1;
    return static_cast<int64_t>(w * 64) + __builtin_ctzll(word);
  }
  return -1;
}

}  // namespace sluice::text
