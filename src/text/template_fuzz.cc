// Fuzz target: a template and a context. The input is the template's source, a NUL byte, then JSON for the context.
// Contract: any bytes end in text or an Error, within the budgets; spans always cover the text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using sluice::text::ChatTemplate;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const auto parsed = ChatTemplate::parse(input.substr(0, end));
  if (!parsed.ok()) return 0;
  auto context = nlohmann::ordered_json::parse(end == std::string_view::npos ? std::string_view("{}") : input.substr(end + 1), nullptr, false);
  if (!context.is_object()) context = {{"messages", {{{"role", "user"}, {"content", "<x> \xC3\xB1"}}}}, {"n", 3}, {"s", "text"}};
  sluice::text::RenderOptions options;
  options.now = sluice::text::DateTime{2026, 11, 22, 5, 6, 7, 0};
  options.limits.steps = 20'000;  // so that a run is short
  options.limits.memory_bytes = 8 << 20;
  const auto rendered = parsed.value().render_parts(context, options);
  if (!rendered.ok()) return 0;
  size_t at = 0;
  for (const auto& span : rendered.value().spans) {
    SLUICE_CHECK(span.begin == at && span.end > at);
    at = span.end;
  }
  SLUICE_CHECK(at == rendered.value().text.size());
  return 0;
}
