// What the constraint fuzz targets share: any bytes as a constraint of one kind: compile under the budget, then check that mask and accept agree along a
// short walk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "text/constraint.h"

namespace sluice::text {

inline std::shared_ptr<const ConstraintVocabulary> byte_vocabulary() {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  for (const char* word : {"\":", "\",\"", "\"}", "}}", "true", "ab", "{\"", "12", "<end>"}) tokens.emplace_back(word);
  const std::vector<uint32_t> end = {static_cast<uint32_t>(tokens.size() - 1)};
  return *ConstraintVocabulary::create(tokens, end, {});
}

inline int fuzz_constraint(ConstraintKind kind, const uint8_t* data, size_t size) {
  static const auto vocabulary = byte_vocabulary();
  ConstraintSpec spec;
  spec.kind = kind;
  spec.text.assign(reinterpret_cast<const char*>(data), size);
  if (size % 4 == 3) {  // the same behind thoughts that are left to the model
    spec.start_open = "<think>";
    spec.start_after = "</think>";
  }
  const auto constraint = Constraint::compile(spec, vocabulary, {200'000, 8 << 20});
  if (!constraint.ok()) {
    SLUICE_CHECK(!constraint.error().message.empty());
    return 0;
  }
  ConstraintState state(*constraint);
  std::vector<MaskWord> mask(vocabulary->mask_words());
  for (size_t step = 0; step < 12 && !state.finished(); ++step) {
    if (!state.fill_mask(mask)) return 0;
    uint32_t chosen = ~0u;
    for (uint32_t token = 0; token < vocabulary->size(); ++token) {
      const bool allowed = mask[token / 64] >> (token % 64) & 1;
      ConstraintState fork(state);
      SLUICE_CHECK(fork.accept(token) == allowed);
      if (allowed && (chosen == ~0u || (token + step * 7 + size) % 5 == 0)) chosen = token;
    }
    SLUICE_CHECK(state.accept(chosen));
  }
  return 0;
}

}  // namespace sluice::text
