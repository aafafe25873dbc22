// A request on its way through the engine and its answer on the way back; where one HTTP request has several prompts, several engine requests make one
// answer, their choices numbered on. The engine's thread puts records into a ring; the I/O thread takes them out, takes the text apart and lets a writer
// put it into a protocol's shape, as events while it comes or as one document at the end.
// Contract: the engine's thread neither allocates nor waits here; a client that leaves, or reads too slowly for the ring, cancels the request within a step;
// the gate hears of the end exactly once. Next: token_ring.h, choice_text.h, chat_writer.h for a writer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "server/api.h"
#include "server/choice_text.h"
#include "server/exchange.h"
#include "server/token_ring.h"

namespace sluice::server {

struct ChoiceEnd {
  engine::FinishReason reason = engine::FinishReason::kStop;
  std::string_view stop_string;
  int32_t stop_id = -1;
  uint64_t tokens = 0;
  uint32_t calls = 0;                  // tool calls that it made
};

// The peer of a request that is a line of a batch: no request quota, lowest priority.
inline constexpr std::string_view kBatchPeer = "batch";

struct AnswerTotals {
  Usage usage;
  uint64_t drafted_tokens = 0, accepted_tokens = 0;
};

// Puts an answer into a protocol's shape. All calls on the I/O thread, in the order of the stream. What is appended to `out` is sent if streams() is true
// and must stay empty otherwise.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  virtual bool streams() const = 0;
  // The head of a stream's answer (its status, content type and first bytes).
  virtual HttpResponse head() { return {.status = 200, .content_type = "text/event-stream", .headers = {}, .body = {}}; }
  virtual void started(uint64_t /*cached_tokens*/, std::string& /*out*/) {}
  // Every token that has text.
  virtual void token_id(uint32_t /*choice*/, int32_t /*id*/) {}
  // A token's logprobs, when asked for; comes before the pieces that it completed.
  virtual void token(uint32_t /*choice*/, const engine::TokenLogprob&, std::span<const engine::TokenLogprob> /*top*/) {}
  // Of the prompt whose first choice is `choice`.
  virtual void prompt_token(uint32_t /*choice*/, uint32_t /*position*/, const engine::TokenLogprob&, std::span<const engine::TokenLogprob> /*top*/) {}
  virtual void piece(uint32_t choice, const TextPiece& piece, std::string& out) = 0;
  // After the pieces of one token.
  virtual void flush(uint32_t /*choice*/, std::string& /*out*/) {}
  virtual void choice_done(uint32_t choice, const ChoiceEnd& end, std::string& out) = 0;
  virtual void done(const AnswerTotals& totals, std::string& out) = 0;
  // Something went wrong after the head: the stream ends with this.
  virtual void failed(const ApiError& error, std::string& out) = 0;
  // Not streaming, after done().
  virtual HttpResponse whole() { return {}; }
};

struct AnswerPlan {
  TextPlan text;
  ErrorShape errors = ErrorShape::kOpenAi;
  Price price;
};

class Answer final : public AnswerSource, public std::enable_shared_from_this<Answer> {
 public:
  // Asks the gate, submits, and answers the exchange whatever happens.
  static void run(const Api& api, const std::shared_ptr<Exchange>& exchange, engine::Request request, AnswerPlan plan, std::unique_ptr<AnswerWriter> writer);
  // The same of several: choice 0 of the second is the number of choices of the first, and so on. All are priced by `plan` together.
  static void run(const Api& api, const std::shared_ptr<Exchange>& exchange, std::vector<engine::Request> requests, AnswerPlan plan,
                  std::unique_ptr<AnswerWriter> writer);

  Answer(const Api& api, std::shared_ptr<Exchange> exchange, AnswerPlan plan, std::unique_ptr<AnswerWriter> writer,
         const std::vector<engine::Request>& requests);

  // I/O thread.
  State pull(Exchange& exchange, std::string& out, size_t room) override;
  void closed() override;
  void interrupted() override;


 private:
  struct Record;
  class Part;                          // the sink of one engine request
  void submit_all(std::vector<engine::Request> requests);
  void cancel();
  void push(const Record& record, std::span<const engine::TokenLogprob> top, std::string_view text, std::string_view more, bool last);
  void part_done();
  State fail(Exchange& exchange, const ApiError& error, std::string& out);
  void take_pieces(uint32_t choice, std::string& out);
  State take_done(Exchange& exchange, const Record& record, std::string_view error, std::string& out);

  const Api& api_;
  std::shared_ptr<Exchange> exchange_;
  const AnswerPlan plan_;
  const std::unique_ptr<AnswerWriter> writer_;
  const bool logprobs_;
  const bool streams_;
  Admission admission_;
  Identity identity_;

  TokenRing ring_;
  std::vector<std::atomic<engine::RequestId>> ids_;
  std::atomic<uint32_t> open_;         // engine requests that have not ended, and one while they are being submitted
  std::atomic<bool> cancelled_{false}, overrun_{false};
  uint64_t submitted_us_ = 0;
  uint64_t first_token_us_ = 0;        // engine's thread
  AnswerTotals totals_;                // engine's thread, until open_ is 0
  std::string error_;
  std::optional<ApiError> refused_;    // of a request after the first

  // I/O thread.
  std::vector<ChoiceText> choices_;
  std::vector<TextPiece> pieces_;
  std::vector<std::byte> record_;
  bool begun_ = false, cut_by_deadline_ = false, interrupted_ = false, any_token_ = false;
  uint64_t reasoning_tokens_ = 0;
};

// Why the engine would not take it, as an answer; Retry-After comes from what is queued and how fast it goes.
ApiError refusal_error(const engine::Submitted& submitted, const engine::EngineStatistics& statistics, engine::Tier tier);

}  // namespace sluice::server
