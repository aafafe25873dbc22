// The table of formats, their grammar, and the streaming parser. Contract: text/tool_calls.h. Sources: the chat templates named beside each
// row. Next: text/grammar_free_text.cc.
#include "text/tool_calls.h"

#include <algorithm>

#include "text/grammar_free_text.h"
#include "text/json_schema.h"

namespace sluice::text {
namespace {

constexpr ToolFormat kFormats[] = {
    // Jamba Mini 1.7
    {"jamba", "<tool_calls>[\n", "{\"name\": \"", "\", \"arguments\": ", "}", ",", "\n]</tool_calls>", true},
    // Qwen 2.5, Qwen 3, Hermes 2 Pro, Granite 4.0
    {"hermes", "", "<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>", "\n", "", true},
    // Llama 3.1 and 3.3: the whole answer is one call
    {"llama3", "", "{\"name\": \"", "\", \"parameters\": ", "}", "", "", false},
    // Mistral Nemo
    {"mistral-nemo", "[TOOL_CALLS][", "{\"name\": \"", "\", \"arguments\": ", ", \"id\": \"@\"}", ", ", "]", true},
    // Mistral Small 3.2
    {"mistral-small", "", "[TOOL_CALLS]", "[CALL_ID]@[ARGS]", "", "", "", true},
    // DeepSeek V3.1
    {"deepseek-v3.1", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "",
     "<｜tool▁calls▁end｜>", true},
    // Kimi K2
    {"kimi-k2", "<|tool_calls_section_begin|>", "<|tool_call_begin|>functions.", ":#<|tool_call_argument_begin|>", "<|tool_call_end|>", "",
     "<|tool_calls_section_end|>", true},
    // Granite 3.3
    {"granite-3.3", "<|tool_call|>[", "{\"name\": \"", "\", \"arguments\": ", "}", ", ", "]", true},
};

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

// Where the name of a token that tokenizers keep whole begins a piece, its length; else 0.
size_t special_length(std::string_view piece) {
  for (const std::string_view whole :
       {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<tool_call>", "</tool_call>", "<tool_calls>", "</tool_calls>"}) {
    if (piece.starts_with(whole)) return whole.size();
  }
  for (const auto& [open, close] : {std::pair<std::string_view, std::string_view>{"<|", "|>"}, {"<｜", "｜>"}}) {
    if (!piece.starts_with(open)) continue;
    const size_t end = piece.find(close, open.size());
    if (end != std::string_view::npos) return end + close.size();
  }
  return 0;
}

StateId repeat(Grammar& g, RuleId rule, StateId at, uint32_t low, uint32_t high, const CharSet& set) {
  const StateId to = g.add_state(rule);
  for (uint32_t i = 0; i < high; ++i) {
    if (i >= low) g.empty(rule, at, to);
    at = g.characters(rule, at, set);
  }
  g.empty(rule, at, to);
  return to;
}

StateId add_piece(Grammar& g, RuleId rule, StateId at, std::string_view piece) {
  while (!piece.empty()) {
    const size_t special = special_length(piece);
    if (special > 0) {
      at = g.marker(rule, at, piece.substr(0, special));
    } else if (piece[0] == '#') {
      at = repeat(g, rule, at, 1, 4, {{'0', '9'}});
    } else if (piece[0] == '@') {
      at = repeat(g, rule, at, 9, 9, {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}});
    } else {
      at = g.literal(rule, at, piece.substr(0, 1));
    }
    piece.remove_prefix(std::max<size_t>(special, 1));
  }
  return at;
}

Result<std::vector<RuleId>> argument_rules(std::span<const Tool> tools, const ToolCallOptions& options, Grammar& grammar) {
  std::vector<RuleId> rules;
  for (const Tool& tool : tools) {
    const bool good = !tool.name.empty() && tool.name.size() <= 64 && std::all_of(tool.name.begin(), tool.name.end(), is_name);
    if (!good) return Error{"unsupported tool name '" + tool.name.substr(0, 80) + "': letters, digits, '_', '-' and '.', at most 64"};
    if (!options.strict || tool.parameters.empty()) {
      rules.push_back(builtin_rules().object[static_cast<size_t>(options.space)]);
      continue;
    }
    const Status built = build_json_schema(tool.parameters, options.space, grammar);
    if (!built.ok()) return Error{"the parameters of the tool '" + tool.name + "': " + built.error().message};
    rules.push_back(grammar.root);
  }
  return rules;
}

enum class Match { kYes, kPartial, kNo };

// Does the text begin with the piece? used: how much of it, for kYes.
Match match_piece(std::string_view text, std::string_view piece, size_t& used) {
  used = 0;
  for (const char p : piece) {
    size_t low = 1, high = 1;
    if (p == '#') high = 4;
    if (p == '@') low = high = 9;
    size_t count = 0;
    for (; count < high && used < text.size(); ++count, ++used) {
      const char c = text[used];
      const bool digit = c >= '0' && c <= '9', letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (!(p == '#' ? digit : p == '@' ? digit || letter : c == p)) break;
    }
    if (count < low) return used == text.size() ? Match::kPartial : Match::kNo;
    // More digits might follow.
    if (count < high && used == text.size()) return Match::kPartial;
  }
  return Match::kYes;
}

}  // namespace

std::span<const ToolFormat> tool_formats() { return kFormats; }

const ToolFormat* find_tool_format(std::string_view name) {
  const auto it = std::find_if(std::begin(kFormats), std::end(kFormats), [&](const ToolFormat& f) { return f.name == name; });
  return it == std::end(kFormats) ? nullptr : it;
}

const ToolFormat* detect_tool_format(std::string_view chat_template) {
  const auto has = [&](std::string_view mark) { return chat_template.find(mark) != std::string_view::npos; };
  // XML-like and pythonic calls share marks with ours.
  if (has("<function=") || has("<arg_key>") || has("minimax:tool_call") || has("<|tool_call_start|>") || has("<parameter")) return nullptr;
  if (has("<tool_calls>") && has("tool_calls_prefix + \"[\\n\"")) return find_tool_format("jamba");
  if (has("<|tool_call_argument_begin|>")) return find_tool_format("kimi-k2");
  if (has("<｜tool▁call▁begin｜>' + tool['function']['name'] + '<｜tool▁sep｜>' + tool['function']['arguments']"))
    return find_tool_format("deepseek-v3.1");
  if (has("'[TOOL_CALLS]' + tool_call.function.name") && has("'[ARGS]'")) return find_tool_format("mistral-small");
  if (has("\"[TOOL_CALLS][\"")) return find_tool_format("mistral-nemo");
  if (has("<tool_call>\\n{\"name\": \"")) return find_tool_format("hermes");
  if (has("<|tool_call|> followed by a JSON list")) return find_tool_format("granite-3.3");
  if (has("'\"parameters\": '")) return find_tool_format("llama3");
  return nullptr;
}

Status build_tool_calls(const ToolFormat& format, std::span<const Tool> tools, const ToolCallOptions& options, Grammar& grammar) {
  if (tools.empty()) return Error{"no tools to call"};
  SLUICE_TRY(const std::vector<RuleId> arguments, argument_rules(tools, options, grammar));
  const RuleId call = grammar.add_rule();  // from the name on
  for (size_t t = 0; t < tools.size(); ++t) {
    const StateId named = grammar.literal(call, kRuleStart, tools[t].name);
    const StateId behind = grammar.add_state(call);
    grammar.call(call, add_piece(grammar, call, named, format.before_arguments), behind, arguments[t]);
    grammar.empty(call, add_piece(grammar, call, behind, format.call_end), kRuleEnd);
  }
  const RuleId rule = grammar.add_rule();
  const std::string begin = std::string(format.section_begin) + std::string(format.call_begin);
  StateId at = kRuleStart;
  if (options.required) {
    at = add_piece(grammar, rule, at, begin);
  } else {
    const size_t special = special_length(begin);
    const std::string trigger = special > 0 ? begin.substr(0, special) : begin;
    SLUICE_TRY(const FreeText free, add_free_text(grammar, rule, at, {trigger}));
    for (const StateId text : free.text) grammar.empty(rule, text, kRuleEnd);
    at = add_piece(grammar, rule, free.after[0], std::string_view(begin).substr(trigger.size()));
  }
  const StateId name = grammar.add_state(rule), behind = grammar.add_state(rule);
  grammar.empty(rule, at, name);
  grammar.call(rule, name, behind, call);
  if (options.parallel && format.parallel) {
    grammar.empty(rule, add_piece(grammar, rule, add_piece(grammar, rule, behind, format.separator), format.call_begin), name);
  }
  grammar.empty(rule, add_piece(grammar, rule, behind, format.section_end), kRuleEnd);
  grammar.root = rule;
  return grammar.status();
}

std::vector<ToolEvent> ToolCallParser::feed(std::string_view text) {
  held_ += text;
  std::vector<ToolEvent> events;
  while (!held_.empty() && advance(events)) {
  }
  return events;
}

std::vector<ToolEvent> ToolCallParser::finish() {
  std::vector<ToolEvent> events;
  // A call may end the output where its section has no end of its own.
  const bool complete = at_ == At::kText || (at_ == At::kBetween && held_.empty() && format_.section_end.empty());
  if (!held_.empty() || !complete) events.push_back({at_ == At::kText ? ToolEvent::Kind::kText : ToolEvent::Kind::kBroken, call_, held_});
  held_.clear();
  at_ = At::kText;
  return events;
}

// One step; false when more text is needed.
bool ToolCallParser::advance(std::vector<ToolEvent>& events) {
  switch (at_) {
    case At::kText: return scan_text(events);
    case At::kCallBegin: return expect(format_.call_begin, At::kName, events);
    case At::kName: return scan_name(events);
    case At::kBefore: return expect(format_.before_arguments, At::kArguments, events);
    case At::kArguments: return scan_arguments(events);
    case At::kCallEnd: return expect(format_.call_end, At::kBetween, events);
    case At::kBetween: return scan_between(events);
    case At::kBroken:
      events.push_back({ToolEvent::Kind::kBroken, call_, std::move(held_)});
      held_.clear();
      return false;
  }
  return false;
}

bool ToolCallParser::scan_text(std::vector<ToolEvent>& events) {
  const std::string_view mark = format_.section_begin.empty() ? format_.call_begin : format_.section_begin;
  const size_t found = held_.find(mark);
  size_t out = found;
  if (found == std::string::npos) {
    out = held_.size() - std::min(held_.size(), mark.size() - 1);
    while (!mark.starts_with(std::string_view(held_).substr(out))) ++out;
  }
  // Text comes out byte for byte the same however it was cut, so pieces are merged by whoever shows them.
  if (out > 0) events.push_back({ToolEvent::Kind::kText, call_, held_.substr(0, out)});
  held_.erase(0, out);
  if (found == std::string::npos) return false;
  held_.erase(0, mark.size());
  at_ = format_.section_begin.empty() ? At::kName : At::kCallBegin;
  return true;
}

bool ToolCallParser::expect(std::string_view piece, At then, std::vector<ToolEvent>& events) {
  size_t used = 0;
  const Match match = match_piece(held_, piece, used);
  if (match == Match::kPartial) return false;
  if (match == Match::kNo) {
    at_ = At::kBroken;
    return true;
  }
  held_.erase(0, used);
  if (at_ == At::kCallEnd) events.push_back({ToolEvent::Kind::kCallEnd, call_++, ""});
  at_ = then;
  return true;
}

bool ToolCallParser::scan_name(std::vector<ToolEvent>& events) {
  size_t end = 0;
  while (end < held_.size() && is_name(held_[end])) ++end;
  if (end == held_.size() && end <= 64) return false;
  if (end == 0 || end > 64) {
    at_ = At::kBroken;
    return true;
  }
  events.push_back({ToolEvent::Kind::kCallBegin, call_, held_.substr(0, end)});
  held_.erase(0, end);
  at_ = At::kBefore;
  depth_ = 0;
  return true;
}

bool ToolCallParser::scan_arguments(std::vector<ToolEvent>& events) {
  if (depth_ == 0 && held_[0] != '{') {
    at_ = At::kBroken;
    return true;
  }
  size_t end = 0;
  for (bool done = false; end < held_.size() && !done; ++end) {
    const char c = held_[end];
    if (in_string_) {
      if (!escaped_ && c == '"') in_string_ = false;
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      in_string_ = true;
      escaped_ = false;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      done = --depth_ == 0;
      if (done) at_ = At::kCallEnd;
    }
  }
  events.push_back({ToolEvent::Kind::kArguments, call_, held_.substr(0, end)});
  held_.erase(0, end);
  if (at_ == At::kCallEnd && format_.call_end.empty()) {
    events.push_back({ToolEvent::Kind::kCallEnd, call_++, ""});
    at_ = At::kBetween;
  }
  return true;
}

bool ToolCallParser::scan_between(std::vector<ToolEvent>&) {
  const std::string next = std::string(format_.separator) + std::string(format_.call_begin);
  size_t used = 0;
  const Match another = match_piece(held_, next, used);
  if (another == Match::kYes) {
    held_.erase(0, used);
    at_ = At::kName;
    return true;
  }
  if (another == Match::kPartial) return false;
  const Match over = match_piece(held_, format_.section_end, used);
  if (over == Match::kPartial) return false;
  if (over == Match::kYes) held_.erase(0, used);
  at_ = over == Match::kYes ? At::kText : At::kBroken;
  return true;
}

}  // namespace sluice::text
