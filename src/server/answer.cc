#include "server/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "server/limits.h"
#include "server/response_head.h"

namespace sluice::server {

using engine::FinishReason;

namespace {

constexpr size_t kRingBytesMax = 1024 * 1024;

// Room for as long a pause of the I/O thread whatever a step brings: about 400 tokens of each choice.
size_t ring_bytes(uint32_t choices, bool logprobs) {
  return std::min<size_t>(kRingBytesMax, limits::kTokenRingBytes * std::bit_ceil(choices) * (logprobs ? 4 : 1));
}

}  // namespace

// What travels through the ring; behind it `tops` logprobs, `text_bytes` of text and `more_bytes` of more text.
struct Answer::Record {
  enum class Kind : uint8_t { kStarted, kToken, kPromptToken, kChoiceDone, kDone };
  Kind kind = Kind::kToken;
  FinishReason reason = FinishReason::kStop;
  uint16_t tops = 0;
  uint32_t choice = 0;                 // or a prompt token's position
  uint32_t text_bytes = 0, more_bytes = 0;
  int32_t stop_id = -1;
  engine::TokenLogprob logprob;
  uint64_t tokens = 0;                 // of a choice; cached ones of a start
  AnswerTotals totals;                 // kDone
};

ApiError refusal_error(const engine::Submitted& submitted, const engine::EngineStatistics& statistics, engine::Tier tier) {
  ApiError error{.message = submitted.message};
  switch (submitted.refusal) {
    case engine::Refusal::kTooLong:
      error.code = "context_length_exceeded";
      error.param = "messages";
      break;
    case engine::Refusal::kInvalid: error.code = "invalid_value"; break;
    case engine::Refusal::kDraining:
      error.status = 503;
      error.code = "server_draining";
      error.retry_after_s = 5;
      break;
    default: {
      // Time to read what waits, and a share of what runs.
      const double rate = std::max(1.0, statistics.prefill_tokens_per_s);
      const double seconds = static_cast<double>(statistics.queued_tokens) / rate + statistics.decode_step_ms * statistics.queued_requests / 100.0;
      error.status = tier == engine::Tier::kFlex ? 498 : 503;
      error.code = "capacity_exceeded";
      error.retry_after_s = static_cast<uint64_t>(std::clamp(std::ceil(seconds), 1.0, 120.0));
    }
  }
  return error;
}

void Answer::run(const Api& api, const std::shared_ptr<Exchange>& exchange, engine::Request request, AnswerPlan plan, std::unique_ptr<AnswerWriter> writer) {
  exchange->note(api.facts().id, {});
  const Identity& identity = exchange->identity();
  plan.price.batch = plan.price.batch || exchange->request().peer == kBatchPeer;
  Admission admission = api.gate().admit(identity, plan.price);
  const ErrorShape shape = plan.errors;
  if (admission.refusal.refused()) {
    exchange->note({}, admission.refusal.code);
    return exchange->respond(error_response(shape, to_api_error(admission.refusal), exchange->id()));
  }
  request.tenant = identity.tenant;
  request.key = identity.key;
  request.tier = admission.tier;
  if (request.queue_deadline_ms == 0) request.queue_deadline_ms = admission.queue_deadline_ms;
  const auto answer = std::make_shared<Answer>(api, exchange, std::move(plan), std::move(writer), request.choices, request.top_logprobs >= 0);
  answer->admission_ = admission;
  answer->identity_ = identity;
  answer->submitted_us_ = steady_us();
  exchange->attach(answer);
  const engine::Submitted submitted = api.backend().submit(std::move(request), answer);
  if (submitted.refusal == engine::Refusal::kNone) return answer->submitted(submitted.id);
  const ApiError error = refusal_error(submitted, api.backend().statistics(), admission.tier);
  api.gate().finished(identity, admission.ticket, {.failed = true});
  exchange->note({}, error.code);
  exchange->respond(error_response(shape, error, exchange->id()));
}

Answer::Answer(const Api& api, std::shared_ptr<Exchange> exchange, AnswerPlan plan, std::unique_ptr<AnswerWriter> writer, uint32_t choices, bool logprobs)
    : api_(api), exchange_(std::move(exchange)), plan_(std::move(plan)), writer_(std::move(writer)), logprobs_(logprobs), streams_(writer_->streams()),
      ring_(ring_bytes(choices, logprobs)) {
  for (uint32_t i = 0; i < choices; ++i) choices_.emplace_back(plan_.text);
}

void Answer::submitted(engine::RequestId id) {
  id_.store(id);
  if (cancelled_.load()) api_.backend().cancel(id);
}

void Answer::cancel() {
  if (cancelled_.exchange(true)) return;
  if (const engine::RequestId id = id_.load(); id != 0) api_.backend().cancel(id);
}

void Answer::closed() { cancel(); }

void Answer::interrupted() {
  interrupted_ = true;
  cancel();
}

// --- The engine's thread.

void Answer::push(const Record& record, std::span<const engine::TokenLogprob> top, std::string_view text, std::string_view more, bool last) {
  if (overrun_.load(std::memory_order_relaxed)) return;
  const bool fits = ring_.push({std::as_bytes(std::span(&record, 1)), std::as_bytes(top), std::as_bytes(std::span(text)), std::as_bytes(std::span(more))});
  if (!fits) {
    overrun_.store(true);
    cancel();
  }
  if (streams_ || last || !fits || ring_.half_full()) exchange_->wake();
}

void Answer::started(const engine::Started& started) {
  Record record{.kind = Record::Kind::kStarted, .tokens = started.cached_tokens};
  push(record, {}, {}, {}, false);
}

void Answer::token(const engine::TokenOut& token) {
  if (first_token_us_ == 0) first_token_us_ = steady_us() - submitted_us_;
  const auto top = logprobs_ ? token.top : std::span<const engine::TokenLogprob>();
  Record record{.kind = Record::Kind::kToken, .tops = static_cast<uint16_t>(top.size()), .choice = token.choice,
                .text_bytes = static_cast<uint32_t>(token.text.size()), .logprob = token.logprob};
  record.logprob.id = token.id;
  push(record, top, token.text, {}, false);
}

void Answer::prompt_token(uint32_t position, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) {
  const Record record{.kind = Record::Kind::kPromptToken, .tops = static_cast<uint16_t>(top.size()), .choice = position, .logprob = logprob};
  push(record, top, {}, {}, false);
}

void Answer::choice_done(const engine::ChoiceDone& done) {
  const Record record{.kind = Record::Kind::kChoiceDone, .reason = done.reason, .choice = done.choice, .text_bytes = static_cast<uint32_t>(done.text.size()),
                      .more_bytes = static_cast<uint32_t>(done.stop_string.size()), .stop_id = done.stop_id, .tokens = done.tokens};
  push(record, {}, done.text, done.stop_string, false);
}

void Answer::done(const engine::RequestDone& done) {
  Record record{.kind = Record::Kind::kDone, .text_bytes = static_cast<uint32_t>(std::min<size_t>(done.error.size(), 1024))};
  Usage& usage = record.totals.usage;
  usage = {.prompt_tokens = done.prompt_tokens, .cached_tokens = done.cached_tokens, .completion_tokens = done.completion_tokens, .reasoning_tokens = 0,
           .queue_us = done.queue_us, .prompt_us = done.prompt_us, .completion_us = done.completion_us, .first_token_us = first_token_us_,
           .failed = !done.error.empty(), .cancelled = cancelled_.load()};
  record.totals.drafted_tokens = done.drafted_tokens;
  record.totals.accepted_tokens = done.accepted_tokens;
  api_.gate().finished(identity_, admission_.ticket, usage);
  push(record, {}, done.error.substr(0, record.text_bytes), {}, true);
}

// --- The I/O thread.

Answer::State Answer::fail(Exchange& exchange, const ApiError& error, std::string& out) {
  exchange.record().error_code = error.code;
  if (begun_) {
    writer_->failed(error, out);
  } else {
    exchange.respond(error_response(plan_.errors, error, exchange.id()));
  }
  return State::kEnd;
}

void Answer::take_pieces(uint32_t choice, std::string& out) {
  for (const TextPiece& piece : pieces_) writer_->piece(choice, piece, out);
  pieces_.clear();
  writer_->flush(choice, out);
}

Answer::State Answer::pull(Exchange& exchange, std::string& out, size_t room) {
  if (interrupted_) {
    return fail(exchange, {.status = 503, .code = "server_draining", .message = "the server is going down", .retry_after_s = 5}, out);
  }
  while (out.size() < room) {
    if (!ring_.pop(record_)) {
      if (!overrun_.load()) return State::kMore;
      return fail(exchange, {.status = 503, .code = "client_too_slow", .message = "the answer was not read as fast as it was made"}, out);
    }
    Record record;
    std::memcpy(&record, record_.data(), sizeof(record));
    const std::byte* rest = record_.data() + sizeof(record);
    std::vector<engine::TokenLogprob> top(record.tops);
    if (record.tops > 0) std::memcpy(top.data(), rest, record.tops * sizeof(engine::TokenLogprob));
    rest += record.tops * sizeof(engine::TokenLogprob);
    const std::string_view text(reinterpret_cast<const char*>(rest), record.text_bytes);
    const std::string_view more(text.data() + text.size(), record.more_bytes);
    switch (record.kind) {
      case Record::Kind::kStarted:
        writer_->started(record.tokens, out);
        break;
      case Record::Kind::kPromptToken:
        writer_->prompt_token(record.choice, record.logprob, top);
        break;
      case Record::Kind::kToken: {
        any_token_ = true;
        if (streams_ && !begun_) exchange.begin(writer_->head());
        begun_ = begun_ || streams_;
        ChoiceText& choice = choices_[record.choice];
        reasoning_tokens_ += choice.thinking() ? 1 : 0;
        writer_->token_id(record.choice, record.logprob.id);
        if (logprobs_) writer_->token(record.choice, record.logprob, top);
        choice.feed(text, pieces_);
        take_pieces(record.choice, out);
        break;
      }
      case Record::Kind::kChoiceDone: {
        if (record.reason == FinishReason::kCancelled || record.reason == FinishReason::kError) break;  // kDone says why
        if (record.reason == FinishReason::kDeadline) cut_by_deadline_ = true;
        if (cut_by_deadline_ && !any_token_) break;
        if (streams_ && !begun_) exchange.begin(writer_->head());
        begun_ = begun_ || streams_;
        ChoiceText& choice = choices_[record.choice];
        choice.feed(text, pieces_);
        choice.finish(pieces_);
        take_pieces(record.choice, out);
        writer_->choice_done(record.choice, {record.reason, more, record.stop_id, record.tokens, choice.calls()}, out);
        break;
      }
      case Record::Kind::kDone: return take_done(exchange, record, text, out);
    }
  }
  return State::kFull;
}

Answer::State Answer::take_done(Exchange& exchange, const Record& record, std::string_view error, std::string& out) {
  AnswerTotals totals = record.totals;
  totals.usage.reasoning_tokens = reasoning_tokens_;
  exchange.record().usage = totals.usage;
  if (!error.empty()) {
    return fail(exchange, {.status = 500, .code = "generation_failed", .message = std::string(error)}, out);
  }
  if (cancelled_.load()) return fail(exchange, {.status = 503, .code = "cancelled", .message = "the request was cancelled", .retry_after_s = 1}, out);
  if (cut_by_deadline_ && !any_token_) {
    return fail(exchange, {.status = 503, .code = "deadline_exceeded", .message = "the request's deadline passed before its first token",
        .retry_after_s = 1}, out);
  }
  if (streams_ && !begun_) exchange.begin(writer_->head());
  begun_ = begun_ || streams_;
  writer_->done(totals, out);
  if (!streams_) exchange.respond(writer_->whole());
  return State::kEnd;
}

}  // namespace sluice::server
