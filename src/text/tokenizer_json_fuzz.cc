// Any bytes as tokenizer.json: they are refused, or make a tokenizer that takes any text. The input's last line, if
// there is one, is the text.
#include <string_view>

#include "base/check.h"
#include "text/detokenizer.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

using namespace sluice::text;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = input.rfind('\n');
  const std::string_view json = input.substr(0, line);
  const std::string_view text = line == std::string_view::npos ? "a b\xFF" : input.substr(line + 1);
  auto spec = spec_from_tokenizer_json({.tokenizer_json = json, .tokenizer_config = json});
  if (!spec.ok()) {
    SLUICE_CHECK(!spec.error().message.empty() && is_valid_utf8(spec.error().message));
    return 0;
  }
  const std::string stored = serialize(*spec);
  auto again = parse_spec(stored);
  SLUICE_CHECK(again.ok() && serialize(*again) == stored);
  auto tokenizer = Tokenizer::create(std::move(*again));
  if (!tokenizer.ok()) return 0;
  auto ids = tokenizer->encode(text, {.parse_special = true, .add_special = true});
  if (!ids.ok()) return 0;
  Detokenizer detokenizer(*tokenizer, {.show_special = true});
  std::string out;
  for (const int32_t id : *ids) SLUICE_CHECK(detokenizer.feed(id, out).ok());
  detokenizer.finish(out);
  SLUICE_CHECK(is_valid_utf8(out));
  return 0;
}
