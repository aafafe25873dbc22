// The streaming parser: a state for each piece of a call; text is held back only while it could be something else. Contract:
// text/tool_calls.h. Next: text/tool_calls_formats.cc.
#include "text/tool_calls.h"

#include <algorithm>

namespace sluice::text {
namespace {

constexpr size_t kNameMax = 64;
constexpr std::string_view kCdataOpen = "<![CDATA[", kCdataClose = "]]>";

bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

enum class Match { kYes, kPartial, kNo };

// Does the text begin with the piece? used: how much of it, for kYes.
Match match_piece(std::string_view text, std::string_view piece, size_t& used) {
  used = 0;
  for (const char p : piece) {
    size_t low = 1, high = 1;
    if (p == '#') high = 4;
    if (p == '@' || p == '*') low = 9, high = p == '@' ? 9 : 10;
    size_t count = 0;
    for (; count < high && used < text.size(); ++count, ++used) {
      const char c = text[used];
      const bool digit = c >= '0' && c <= '9', letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (!(p == '#' ? digit : p == '@' || p == '*' ? digit || letter : c == p)) break;
    }
    if (count < low) return used == text.size() ? Match::kPartial : Match::kNo;
    // More digits might follow.
    if (count < high && used == text.size()) return Match::kPartial;
  }
  return Match::kYes;
}

std::string with_name(std::string_view piece, std::string_view name) {
  std::string out(piece);
  if (const size_t at = out.find('%'); at != std::string::npos) out.replace(at, 1, name);
  return out;
}

// Where the longest end of the text begins that could be the beginning of the mark.
size_t possible_mark(std::string_view text, std::string_view mark) {
  size_t at = text.size() - std::min(text.size(), mark.size() - 1);
  while (!mark.starts_with(text.substr(at))) ++at;
  return at;
}

}  // namespace

ToolCallParser::ToolCallParser(const ToolFormat& format, std::span<const Tool> tools) : format_(format), types_(tools) {
  if (!format.named_begin) {
    marks_.push_back({std::string(format.section_begin.empty() ? format.call_begin : format.section_begin), ""});
    next_marks_.push_back({std::string(format.separator) + std::string(format.call_begin), ""});
    return;
  }
  for (const Tool& tool : tools) {
    const std::string call = with_name(format.call_begin, tool.name) + tool.name + std::string(format.before_arguments);
    marks_.push_back({std::string(format.section_begin) + call, tool.name});
    next_marks_.push_back({std::string(format.separator) + call, tool.name});
  }
}

std::vector<ToolEvent> ToolCallParser::feed(std::string_view text) {
  held_ += text;
  Events events;
  while (!held_.empty() && advance(events)) {
  }
  return events;
}

std::vector<ToolEvent> ToolCallParser::finish() {
  Events events;
  const bool between = at_ == At::kBetween;
  if (at_ == At::kText || (between && format_.section_end.empty())) {
    if (!held_.empty()) events.push_back({ToolEvent::Kind::kText, call_, held_});
  } else if (!(between && held_.empty() && format_.end_optional)) {
    events.push_back({ToolEvent::Kind::kBroken, call_, held_});
  }
  held_.clear();
  at_ = At::kText;
  return events;
}

// One step; false when more text is needed.
bool ToolCallParser::advance(Events& events) {
  switch (at_) {
    case At::kText: return scan_text(events);
    case At::kCallBegin: return expect(format_.call_begin, At::kName, events);
    case At::kName: return scan_name(events);
    case At::kBefore: return expect(format_.before_arguments, At::kArguments, events);
    case At::kArguments: return scan_arguments(events);
    case At::kKey: return scan_key(events);
    case At::kValue: return scan_value();
    case At::kString: return scan_string(events);
    case At::kOther: return scan_other(events);
    case At::kCallEnd: return expect(format_.call_end, At::kBetween, events);
    case At::kBetween: return scan_between(events);
    case At::kBroken:
      events.push_back({ToolEvent::Kind::kBroken, call_, std::move(held_)});
      held_.clear();
      return false;
  }
  return false;
}

bool ToolCallParser::scan_text(Events& events) {
  size_t found = std::string::npos, out = held_.size();
  const Mark* first = nullptr;
  for (const Mark& mark : marks_) {
    const size_t at = held_.find(mark.text);
    if (at < found) found = at, first = &mark;
    if (at == std::string::npos) out = std::min(out, possible_mark(held_, mark.text));
  }
  if (first != nullptr) out = found;
  // Text comes out byte for byte the same however it was cut, so pieces are merged by whoever shows them.
  if (out > 0) events.push_back({ToolEvent::Kind::kText, call_, held_.substr(0, out)});
  held_.erase(0, out);
  if (first == nullptr) return false;
  held_.erase(0, first->text.size());
  if (!first->tool.empty()) {
    begin_call(first->tool, events);
    begin_arguments(events);
  } else {
    at_ = format_.section_begin.empty() ? At::kName : At::kCallBegin;
  }
  return true;
}

bool ToolCallParser::expect(std::string_view piece, At then, Events& events) {
  size_t used = 0;
  const Match match = match_piece(held_, piece, used);
  if (match == Match::kPartial) return false;
  if (match == Match::kNo) return broken();
  held_.erase(0, used);
  if (at_ == At::kBefore) {
    begin_arguments(events);
  } else if (at_ == At::kCallEnd) {
    end_call(events);
  } else {
    at_ = then;
  }
  return true;
}

void ToolCallParser::begin_call(std::string name, Events& events) {
  events.push_back({ToolEvent::Kind::kCallBegin, call_, name});
  tool_ = std::move(name);
  at_ = At::kBefore;
}

void ToolCallParser::begin_arguments(Events& events) {
  depth_ = parameters_ = 0;
  quote_ = 0;
  at_ = format_.style == ToolStyle::kJson ? At::kArguments : At::kKey;
  if (at_ == At::kKey) events.push_back({ToolEvent::Kind::kArguments, call_, "{"});
}

void ToolCallParser::end_call(Events& events) {
  if (format_.style != ToolStyle::kJson) events.push_back({ToolEvent::Kind::kArguments, call_, "}"});
  events.push_back({ToolEvent::Kind::kCallEnd, call_++, ""});
  at_ = At::kBetween;
}

bool ToolCallParser::scan_name(Events& events) {
  size_t end = 0;
  while (end < held_.size() && is_name(held_[end])) ++end;
  if (end == held_.size() && end <= kNameMax) return false;
  if (end == 0 || end > kNameMax) return broken();
  begin_call(held_.substr(0, end), events);
  held_.erase(0, end);
  return true;
}

bool ToolCallParser::scan_arguments(Events& events) {
  if (depth_ == 0 && held_[0] != '{') return broken();
  size_t end = 0;
  bool done = false;
  for (; end < held_.size() && !done; ++end) {
    const char c = held_[end];
    if (quote_ != 0) {
      if (!escaped_ && c == quote_) quote_ = 0;
      escaped_ = !escaped_ && c == '\\';
    } else if (c == '"') {
      quote_ = c;
      escaped_ = false;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      done = --depth_ == 0;
    }
  }
  events.push_back({ToolEvent::Kind::kArguments, call_, held_.substr(0, end)});
  held_.erase(0, end);
  if (done) at_ = At::kCallEnd;
  if (done && format_.call_end.empty()) end_call(events);
  return true;
}

// The next parameter's name, or the end of the call.
bool ToolCallParser::scan_key(Events& events) {
  held_.erase(0, static_cast<size_t>(std::find_if_not(held_.begin(), held_.end(), is_blank) - held_.begin()));
  if (held_.empty()) return false;
  size_t used = 0;
  const Match over = match_piece(held_, format_.call_end, used);
  if (over == Match::kYes) {
    held_.erase(0, used);
    end_call(events);
    return true;
  }
  const Match begins = match_piece(held_, format_.param_begin, used);
  if (begins == Match::kNo) return over == Match::kPartial ? false : broken();
  if (begins == Match::kPartial) return false;
  const std::string_view rest = std::string_view(held_).substr(used);
  const size_t length = static_cast<size_t>(std::find_if_not(rest.begin(), rest.end(), [](char c) { return is_name(c); }) - rest.begin());
  if (length > kNameMax || (length == 0 && !rest.empty())) return broken();
  size_t value = 0, other = 0;
  const Match string = match_piece(rest.substr(length), format_.param_value, value);
  const Match not_string =
      format_.param_value_other.empty() ? Match::kNo : match_piece(rest.substr(length), format_.param_value_other, other);
  if (string == Match::kPartial || not_string == Match::kPartial) return false;
  if (string == Match::kNo && not_string == Match::kNo) return broken();
  const std::string name(rest.substr(0, length));
  uint8_t types = types_.of(tool_, name);
  if (!format_.param_value_other.empty()) types = string == Match::kYes ? kIsString : kIsAnything;
  held_.erase(0, used + length + (string == Match::kYes ? value : other));
  begin_parameter(name, types, events);
  return true;
}

void ToolCallParser::begin_parameter(std::string name, uint8_t types, Events& events) {
  std::string key = parameters_++ > 0 ? ", \"" : "\"";
  append_json_escaped(key, name);
  events.push_back({ToolEvent::Kind::kArguments, call_, key + "\": "});
  value_types_ = types;
  scanned_ = 0;
  value_end_ = format_.param_end;
  at_ = format_.cdata ? At::kValue : At::kOther;
  if (!format_.cdata && types == kIsString && format_.style == ToolStyle::kXml) {
    events.back().text += '"';
    at_ = At::kString;
  }
}

// Of formats with CDATA: is the value one?
bool ToolCallParser::scan_value() {
  size_t used = 0;
  const Match cdata = match_piece(held_, kCdataOpen, used);
  if (cdata == Match::kPartial) return false;
  if (cdata == Match::kYes) {
    held_.erase(0, used);
    value_end_ = kCdataClose;
    value_types_ = kIsString;
  }
  at_ = At::kOther;
  return true;
}

// A string as it is: it goes out while it comes.
bool ToolCallParser::scan_string(Events& events) {
  const size_t found = held_.find(value_end_);
  const size_t out = found == std::string::npos ? possible_mark(held_, value_end_) : found;
  std::string piece;
  append_json_escaped(piece, std::string_view(held_).substr(0, out));
  held_.erase(0, out);
  if (found != std::string::npos) {
    held_.erase(0, value_end_.size());
    piece += '"';
    at_ = At::kKey;
  }
  if (!piece.empty()) events.push_back({ToolEvent::Kind::kArguments, call_, piece});
  return found != std::string::npos;
}

// Where the Python value at the beginning of what is held ends: at ',' or the end of the call, outside quotes and brackets.
size_t ToolCallParser::literal_end() {
  for (; scanned_ < held_.size(); ++scanned_) {
    const char c = held_[scanned_];
    if (quote_ != 0) {
      if (!escaped_ && c == quote_) quote_ = 0;
      escaped_ = !escaped_ && c == '\\';
    } else if (depth_ == 0 && (c == ',' || c == format_.call_end[0])) {
      return scanned_;
    } else if (c == '"' || c == '\'') {
      quote_ = c;
      escaped_ = false;
    } else if (c == '[' || c == '{' || c == '(') {
      ++depth_;
    } else if ((c == ']' || c == '}' || c == ')') && depth_ > 0) {
      --depth_;
    }
  }
  return std::string::npos;
}

bool ToolCallParser::scan_other(Events& events) {
  const bool python = format_.style == ToolStyle::kPython;
  size_t end = python ? literal_end() : held_.find(value_end_, scanned_);
  if (end == std::string::npos) {
    if (!python) scanned_ = held_.size() - std::min(held_.size(), value_end_.size() - 1);
    return false;
  }
  const std::string_view text = std::string_view(held_).substr(0, end);
  std::string json;
  uint8_t type = 0;
  if (!python) {
    json = value_of(text, value_types_);
    end += value_end_.size();
    if (value_end_ == kCdataClose) {  // the tag's own end follows
      value_end_ = format_.param_end;
      size_t used = 0;
      const Match closes = match_piece(std::string_view(held_).substr(end), value_end_, used);
      if (closes != Match::kYes) {
        value_end_ = kCdataClose;
        return closes == Match::kPartial ? false : broken();
      }
      end += used;
    }
  } else if (!read_literal(text, json, type)) {
    return broken();
  } else if (held_[end] == ',') {
    ++end;
  }
  events.push_back({ToolEvent::Kind::kArguments, call_, json});
  held_.erase(0, end);
  at_ = At::kKey;
  return true;
}

bool ToolCallParser::scan_between(Events& events) {
  size_t used = 0;
  bool partial = false;
  for (const Mark& mark : next_marks_) {
    const Match another = match_piece(held_, mark.text, used);
    partial |= another == Match::kPartial;
    if (another != Match::kYes) continue;
    held_.erase(0, used);
    at_ = At::kName;
    if (!mark.tool.empty()) {
      begin_call(mark.tool, events);
      begin_arguments(events);
    }
    return true;
  }
  if (partial) return false;
  const Match over = match_piece(held_, format_.section_end, used);
  if (over == Match::kPartial) return false;
  if (over == Match::kNo && !format_.end_optional) return broken();
  if (over == Match::kYes) held_.erase(0, used);
  at_ = At::kText;
  return true;
}

}  // namespace sluice::text
