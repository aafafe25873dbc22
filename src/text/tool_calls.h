// Tool calls: what a model of each chat format writes, as a grammar, and read back into calls while it streams.
// Contract: formats whose calls are a name and one JSON object are here (eight of them); XML-like (Qwen3-Coder, GLM, MiniMax) and pythonic
// ones (LFM2, Llama 3.2) are not yet: find_tool_format() does not know them. The parser gives the same events however the text is cut.
// Next: text/constraint_tags.h, docs/constraints.md.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar.h"
#include "text/grammar_compile.h"

namespace sluice::text {

// section_begin call_begin NAME before_arguments {...} call_end (separator call_begin ...)* section_end. In the pieces '#' stands for one
// to four digits and '@' for nine letters or digits. Pieces may hold names of special tokens.
struct ToolFormat {
  std::string_view name;
  std::string_view section_begin, call_begin, before_arguments, call_end, separator, section_end;
  bool parallel;  // may there be several calls?
};
std::span<const ToolFormat> tool_formats();
const ToolFormat* find_tool_format(std::string_view name);
// By what a chat template writes into the prompt; null if it is none of ours.
const ToolFormat* detect_tool_format(std::string_view chat_template);

struct Tool {
  std::string name;        // letters, digits, '_', '-', '.'; at most 64
  std::string parameters;  // JSON Schema of an object; empty: any object
};

struct ToolCallOptions {
  bool required = false;                 // the output is calls and nothing else; otherwise text may come first, or no call at all
  bool parallel = true;                  // allow several calls where the format does
  bool strict = true;                    // arguments obey the schema; otherwise they are any JSON object
  JsonSpace space = JsonSpace::kSpaced;  // as chat templates write JSON
};

// Sets grammar.root. The name of the tool whose schema is not supported stands in the Error.
Status build_tool_calls(const ToolFormat& format, std::span<const Tool> tools, const ToolCallOptions& options, Grammar& grammar);

struct ToolEvent {
  enum class Kind : uint8_t { kText, kCallBegin, kArguments, kCallEnd, kBroken };
  Kind kind;
  uint32_t call = 0;  // number of the call, from 0
  std::string text;   // kText: content; kCallBegin: the tool's name; kArguments: the next piece of JSON; kBroken: output that is no call
  bool operator==(const ToolEvent&) const = default;
};

class ToolCallParser {
 public:
  explicit ToolCallParser(const ToolFormat& format) : format_(format) {}
  std::vector<ToolEvent> feed(std::string_view text);
  // The end of the output: what was held back comes as text, or as kBroken inside a call.
  std::vector<ToolEvent> finish();

 private:
  enum class At : uint8_t { kText, kCallBegin, kName, kBefore, kArguments, kCallEnd, kBetween, kBroken };
  bool advance(std::vector<ToolEvent>& events);
  bool scan_text(std::vector<ToolEvent>& events);
  bool expect(std::string_view piece, At then, std::vector<ToolEvent>& events);
  bool scan_name(std::vector<ToolEvent>& events);
  bool scan_arguments(std::vector<ToolEvent>& events);
  bool scan_between(std::vector<ToolEvent>& events);

  const ToolFormat& format_;
  At at_ = At::kText;
  std::string held_;
  uint32_t call_ = 0;
  uint32_t depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

}  // namespace sluice::text
