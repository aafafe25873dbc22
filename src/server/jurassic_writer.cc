#include "server/jurassic_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/openai_json.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

// A list of tokens with their ranges in the text that they make, in characters.
class TokenList {
 public:
  // `known`: false where nothing was computed.
  void add(const Api& api, const engine::TokenLogprob& token, std::span<const engine::TokenLogprob> top, bool known) {
    if (!out_.empty()) out_ += ',';
    out_ += "{\"generatedToken\":";
    append(api, token, known);
    out_ += ",\"topTokens\":";
    if (top.empty()) {
      out_ += "null";
    } else {
      for (size_t i = 0; i < top.size(); ++i) {
        out_ += i > 0 ? ',' : '[';
        append(api, top[i], true);
      }
      out_ += ']';
    }
    const size_t end = at_ + count_characters(api.token_bytes(token.id));
    fmt::format_to(std::back_inserter(out_), ",\"textRange\":{{\"start\":{},\"end\":{}}}}}", at_, end);
    at_ = end;
  }
  const std::string& text() const { return out_; }

 private:
  void append(const Api& api, const engine::TokenLogprob& token, bool known) {
    std::string valid;
    text::append_valid_utf8(valid, api.token_bytes(token.id));
    out_ += "{\"token\":";
    append_json_string(out_, valid);
    out_ += ",\"logprob\":";
    known ? append_number(out_, token.logprob) : void(out_ += "null");
    out_ += ",\"raw_logprob\":";
    known ? append_number(out_, token.raw_logprob) : void(out_ += "null");
    out_ += '}';
  }

  std::string out_;
  size_t at_ = 0;
};

class JurassicWriter final : public AnswerWriter {
 public:
  JurassicWriter(const Api& api, JurassicFacts facts) : api_(api), facts_(std::move(facts)), choices_(facts_.choices) {
    const std::vector<int32_t>& prefix = api.tokenizer().spec().prefix_ids;
    size_t first = 0;
    while (first < facts_.prompt.size() && std::find(prefix.begin(), prefix.end(), facts_.prompt[first]) != prefix.end()) ++first;
    // Where there are logprobs, the engine tells them from the second token on.
    const size_t end = facts_.tops == 0 ? facts_.prompt.size() : 1;
    for (size_t i = first; i < end; ++i) prompt_.add(api, {.id = facts_.prompt[i]}, {}, false);
  }

  bool streams() const override { return false; }
  void token(uint32_t choice, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    choices_[choice].tokens.add(api_, logprob, top, true);
  }
  void prompt_token(uint32_t, uint32_t, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    prompt_.add(api_, logprob, top, true);
  }
  void piece(uint32_t choice, const TextPiece& piece, std::string&) override { choices_[choice].text += piece.text; }
  void choice_done(uint32_t choice, const ChoiceEnd& end, std::string&) override {
    std::string& reason = choices_[choice].reason;
    if (end.reason != engine::FinishReason::kStop) {
      reason = fmt::format("{{\"reason\":\"length\",\"length\":{}}}", end.tokens);
    } else if (end.stop_string.empty()) {
      reason = R"({"reason":"endoftext"})";
    } else {
      reason = R"({"reason":"stop","sequence":)";
      append_json_string(reason, end.stop_string);
      reason += '}';
    }
  }
  void done(const AnswerTotals&, std::string&) override {}
  void failed(const ApiError&, std::string&) override {}

  HttpResponse whole() override {
    HttpResponse response;
    std::string& out = response.body;
    out = "{\"id\":";
    append_json_string(out, facts_.id);
    out += ",\"prompt\":";
    append_data(out, facts_.prompt_text, prompt_);
    out += ",\"completions\":[";
    for (size_t i = 0; i < choices_.size(); ++i) {
      out += i > 0 ? ",{\"data\":" : "{\"data\":";
      append_data(out, choices_[i].text, choices_[i].tokens);
      out += ",\"finishReason\":" + choices_[i].reason + "}";
    }
    out += "]}";
    return response;
  }

 private:
  struct Choice {
    std::string text, reason = R"({"reason":"endoftext"})";
    TokenList tokens;
  };
  static void append_data(std::string& out, std::string_view text, const TokenList& tokens) {
    out += "{\"text\":";
    append_json_string(out, text);
    out += ",\"tokens\":[" + tokens.text() + "]}";
  }

  const Api& api_;
  const JurassicFacts facts_;
  std::vector<Choice> choices_;
  TokenList prompt_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_jurassic_writer(const Api& api, JurassicFacts facts) { return std::make_unique<JurassicWriter>(api, std::move(facts)); }

}  // namespace sluice::server
