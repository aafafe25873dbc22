// JSON from untrusted files. A linear scan first bounds nesting and the length of tokens and finds bare Infinity and NaN (Python writes them);
// then nlohmann's SAX parser does the reading, so nothing is built that the caller did not ask for. Duplicate keys are errors.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::weights {

struct JsonLimits {
  uint32_t depth_max;
  uint64_t token_bytes_max;  // of a string, a number or the space between two; nlohmann buffers each of them whole
  bool non_finite;            // take bare Infinity, -Infinity and NaN
};

// The scan alone. Where non_finite is set and such a token occurs, `rewritten` receives the text with each of them as a string that no
// other string of the text can equal (it begins with U+0001); otherwise it stays empty and the text is good as it is.
Status scan_json(std::string_view text, const JsonLimits& limits, std::string& rewritten);

// Scan without non-finite numbers, then events to `handler`; its parse_error must keep the message for later.
Status sax_json(std::string_view text, const JsonLimits& limits, nlohmann::json_sax<nlohmann::json>& handler, const std::string& handler_error);

// A whole config.json. Bare and {"__float__": "Infinity"} spellings both become floats. The text is at most limits::kConfigBytesMax long
// (the caller reads it so), which bounds the memory of the document.
Result<nlohmann::json> parse_config(std::string_view text);

// nlohmann's "[json.exception.parse_error.101] parse error at line 1 ..." without the tag.
std::string json_error_text(const char* what);

}  // namespace sluice::weights
