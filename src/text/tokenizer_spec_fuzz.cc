// Any bytes as a compiled package's tokenizer: they are refused, or are a spec that says the same when written again
// and tokenizes any text.
#include <string_view>

#include "base/check.h"
#include "text/tokenizer.h"

using namespace sluice::text;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  auto spec = parse_spec(input);
  if (!spec.ok()) return 0;
  const std::string stored = serialize(*spec);
  auto again = parse_spec(stored);
  SLUICE_CHECK(again.ok() && serialize(*again) == stored);
  auto tokenizer = Tokenizer::create(std::move(*spec));
  if (!tokenizer.ok()) return 0;
  auto ids = tokenizer->encode(input.substr(0, 2000), {.parse_special = true, .add_special = true});
  if (ids.ok()) SLUICE_CHECK(tokenizer->decode(*ids, true).ok());
  return 0;
}
