// Any bytes as tokenizer.model: they are refused, or make a tokenizer that takes any text. User text never becomes a
// control token.
#include <string_view>

#include "base/check.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

using namespace sluice::text;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  auto spec = spec_from_sentencepiece(input);
  if (!spec.ok()) {
    SLUICE_CHECK(!spec.error().message.empty() && is_valid_utf8(spec.error().message));
    return 0;
  }
  auto tokenizer = Tokenizer::create(std::move(*spec));
  if (!tokenizer.ok()) return 0;
  const std::string_view text = input.substr(0, 2000);
  auto ids = tokenizer->encode(text, {});
  if (!ids.ok()) return 0;
  for (const int32_t id : *ids) SLUICE_CHECK(tokenizer->type(id) != TokenType::kControl);
  SLUICE_CHECK(tokenizer->decode(*ids, true).ok());
  (void)tokenizer->encode(text, {.parse_special = true, .add_special = true}).ok();
  return 0;
}
