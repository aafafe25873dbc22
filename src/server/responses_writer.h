// response objects and the typed events of a stream of one. Next: answer.h.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "server/answer.h"
#include "server/chat_fields.h"

namespace sluice::server {

struct ResponseFacts {
  std::string id;                      // "resp_..."
  int64_t created = 0;
  bool stream = false, logprobs = false;
  Json body;                           // what repeats the request
  std::function<std::string(std::string_view tool, uint32_t call)> call_id;
};

class ResponsesWriter final : public AnswerWriter {
 public:
  ResponsesWriter(const Api& api, ResponseFacts facts);

  bool streams() const override { return facts_.stream; }
  void token(uint32_t choice, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override;
  void piece(uint32_t choice, const TextPiece& piece, std::string& out) override;
  void flush(uint32_t choice, std::string& out) override;
  void choice_done(uint32_t choice, const ChoiceEnd& end, std::string& out) override;
  void done(const AnswerTotals& totals, std::string& out) override;
  void failed(const ApiError& error, std::string& out) override;
  HttpResponse whole() override;
  // After done(): as it was sent.
  const Json& body() const { return body_; }

 private:
  enum class Item : uint8_t { kNone, kReasoning, kMessage, kCall };
  void event(std::string_view type, Json fields, std::string& out);
  void begin(std::string& out);
  void open(Item kind, std::string_view name, std::string_view call_id, std::string& out);
  void close(std::string& out);
  Json part() const;
  std::string item_id(std::string_view prefix) const;

  const Api& api_;
  const ResponseFacts facts_;
  Json body_;
  Json item_;                          // that is being written
  Item kind_ = Item::kNone;
  std::string text_, delta_, logprobs_, delta_logprobs_;  // of the open item; `delta_` is not sent yet
  uint64_t sequence_ = 0;
  bool begun_ = false, cut_ = false;
};

}  // namespace sluice::server
