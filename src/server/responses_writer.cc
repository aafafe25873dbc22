#include "server/responses_writer.h"

#include <fmt/format.h>

#include "server/openai_json.h"

namespace sluice::server {
namespace {

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json usage_of(const AnswerTotals& totals) {
  const Usage& u = totals.usage;
  return {{"input_tokens", u.prompt_tokens}, {"input_tokens_details", {{"cached_tokens", u.cached_tokens}}}, {"output_tokens", u.completion_tokens},
          {"output_tokens_details", {{"reasoning_tokens", u.reasoning_tokens}}}, {"total_tokens", u.prompt_tokens + u.completion_tokens}};
}

}  // namespace

ResponsesWriter::ResponsesWriter(const Api& api, ResponseFacts facts) : api_(api), facts_(std::move(facts)) {
  body_ = {{"id", facts_.id}, {"object", "response"}, {"created_at", facts_.created}, {"status", "in_progress"}};
  for (const auto& [name, value] : facts_.body.items()) body_[name] = value;
}

void ResponsesWriter::event(std::string_view type, Json fields, std::string& out) {
  if (!facts_.stream) return;
  Json data = {{"type", type}, {"sequence_number", sequence_++}};
  for (auto& [name, value] : fields.items()) data[name] = std::move(value);
  fmt::format_to(std::back_inserter(out), "event: {}\ndata: {}\n\n", type, dumped(data));
}

void ResponsesWriter::begin(std::string& out) {
  if (std::exchange(begun_, true)) return;
  event("response.created", {{"response", body_}}, out);
  event("response.in_progress", {{"response", body_}}, out);
}

std::string ResponsesWriter::item_id(std::string_view prefix) const {
  return fmt::format("{}_{}{:02x}", prefix, facts_.id.substr(facts_.id.find('_') + 1), body_["output"].size());
}

// The one content part of the open item.
Json ResponsesWriter::part() const {
  if (kind_ == Item::kReasoning) return {{"type", "reasoning_text"}, {"text", text_}};
  Json logprobs = Json::array();
  if (facts_.logprobs && !logprobs_.empty()) logprobs = Json::parse("[" + logprobs_ + "]", nullptr, false);
  return {{"type", "output_text"}, {"text", text_}, {"annotations", Json::array()}, {"logprobs", std::move(logprobs)}};
}

void ResponsesWriter::open(Item kind, std::string_view name, std::string_view call_id, std::string& out) {
  begin(out);
  close(out);
  kind_ = kind;
  const size_t index = body_["output"].size();
  if (kind == Item::kReasoning) {
    item_ = {{"id", item_id("rs")}, {"type", "reasoning"}, {"summary", Json::array()}, {"content", Json::array()}, {"status", "in_progress"}};
  } else if (kind == Item::kMessage) {
    item_ = {{"id", item_id("msg")}, {"type", "message"}, {"status", "in_progress"}, {"role", "assistant"}, {"content", Json::array()}};
  } else {
    item_ = {{"id", item_id("fc")}, {"type", "function_call"}, {"status", "in_progress"}, {"call_id", call_id}, {"name", name}, {"arguments", ""}};
  }
  event("response.output_item.added", {{"output_index", index}, {"item", item_}}, out);
  if (kind == Item::kCall) return;
  event("response.content_part.added", {{"item_id", item_["id"]}, {"output_index", index}, {"content_index", 0}, {"part", part()}}, out);
}

void ResponsesWriter::close(std::string& out) {
  if (kind_ == Item::kNone) return;
  flush(0, out);
  const size_t index = body_["output"].size();
  const Json where = {{"item_id", item_["id"]}, {"output_index", index}};
  if (kind_ == Item::kCall) {
    item_["arguments"] = text_;
    Json fields = where;
    fields["name"] = item_["name"];
    fields["arguments"] = text_;
    event("response.function_call_arguments.done", std::move(fields), out);
  } else {
    Json fields = where;
    fields["content_index"] = 0;
    const Json whole = part();
    Json ended = fields;
    ended["text"] = text_;
    if (kind_ == Item::kMessage) ended["logprobs"] = whole["logprobs"];
    event(kind_ == Item::kMessage ? "response.output_text.done" : "response.reasoning_text.done", std::move(ended), out);
    fields["part"] = whole;
    event("response.content_part.done", std::move(fields), out);
    item_["content"].push_back(whole);
  }
  item_["status"] = cut_ ? "incomplete" : "completed";
  event("response.output_item.done", {{"output_index", index}, {"item", item_}}, out);
  body_["output"].push_back(std::move(item_));
  kind_ = Item::kNone;
  text_.clear();
  logprobs_.clear();
}

void ResponsesWriter::token(uint32_t, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) {
  if (!delta_logprobs_.empty()) delta_logprobs_ += ',';
  append_token_logprob(delta_logprobs_, api_, logprob, top);
}

void ResponsesWriter::piece(uint32_t, const TextPiece& piece, std::string& out) {
  switch (piece.kind) {
    case TextPiece::Kind::kThinking:
    case TextPiece::Kind::kContent: {
      const Item wanted = piece.kind == TextPiece::Kind::kThinking ? Item::kReasoning : Item::kMessage;
      if (piece.text.empty()) return;
      if (kind_ != wanted) open(wanted, "", "", out);
      delta_ += piece.text;
      break;
    }
    case TextPiece::Kind::kCallBegin: open(Item::kCall, piece.text, facts_.call_id(piece.text, piece.call), out); break;
    case TextPiece::Kind::kArguments:
      if (kind_ == Item::kCall) delta_ += piece.text;
      break;
    case TextPiece::Kind::kCallEnd: close(out); break;
  }
}

void ResponsesWriter::flush(uint32_t, std::string& out) {
  if (kind_ == Item::kNone || delta_.empty()) return;
  Json fields = {{"item_id", item_["id"]}, {"output_index", body_["output"].size()}};
  if (kind_ != Item::kCall) fields["content_index"] = 0;
  fields["delta"] = delta_;
  if (kind_ == Item::kMessage) {
    fields["logprobs"] = facts_.logprobs && !delta_logprobs_.empty() ? Json::parse("[" + delta_logprobs_ + "]", nullptr, false) : Json::array();
    if (!delta_logprobs_.empty()) logprobs_ += (logprobs_.empty() ? "" : ",") + delta_logprobs_;
  }
  constexpr std::string_view kEvents[] = {"", "response.reasoning_text.delta", "response.output_text.delta", "response.function_call_arguments.delta"};
  text_ += delta_;
  delta_.clear();
  delta_logprobs_.clear();
  event(kEvents[static_cast<size_t>(kind_)], std::move(fields), out);
}

void ResponsesWriter::choice_done(uint32_t, const ChoiceEnd& end, std::string& out) {
  begin(out);
  cut_ = end.reason == engine::FinishReason::kLength || end.reason == engine::FinishReason::kDeadline;
  close(out);
}

void ResponsesWriter::done(const AnswerTotals& totals, std::string& out) {
  begin(out);
  body_["status"] = cut_ ? "incomplete" : "completed";
  if (cut_) body_["incomplete_details"] = {{"reason", "max_output_tokens"}};
  body_["usage"] = usage_of(totals);
  event(cut_ ? "response.incomplete" : "response.completed", {{"response", body_}}, out);
}

void ResponsesWriter::failed(const ApiError& error, std::string& out) {
  begin(out);
  body_["status"] = "failed";
  body_["error"] = {{"code", "server_error"}, {"message", error.message}};
  event("response.failed", {{"response", body_}}, out);
}

HttpResponse ResponsesWriter::whole() {
  HttpResponse response;
  response.body = dumped(body_);
  return response;
}

}  // namespace sluice::server
