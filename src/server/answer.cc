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

uint32_t choices_of(const std::vector<engine::Request>& requests) {
  uint32_t choices = 0;
  for (const engine::Request& request : requests) choices += request.choices;
  return choices;
}

}  // namespace

// What travels through the ring; behind it `tops` logprobs, `text_bytes` of text and `more_bytes` of more text.
struct Answer::Record {
  enum class Kind : uint8_t { kStarted, kToken, kPromptToken, kChoiceDone, kDone };
  Kind kind = Kind::kToken;
  FinishReason reason = FinishReason::kStop;
  uint16_t tops = 0;
  uint32_t choice = 0;                 // of a prompt's token: the prompt's first one
  uint32_t position = 0;               // of a prompt's token
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

// What the engine tells of one request, as records of the whole answer. One thread makes them all: the engine's.
class Answer::Part final : public engine::ResponseSink {
 public:
  Part(std::shared_ptr<Answer> answer, uint32_t first_choice) : answer_(std::move(answer)), first_choice_(first_choice) {}

  void started(const engine::Started& started) override {
    answer_->push({.kind = Record::Kind::kStarted, .choice = first_choice_, .tokens = started.cached_tokens}, {}, {}, {}, false);
  }
  void token(const engine::TokenOut& token) override {
    if (answer_->first_token_us_ == 0) answer_->first_token_us_ = steady_us() - answer_->submitted_us_;
    const auto top = answer_->logprobs_ ? token.top : std::span<const engine::TokenLogprob>();
    Record record{.kind = Record::Kind::kToken, .tops = static_cast<uint16_t>(top.size()), .choice = first_choice_ + token.choice,
                  .text_bytes = static_cast<uint32_t>(token.text.size()), .logprob = token.logprob};
    record.logprob.id = token.id;
    answer_->push(record, top, token.text, {}, false);
  }
  void prompt_token(uint32_t position, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    const Record record{.kind = Record::Kind::kPromptToken, .tops = static_cast<uint16_t>(top.size()), .choice = first_choice_, .position = position,
                        .logprob = logprob};
    answer_->push(record, top, {}, {}, false);
  }
  void choice_done(const engine::ChoiceDone& done) override {
    const Record record{.kind = Record::Kind::kChoiceDone, .reason = done.reason, .choice = first_choice_ + done.choice,
                        .text_bytes = static_cast<uint32_t>(done.text.size()), .more_bytes = static_cast<uint32_t>(done.stop_string.size()),
                        .stop_id = done.stop_id, .tokens = done.tokens};
    answer_->push(record, {}, done.text, done.stop_string, false);
  }
  void done(const engine::RequestDone& done) override {
    AnswerTotals& totals = answer_->totals_;
    Usage& usage = totals.usage;
    usage.prompt_tokens += done.prompt_tokens;
    usage.cached_tokens += done.cached_tokens;
    usage.completion_tokens += done.completion_tokens;
    usage.queue_us = std::max(usage.queue_us, done.queue_us);  // they run side by side
    usage.prompt_us = std::max(usage.prompt_us, done.prompt_us);
    usage.completion_us = std::max(usage.completion_us, done.completion_us);
    totals.drafted_tokens += done.drafted_tokens;
    totals.accepted_tokens += done.accepted_tokens;
    if (!done.error.empty() && answer_->error_.empty()) answer_->error_ = done.error.substr(0, 1024);
    answer_->part_done();
  }

 private:
  const std::shared_ptr<Answer> answer_;
  const uint32_t first_choice_;
};

void Answer::run(const Api& api, const std::shared_ptr<Exchange>& exchange, engine::Request request, AnswerPlan plan, std::unique_ptr<AnswerWriter> writer) {
  std::vector<engine::Request> requests;
  requests.push_back(std::move(request));
  run(api, exchange, std::move(requests), std::move(plan), std::move(writer));
}

void Answer::run(const Api& api, const std::shared_ptr<Exchange>& exchange, std::vector<engine::Request> requests, AnswerPlan plan,
                 std::unique_ptr<AnswerWriter> writer) {
  exchange->note(api.facts().id, {});
  const Identity& identity = exchange->identity();
  plan.price.batch = plan.price.batch || exchange->request().peer == kBatchPeer;
  Admission admission = api.gate().admit(identity, plan.price);
  if (admission.refusal.refused()) {
    exchange->note({}, admission.refusal.code);
    return exchange->respond(error_response(plan.errors, to_api_error(admission.refusal), exchange->id()));
  }
  const auto answer = std::make_shared<Answer>(api, exchange, std::move(plan), std::move(writer), requests);
  answer->admission_ = admission;
  answer->identity_ = identity;
  answer->submitted_us_ = steady_us();
  exchange->attach(answer);
  answer->submit_all(std::move(requests));
}

Answer::Answer(const Api& api, std::shared_ptr<Exchange> exchange, AnswerPlan plan, std::unique_ptr<AnswerWriter> writer,
               const std::vector<engine::Request>& requests)
    : api_(api), exchange_(std::move(exchange)), plan_(std::move(plan)), writer_(std::move(writer)), logprobs_(requests.at(0).top_logprobs >= 0),
      streams_(writer_->streams()), ring_(ring_bytes(choices_of(requests), logprobs_)), ids_(requests.size()),
      open_(static_cast<uint32_t>(requests.size()) + 1) {
  for (uint32_t i = choices_of(requests); i > 0; --i) choices_.emplace_back(plan_.text);
}

// The engine may refuse any of them: then those before it are cancelled, and the answer is the refusal.
void Answer::submit_all(std::vector<engine::Request> requests) {
  uint32_t first_choice = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    engine::Request& request = requests[i];
    request.tenant = identity_.tenant;
    request.key = identity_.key;
    request.tier = admission_.tier;
    if (request.queue_deadline_ms == 0) request.queue_deadline_ms = admission_.queue_deadline_ms;
    const uint32_t choices = request.choices;
    const engine::Submitted submitted = api_.backend().submit(std::move(request), std::make_shared<Part>(shared_from_this(), first_choice));
    if (submitted.refusal != engine::Refusal::kNone) {
      refused_ = refusal_error(submitted, api_.backend().statistics(), admission_.tier);
      open_.fetch_sub(static_cast<uint32_t>(requests.size() - i));  // which leaves one
      cancel();
      break;
    }
    first_choice += choices;
    ids_[i].store(submitted.id);
    if (cancelled_.load()) api_.backend().cancel(submitted.id);
  }
  part_done();
}

void Answer::cancel() {
  if (cancelled_.exchange(true)) return;
  for (const auto& id : ids_) {
    if (const engine::RequestId known = id.load(); known != 0) api_.backend().cancel(known);
  }
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

// Whoever ends last tells the gate and the other side; that may be the thread that submitted.
void Answer::part_done() {
  if (open_.fetch_sub(1) != 1) return;
  Usage& usage = totals_.usage;
  usage.first_token_us = first_token_us_;
  usage.failed = !error_.empty() || refused_.has_value();
  usage.cancelled = cancelled_.load() && !refused_;
  api_.gate().finished(identity_, admission_.ticket, usage);
  push({.kind = Record::Kind::kDone, .text_bytes = static_cast<uint32_t>(error_.size()), .totals = totals_}, {}, error_, {}, true);
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
        writer_->prompt_token(record.choice, record.position, record.logprob, top);
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
  if (refused_) return fail(exchange, *refused_, out);
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
