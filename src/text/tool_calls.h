// Tool calls: what a model of each chat format writes, as a grammar, and read back into calls while it streams.
// Contract: three styles of calls: a name and one JSON object; XML-like ones with a tag for each parameter; pythonic ones, name(key=value).
// Whatever the style, arguments are read back as one JSON object, with the types of the tool's schema. The parser gives the same events
// however the text is cut; it needs the text of special tokens. Next: text/constraint_tags.h, docs/constraints.md.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/grammar.h"
#include "text/grammar_compile.h"
#include "text/tool_calls_types.h"

namespace sluice::text {

enum class ToolStyle : uint8_t {
  kJson,    // {...}
  kXml,     // param_begin KEY param_value VALUE param_end, strings as they are
  kPython,  // KEY=VALUE, KEY=VALUE
};

// section_begin call_begin NAME before_arguments ARGUMENTS call_end (separator call_begin ...)* section_end. In the pieces '#' stands for
// one to four digits, '@' for nine letters or digits, '*' for nine or ten, '%' for the tool's name. Pieces may hold names of special tokens.
struct ToolFormat {
  std::string_view name;
  ToolStyle style;
  std::string_view section_begin, call_begin, before_arguments, call_end, separator, section_end;
  bool parallel = true;                  // may there be several calls?
  JsonSpace space = JsonSpace::kSpaced;  // how values are written; kPython: also as Python does
  std::string_view param_begin = {}, param_value = {}, param_end = {};
  std::string_view param_gap = {};         // white space behind param_end
  std::string_view param_value_other = {};  // instead of param_value where the value is no string
  bool cdata = false;                      // strings with '<', '&' or line breaks stand in <![CDATA[ ]]>
  bool named_begin = false;                // the name is part of what tells a call from text
  bool end_optional = false;               // section_end may be an end token of the model
  std::string_view free_tokens = {};       // names of special tokens that belong to the text around calls, by blanks
};
std::span<const ToolFormat> tool_formats();
const ToolFormat* find_tool_format(std::string_view name);
// By what the template writes for a conversation with calls, else by what it tells the model; null if it knows no calls, or not ours.
const ToolFormat* detect_tool_format(std::string_view chat_template);

struct Tool {
  std::string name;        // letters, digits, '_', '-', '.'; at most 64
  std::string parameters;  // JSON Schema of an object; empty: any object
};

struct ToolCallOptions {
  bool required = false;                 // the output is calls and nothing else; otherwise text may come first, or no call at all
  bool parallel = true;                  // allow several calls where the format does
  bool strict = true;                    // arguments obey the schema; otherwise they are any JSON object
  JsonSpace space = JsonSpace::kSpaced;  // of formats in JSON, as chat templates write it
};

// Sets grammar.root. The name of the tool whose schema is not supported stands in the Error.
Status build_tool_calls(const ToolFormat& format, std::span<const Tool> tools, const ToolCallOptions& options, Grammar& grammar);

// The same through ConstraintSpec (ConstraintKind::kToolCalls): format, tools and options as one text, and back.
std::string tool_calls_text(const ToolFormat& format, std::span<const Tool> tools, const ToolCallOptions& options);
Status build_tool_calls(std::string_view text, Grammar& grammar);

// A call id that the format's chat template takes back; `random` tells ids apart.
std::string tool_call_id(const ToolFormat& format, std::string_view tool, uint32_t call, uint64_t random);

struct ToolEvent {
  enum class Kind : uint8_t { kText, kCallBegin, kArguments, kCallEnd, kBroken };
  Kind kind;
  uint32_t call = 0;  // number of the call, from 0
  std::string text;   // kText: content; kCallBegin: the tool's name; kArguments: the next piece of JSON; kBroken: output that is no call
  bool operator==(const ToolEvent&) const = default;
};

class ToolCallParser {
 public:
  // `tools`: for the types of parameters; formats whose calls begin with a tool's name know no other tools.
  explicit ToolCallParser(const ToolFormat& format, std::span<const Tool> tools = {});
  std::vector<ToolEvent> feed(std::string_view text);
  // The end of the output: what was held back comes as text, or as kBroken inside a call.
  std::vector<ToolEvent> finish();

 private:
  enum class At : uint8_t { kText, kCallBegin, kName, kBefore, kArguments, kKey, kValue, kString, kOther, kCallEnd, kBetween, kBroken };
  using Events = std::vector<ToolEvent>;
  struct Mark {
    std::string text;  // with it a call begins
    std::string tool;  // of formats whose marks hold the name and all up to the arguments
  };
  bool advance(Events& events);
  bool scan_text(Events& events);
  bool expect(std::string_view piece, At then, Events& events);
  bool scan_name(Events& events);
  bool scan_arguments(Events& events);
  bool scan_key(Events& events);
  bool scan_value();
  bool scan_string(Events& events);
  bool scan_other(Events& events);
  bool scan_between(Events& events);
  bool broken() { return at_ = At::kBroken, true; }
  void begin_call(std::string name, Events& events);
  void begin_arguments(Events& events);
  void begin_parameter(std::string name, uint8_t types, Events& events);
  void end_call(Events& events);
  size_t literal_end();

  const ToolFormat& format_;
  ToolTypes types_;
  std::vector<Mark> marks_, next_marks_;  // in free text; behind another call
  At at_ = At::kText;
  std::string held_;
  std::string tool_;
  std::string_view value_end_;
  uint8_t value_types_ = 0;
  size_t scanned_ = 0;  // of a value that is held back
  uint32_t call_ = 0, parameters_ = 0, depth_ = 0;
  char quote_ = 0;
  bool escaped_ = false;
};

}  // namespace sluice::text
