// One value as JSON or as Python writes it, read into JSON: what stands behind `name=` in a pythonic call or between the tags of an XML-like one.
// Contract: any bytes may come in; nesting is bounded. Next: text/tool_calls_types.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::text {

// Kinds of JSON values, as bits.
inline constexpr uint8_t kIsNull = 1, kIsBoolean = 2, kIsInteger = 4, kIsNumber = 8, kIsString = 16, kIsArray = 32, kIsObject = 64;
inline constexpr uint8_t kIsAnything = 127;

// Sets `json` and `type` (one bit; an integer is not kIsNumber). False if the text is not exactly one such value; white space around it is fine.
bool read_literal(std::string_view text, std::string& json, uint8_t& type);

// Appends the text as JSON string content, without quotes.
void append_json_escaped(std::string& out, std::string_view text);

}  // namespace sluice::text
