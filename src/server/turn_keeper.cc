#include "server/turn_keeper.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace sluice::server {
namespace {

class KeepingWriter final : public AnswerWriter {
 public:
  KeepingWriter(std::unique_ptr<AnswerWriter> inner, Kept& kept, TurnPlan plan) : inner_(std::move(inner)), kept_(kept), plan_(std::move(plan)) {}

  bool streams() const override { return inner_->streams(); }
  HttpResponse head() override { return inner_->head(); }
  void started(uint64_t cached_tokens, std::string& out) override { inner_->started(cached_tokens, out); }
  void token_id(uint32_t choice, int32_t id) override {
    plan_.turn.seam.answer.push_back(id);
    inner_->token_id(choice, id);
  }
  void token(uint32_t choice, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override { inner_->token(choice, logprob, top); }
  void prompt_token(uint32_t choice, uint32_t position, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    inner_->prompt_token(choice, position, logprob, top);
  }
  void piece(uint32_t choice, const TextPiece& piece, std::string& out) override {
    switch (piece.kind) {
      case TextPiece::Kind::kContent: content_ += piece.text; break;
      case TextPiece::Kind::kThinking: reasoning_ += piece.text; break;
      case TextPiece::Kind::kCallBegin:
        calls_.push_back({{"id", plan_.call_id(piece.text, piece.call)}, {"type", "function"}, {"function", {{"name", piece.text}, {"arguments", ""}}}});
        break;
      case TextPiece::Kind::kArguments:
        if (!calls_.empty()) calls_.back()["function"]["arguments"].get_ref<std::string&>() += piece.text;
        break;
      case TextPiece::Kind::kCallEnd: break;
    }
    inner_->piece(choice, piece, out);
  }
  void flush(uint32_t choice, std::string& out) override { inner_->flush(choice, out); }
  void choice_done(uint32_t choice, const ChoiceEnd& end, std::string& out) override { inner_->choice_done(choice, end, out); }
  void done(const AnswerTotals& totals, std::string& out) override {
    inner_->done(totals, out);
    keep();
  }
  void failed(const ApiError& error, std::string& out) override { inner_->failed(error, out); }
  HttpResponse whole() override { return inner_->whole(); }

 private:
  void keep() {
    Turn& turn = plan_.turn;
    Json message = {{"role", "assistant"}, {"content", content_}};
    if (!reasoning_.empty()) message["reasoning_content"] = reasoning_;
    for (Json& call : calls_) {  // templates read arguments as an object
      const Json parsed = Json::parse(call["function"]["arguments"].get_ref<const std::string&>(), nullptr, false);
      if (parsed.is_object()) call["function"]["arguments"] = parsed;
    }
    if (!calls_.empty()) message["tool_calls"] = calls_;
    turn.messages.push_back(std::move(message));
    if (plan_.body) turn.body = plan_.body();
    const auto work = [&kept = kept_, turn = std::move(turn), conversation = plan_.conversation] {
      if (const Refused refused = kept.turns().add(turn, conversation)) kept.say("responses: " + refused->message);
    };
    if (!kept_.post(work)) kept_.say("responses: too many wait to be written down; one was not kept");
  }

  const std::unique_ptr<AnswerWriter> inner_;
  Kept& kept_;
  TurnPlan plan_;
  std::string content_, reasoning_;
  Json calls_ = Json::array();
};

}  // namespace

Refused check_name(std::string_view name, std::string_view field) {
  constexpr std::string_view kGood = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
  if (!name.empty() && name.size() <= 64 && name.find_first_not_of(kGood) == std::string_view::npos) return {};
  return bad_request(std::string(field), fmt::format("{} is '{}': 1 to 64 letters, digits, '-', '_' and '.'", field, text::shown(name)));
}

Refused load_turns(Kept& kept, uint32_t tenant, std::string_view head, std::string_view field, Conversation& conversation) {
  if (head.empty()) return {};
  kept.settle();  // what was answered a moment ago may not be written down yet
  std::vector<Turn> turns;
  SLUICE_REFUSE(kept.turns().chain(tenant, head, field, turns));
  Json messages = Json::array();
  for (Turn& turn : turns) {
    for (Json& message : turn.messages) messages.push_back(std::move(message));
    conversation.seams.push_back(std::move(turn.seam));
  }
  for (CacheMark& mark : conversation.cache_marks) mark.message += mark.message == CacheMark::kTools ? 0 : messages.size();
  for (Json& message : conversation.messages) messages.push_back(std::move(message));
  conversation.messages = std::move(messages);
  return {};
}

Refused find_head(Kept& kept, uint32_t tenant, const std::string& name, std::string& head) {
  kept.settle();
  std::optional<ConversationHead> found;
  SLUICE_REFUSE(kept.turns().conversation(tenant, name, found));
  if (found) {
    head = found->head;
    return {};
  }
  ConversationHead begun;
  begun.name = name;
  return kept.turns().put_conversation(tenant, begun);
}

std::unique_ptr<AnswerWriter> keep_turn(std::unique_ptr<AnswerWriter> inner, Kept& kept, TurnPlan plan) {
  return std::make_unique<KeepingWriter>(std::move(inner), kept, std::move(plan));
}

}  // namespace sluice::server
