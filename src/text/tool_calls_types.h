// Which kinds of values a tool's parameters take: in XML-like calls `5` is a number or a string as the tool's schema says.
// Contract: never fails; of a schema that cannot be read every parameter may be anything. Next: text/tool_calls.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tool_calls_literal.h"

namespace sluice::text {

struct Tool;

class ToolTypes {
 public:
  explicit ToolTypes(std::span<const Tool> tools);
  // Bits of text/tool_calls_literal.h.
  uint8_t of(std::string_view tool, std::string_view parameter) const;

 private:
  struct Entry {
    std::string name;
    std::vector<std::pair<std::string, uint8_t>> parameters;
  };
  std::vector<Entry> tools_;
};

// The value that the text of a parameter means, as JSON: a string if the types allow nothing else, or if it reads as nothing else.
std::string value_of(std::string_view text, uint8_t types);

}  // namespace sluice::text
