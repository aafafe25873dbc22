// Formats and tools as a grammar, and as the text of a ConstraintSpec. Contract: text/tool_calls.h. Next: text/grammar_free_text.cc.
#include <algorithm>

#include "text/grammar_free_text.h"
#include "text/json_schema.h"
#include "text/schema_value.h"
#include "text/tool_calls.h"

namespace sluice::text {
namespace {

constexpr uint32_t kBlanksMax = 4;  // in front of calls that must come
constexpr uint32_t kNameMax = 64;

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameMax && std::all_of(name.begin(), name.end(), [](char c) { return is_name(c); });
}

// Where the name of a token that tokenizers keep whole begins a piece, its length; else 0.
size_t special_length(std::string_view piece) {
  constexpr std::string_view kWhole[] = {
      "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<tool_call>", "</tool_call>", "<tool_calls>", "</tool_calls>", "<seed:tool_call>",
      "</seed:tool_call>", "<minimax:tool_call>", "</minimax:tool_call>", "<TOOLCALL>", "</TOOLCALL>", "<arg_key>", "</arg_key>",
      "<arg_value>", "</arg_value>", "｜DSML｜"};
  for (const std::string_view whole : kWhole) {
    if (piece.starts_with(whole)) return whole.size();
  }
  for (const auto& [open, close] : {std::pair<std::string_view, std::string_view>{"<|", "|>"}, {"<｜", "｜>"}}) {
    if (!piece.starts_with(open)) continue;
    const size_t end = piece.find(close, open.size());
    if (end != std::string_view::npos && piece.substr(0, end).find_first_of(" \n") == std::string_view::npos) return end + close.size();
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

std::string with_name(std::string_view piece, std::string_view name) {
  std::string out(piece);
  if (const size_t at = out.find('%'); at != std::string::npos) out.replace(at, 1, name);
  return out;
}

const CharSet kLettersAndDigits = {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}};

StateId add_piece(Grammar& g, RuleId rule, StateId at, std::string_view piece) {
  while (!piece.empty()) {
    const size_t special = special_length(piece);
    if (special > 0) {
      at = g.marker(rule, at, piece.substr(0, special));
    } else if (piece[0] == '#') {
      at = repeat(g, rule, at, 1, 4, {{'0', '9'}});
    } else if (piece[0] == '@' || piece[0] == '*') {
      at = repeat(g, rule, at, 9, piece[0] == '@' ? 9 : 10, kLettersAndDigits);
    } else {
      at = g.literal(rule, at, piece.substr(0, 1));
    }
    piece.remove_prefix(std::max<size_t>(special, 1));
  }
  return at;
}

class Builder {
 public:
  Builder(const ToolFormat& format, const ToolCallOptions& options, Grammar& grammar) : format_(format), options_(options), g_(grammar) {}

  Status run(std::span<const Tool> tools) {
    for (const Tool& tool : tools) {
      if (!is_name(tool.name)) {
        return Error{"unsupported tool name '" + tool.name.substr(0, 80) + "': letters, digits, '_', '-' and '.', at most 64"};
      }
      const Result<RuleId> body = body_of(tool);
      if (!body.ok()) return Error{"the parameters of the tool '" + tool.name + "': " + body.error().message};
      tools_.push_back({tool.name, *body});
    }
    rule_ = g_.add_rule();
    behind_ = g_.add_state(rule_);
    SLUICE_TRY_VOID(options_.required ? required() : after_text());
    if (options_.parallel && format_.parallel) {
      const StateId next = add_piece(g_, rule_, behind_, format_.separator);
      for (const One& tool : tools_) call(next, tool, with_name(format_.call_begin, tool.name));
    }
    g_.empty(rule_, add_piece(g_, rule_, behind_, format_.section_end), kRuleEnd);
    if (format_.end_optional) g_.empty(rule_, behind_, kRuleEnd);
    g_.root = rule_;
    return g_.status();
  }

 private:
  struct One {
    std::string name;
    RuleId body;  // from the arguments to the end of the call
  };

  void call(StateId from, const One& tool, std::string_view begin) {
    const StateId named = g_.literal(rule_, add_piece(g_, rule_, from, begin), tool.name);
    g_.call(rule_, add_piece(g_, rule_, named, format_.before_arguments), behind_, tool.body);
  }

  std::string begin_of(const One& tool) const { return std::string(format_.section_begin) + with_name(format_.call_begin, tool.name); }

  Status required() {
    const StateId begin = repeat(g_, rule_, kRuleStart, 0, kBlanksMax, {{'\n', '\n'}, {' ', ' '}});
    for (const One& tool : tools_) call(begin, tool, begin_of(tool));
    return {};
  }

  // A trigger ends with the first special token in what begins a call, if there is one: from there on nothing else is possible.
  Status after_text() {
    std::vector<std::string> triggers, rests;
    std::vector<const One*> owners;
    const auto add = [&](const std::string& begin, const One* owner) {
      size_t at = 0, special = 0;
      while (at < begin.size() && (special = special_length(std::string_view(begin).substr(at))) == 0) ++at;
      const std::string whole = begin.substr(0, at + special);
      triggers.push_back(whole);
      rests.push_back(begin.substr(whole.size()));
      owners.push_back(owner);
      if (special == 0 || at == 0) return;
      // Inside a trigger the token's own form must be spelled out.
      triggers.push_back(begin.substr(0, at) + kSpecialOpen + begin.substr(at, special) + kSpecialClose);
      rests.push_back(rests.back());
      owners.push_back(owner);
    };
    if (format_.named_begin) {
      for (const One& tool : tools_) add(begin_of(tool) + tool.name + std::string(format_.before_arguments), &tool);
    } else {
      add(std::string(format_.section_begin) + std::string(format_.call_begin), nullptr);
    }
    std::vector<std::string> free_tokens = thinking_tokens();
    for (std::string_view left = format_.free_tokens; !left.empty();) {
      const size_t end = std::min(left.find(' '), left.size());
      free_tokens.emplace_back(left.substr(0, end));
      left.remove_prefix(std::min(end + 1, left.size()));
    }
    SLUICE_TRY(const FreeText free, add_free_text(g_, rule_, kRuleStart, triggers, free_tokens));
    for (const StateId text : free.text) g_.empty(rule_, text, kRuleEnd);
    for (size_t t = 0; t < triggers.size(); ++t) {
      const StateId at = add_piece(g_, rule_, free.after[t], rests[t]);
      if (owners[t] != nullptr) {
        g_.call(rule_, at, behind_, owners[t]->body);
      } else {
        for (const One& tool : tools_) call(at, tool, "");
      }
    }
    return {};
  }

  Result<RuleId> body_of(const Tool& tool) {
    const RuleId body = g_.add_rule();
    StateId behind = g_.add_state(body);
    if (format_.style == ToolStyle::kJson) {
      SLUICE_TRY(const RuleId arguments, json_arguments(tool));
      g_.call(body, kRuleStart, behind, arguments);
    } else {
      SLUICE_TRY(behind, parameters(tool, body));
    }
    g_.empty(body, add_piece(g_, body, behind, format_.call_end), kRuleEnd);
    return body;
  }

  Result<RuleId> json_arguments(const Tool& tool) {
    const JsonSpace space = format_.space == JsonSpace::kSpaced ? options_.space : format_.space;
    if (!options_.strict || tool.parameters.empty()) return builtin_rules().object[static_cast<size_t>(space)];
    SLUICE_TRY_VOID(build_json_schema(tool.parameters, space, g_));
    return g_.root;
  }

  Result<StateId> parameters(const Tool& tool, RuleId body) {
    const bool xml = format_.style == ToolStyle::kXml;
    const ParameterSyntax syntax{format_.space, xml ? format_.param_end : "", format_.cdata,
                                 format_.param_value_other.empty() && !format_.cdata};
    std::optional<std::vector<SchemaParameter>> known;
    if (options_.strict && !tool.parameters.empty()) {
      SLUICE_TRY(known, build_schema_parameters(tool.parameters, syntax, g_));
    }
    if (!known) return any_parameters(body, syntax);
    // Whether one has been written already decides about the comma.
    StateId none = kRuleStart, some = g_.add_state(body);
    for (const SchemaParameter& parameter : *known) {
      if (!is_name(parameter.name)) return Error{"unsupported parameter name '" + parameter.name.substr(0, 80) + "' in this format"};
      const StateId key = g_.add_state(body), next_none = g_.add_state(body), next_some = g_.add_state(body);
      g_.empty(body, none, key);
      g_.empty(body, xml ? some : add_piece(g_, body, some, format_.param_end), key);
      const StateId named = g_.literal(body, add_piece(g_, body, key, format_.param_begin), parameter.name);
      if (parameter.raw != 0) value(body, named, next_some, format_.param_value, parameter.raw);
      if (parameter.json != 0) value(body, named, next_some, other_value(), parameter.json);
      if (!parameter.required) {
        g_.empty(body, none, next_none);
        g_.empty(body, some, next_some);
      }
      none = next_none;
      some = next_some;
    }
    const StateId out = g_.add_state(body);
    g_.empty(body, none, out);
    g_.empty(body, some, out);
    return out;
  }

  std::string_view other_value() const { return format_.param_value_other.empty() ? format_.param_value : format_.param_value_other; }

  void value(RuleId body, StateId from, StateId to, std::string_view begin, RuleId content) {
    StateId at = g_.add_state(body);
    g_.call(body, add_piece(g_, body, from, begin), at, content);
    if (format_.style == ToolStyle::kXml) at = add_piece(g_, body, add_piece(g_, body, at, format_.param_end), format_.param_gap);
    g_.empty(body, at, to);
  }

  // Any names and values, as often as the model likes.
  Result<StateId> any_parameters(RuleId body, const ParameterSyntax& syntax) {
    const bool xml = format_.style == ToolStyle::kXml;
    SLUICE_TRY(const std::optional<std::vector<SchemaParameter>> any,
               build_schema_parameters(R"({"properties":{"any":true}})", syntax, g_));
    const StateId key = g_.add_state(body), out = g_.add_state(body), behind = g_.add_state(body);
    g_.empty(body, kRuleStart, key);
    g_.empty(body, kRuleStart, out);
    CharSet letters = unite(kLettersAndDigits, {{'_', '_'}});
    if (xml) letters = unite(letters, {{'-', '.'}});
    const StateId named = repeat(g_, body, add_piece(g_, body, key, format_.param_begin), 1, kNameMax, letters);
    if ((*any)[0].raw != 0) value(body, named, behind, format_.param_value, (*any)[0].raw);
    if ((*any)[0].json != 0) value(body, named, behind, other_value(), (*any)[0].json);
    g_.empty(body, behind, out);
    g_.empty(body, xml ? behind : add_piece(g_, body, behind, format_.param_end), key);
    return out;
  }

  const ToolFormat& format_;
  const ToolCallOptions& options_;
  Grammar& g_;
  std::vector<One> tools_;
  RuleId rule_ = 0;
  StateId behind_ = 0;  // a call
};

}  // namespace

Status build_tool_calls(const ToolFormat& format, std::span<const Tool> tools, const ToolCallOptions& options, Grammar& grammar) {
  if (tools.empty()) return Error{"no tools to call"};
  return Builder(format, options, grammar).run(tools);
}

std::string tool_calls_text(const ToolFormat& format, std::span<const Tool> tools, const ToolCallOptions& options) {
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  std::string out = "{\"format\":" + json_quoted(format.name) + ",\"required\":" + flag(options.required) +
                    ",\"parallel\":" + flag(options.parallel) + ",\"strict\":" + flag(options.strict) +
                    ",\"space\":" + std::to_string(static_cast<int>(options.space)) + ",\"tools\":[";
  for (size_t i = 0; i < tools.size(); ++i) {
    out += (i > 0 ? ",{\"name\":" : "{\"name\":") + json_quoted(tools[i].name) + ",\"parameters\":" + json_quoted(tools[i].parameters) + "}";
  }
  return out + "]}";
}

Status build_tool_calls(std::string_view text, Grammar& grammar) {
  using Kind = SchemaValue::Kind;
  SLUICE_TRY(const SchemaValue root, parse_schema_value(text));
  const Error malformed{"tool calls: not a text that tool_calls_text() has made"};
  const auto member = [&](const SchemaValue& object, std::string_view name, Kind kind) -> const SchemaValue* {
    const SchemaValue* value = object.find(name);
    return value != nullptr && value->is(kind) ? value : nullptr;
  };
  const SchemaValue *name = member(root, "format", Kind::kString), *list = member(root, "tools", Kind::kArray);
  const SchemaValue *required = member(root, "required", Kind::kBool), *parallel = member(root, "parallel", Kind::kBool);
  const SchemaValue *strict = member(root, "strict", Kind::kBool), *space = member(root, "space", Kind::kNumber);
  if (!name || !list || !required || !parallel || !strict || !space) return malformed;
  const ToolFormat* format = find_tool_format(name->string);
  if (format == nullptr) return Error{"unknown tool format '" + name->string.substr(0, 80) + "'"};
  if (space->string.size() != 1 || space->string[0] < '0' || space->string[0] >= static_cast<char>('0' + kJsonSpaces)) return malformed;
  std::vector<Tool> tools;
  for (const SchemaValue& item : list->items) {
    const SchemaValue *tool = member(item, "name", Kind::kString), *parameters = member(item, "parameters", Kind::kString);
    if (!tool || !parameters) return malformed;
    tools.push_back({tool->string, parameters->string});
  }
  return build_tool_calls(*format, tools, {required->boolean, parallel->boolean, strict->boolean, static_cast<JsonSpace>(space->string[0] - '0')},
                          grammar);
}

}  // namespace sluice::text
