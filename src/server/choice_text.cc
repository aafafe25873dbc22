#include "server/choice_text.h"

#include <algorithm>

namespace sluice::server {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

// How many bytes at the end of `text` may begin `mark`.
size_t begun(std::string_view text, std::string_view mark) {
  for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n) {
    if (mark.starts_with(text.substr(text.size() - n))) return n;
  }
  return 0;
}

}  // namespace

ChoiceText::At ChoiceText::begin(const TextPlan& plan) {
  if (!plan.split_thinking || !plan.begun.empty()) return At::kContent;
  return plan.starts_thinking ? At::kThinking : At::kBefore;
}

ChoiceText::ChoiceText(const TextPlan& plan) : plan_(plan), at_(begin(plan)) {
  if (!plan.format) return;
  parser_.emplace(*plan.format, plan.tools);
  if (!plan.begun.empty()) read_begun();
}

void ChoiceText::read_begun() {
  std::vector<text::ToolEvent> events = parser_->feed(plan_.begun);
  known_ = plan_.begun.size();
  take(std::move(events), begun_);
  blanks_.clear();
  if (calls_ > 0) known_ = 0;  // what is held back belongs to a call
}

void ChoiceText::feed(std::string_view text, std::vector<TextPiece>& out) {
  out.insert(out.end(), std::make_move_iterator(begun_.begin()), std::make_move_iterator(begun_.end()));
  begun_.clear();
  held_ += text;
  advance(out, false);
}

void ChoiceText::finish(std::vector<TextPiece>& out) {
  feed({}, out);
  advance(out, true);
  if (parser_) take(parser_->finish(), out);
  if (!blanks_.empty()) out.push_back({TextPiece::Kind::kContent, 0, std::move(blanks_)});
  blanks_.clear();
}

void ChoiceText::advance(std::vector<TextPiece>& out, bool last) {
  if (at_ == At::kBefore) {
    const size_t first = std::min(held_.find_first_not_of(kBlanks), held_.size());
    const std::string_view rest = std::string_view(held_).substr(first);
    if (rest.starts_with(plan_.think_open)) {
      held_.erase(0, first + plan_.think_open.size());
      at_ = At::kThinking;
    } else if (last || !std::string_view(plan_.think_open).starts_with(rest)) {
      at_ = At::kContent;
    }
  }
  if (at_ == At::kThinking) {
    const size_t found = held_.find(plan_.think_close);
    size_t ready = found != std::string::npos ? found : held_.size() - (last ? 0 : begun(held_, plan_.think_close));
    if (ready > 0) out.push_back({TextPiece::Kind::kThinking, 0, held_.substr(0, ready)});
    held_.erase(0, ready);
    if (found != std::string::npos) {
      held_.erase(0, plan_.think_close.size());
      at_ = At::kAfterThinking;
    }
  }
  if (at_ == At::kAfterThinking) {
    held_.erase(0, std::min(held_.find_first_not_of(kBlanks), held_.size()));
    if (!held_.empty()) at_ = At::kContent;
  }
  if (at_ == At::kContent && !held_.empty()) {
    const std::string ready = take_content(last);
    if (!ready.empty()) content(ready, out);
  }
}

// Of what is held: all but dropped marks and what may begin one.
std::string ChoiceText::take_content(bool last) {
  size_t kept = 0;
  for (const std::string& mark : plan_.dropped) {
    for (size_t at = held_.find(mark); at != std::string::npos; at = held_.find(mark, at)) held_.erase(at, mark.size());
    if (!last) kept = std::max(kept, begun(held_, mark));
  }
  std::string ready = held_.substr(0, held_.size() - kept);
  held_.erase(0, ready.size());
  return ready;
}

void ChoiceText::content(std::string_view text, std::vector<TextPiece>& out) {
  if (parser_) {
    take(parser_->feed(text), out);
  } else {
    out.push_back({TextPiece::Kind::kContent, 0, std::string(text)});
  }
}

void ChoiceText::take(std::vector<text::ToolEvent> events, std::vector<TextPiece>& out) {
  using Kind = text::ToolEvent::Kind;
  for (text::ToolEvent& event : events) {
    switch (event.kind) {
      case Kind::kText:
      case Kind::kBroken: {  // output that is no call after all is shown as it is
        const size_t known = std::min(known_, event.text.size());
        event.text.erase(0, known);
        known_ -= known;
        const size_t end = event.text.find_last_not_of(kBlanks) + 1;  // npos + 1 is 0
        if (end > 0) {
          out.push_back({TextPiece::Kind::kContent, 0, blanks_ + event.text.substr(0, end)});
          blanks_.clear();
        }
        blanks_ += event.text.substr(end);
        break;
      }
      case Kind::kCallBegin:
        blanks_.clear();
        calls_ = event.call + 1;
        out.push_back({TextPiece::Kind::kCallBegin, event.call, std::move(event.text)});
        break;
      case Kind::kArguments: out.push_back({TextPiece::Kind::kArguments, event.call, std::move(event.text)}); break;
      case Kind::kCallEnd: out.push_back({TextPiece::Kind::kCallEnd, event.call, ""}); break;
    }
  }
}

}  // namespace sluice::server
