// Any bytes as a constraint of kind kRegex: compile under the budget, then check that mask and accept agree along a short walk.
#include <cstddef>
#include <cstdint>
#include <string>

#include "text/constraint.h"

namespace {

using namespace sluice::text;

std::shared_ptr<const ConstraintVocabulary> byte_vocabulary() {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.emplace_back(1, static_cast<char>(b));
  for (const char* word : {"\":", "\",\"", "\"}", "}}", "true", "ab", "{\"", "12", "<end>"}) tokens.emplace_back(word);
  const std::vector<uint32_t> end = {static_cast<uint32_t>(tokens.size() - 1)};
  return *ConstraintVocabulary::create(tokens, end, {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto vocabulary = byte_vocabulary();
  ConstraintSpec spec;
  spec.kind = ConstraintKind::kRegex;
  spec.text.assign(reinterpret_cast<const char*>(data), size);
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
