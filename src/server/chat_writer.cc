#include "server/chat_writer.h"

#include <fmt/format.h>

#include "server/openai_json.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

void append_ids(std::string& out, std::string_view name, const Api& api, std::span<const int32_t> ids) {
  fmt::format_to(std::back_inserter(out), "\"{0}_token_ids\":[{1}],\"{0}_tokens\":[", name, fmt::join(ids, ","));
  for (size_t i = 0; i < ids.size(); ++i) {
    std::string valid;
    text::append_valid_utf8(valid, api.token_bytes(ids[i]));
    if (i > 0) out += ',';
    append_json_string(out, valid);
  }
  out += ']';
}

void append_debug(std::string& out, const Api& api, const ChatFacts& facts, std::span<const int32_t> answer) {
  if (!facts.debug) return;
  out += ",\"debug\":{";
  append_ids(out, "input", api, facts.prompt);
  out += ',';
  append_ids(out, "output", api, answer);
  out += '}';
}

// Open: the caller ends it.
void begin_groq(std::string& out, const ChatFacts& facts) {
  out += ",\"x_groq\":{\"id\":";
  append_json_string(out, facts.request_id);
  fmt::format_to(std::back_inserter(out), ",\"seed\":{}", facts.seed);
}

void append_common(std::string& out, const Api& api, const ChatFacts& facts, std::string_view object) {
  out += "{\"id\":";
  append_json_string(out, facts.id);
  fmt::format_to(std::back_inserter(out), ",\"object\":\"{}\",\"created\":{},\"model\":", object, facts.created);
  append_json_string(out, facts.model);
  out += ",\"system_fingerprint\":";
  append_json_string(out, api.facts().fingerprint);
  fmt::format_to(std::back_inserter(out), ",\"service_tier\":\"{}\"", facts.tier);
}

// An event for every token that shows something.
class ChatStreamWriter final : public AnswerWriter {
 public:
  ChatStreamWriter(const Api& api, ChatFacts facts) : api_(api), facts_(std::move(facts)), begun_(facts_.choices, false) {
    append_common(prefix_, api, facts_, "chat.completion.chunk");
    prefix_ += ",\"choices\":[";
  }

  bool streams() const override { return true; }

  void token_id(uint32_t, int32_t id) override {
    if (facts_.debug) ids_.push_back(id);
  }
  void token(uint32_t, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    if (!logprobs_.empty()) logprobs_ += ',';
    append_token_logprob(logprobs_, api_, logprob, top);
  }

  void piece(uint32_t choice, const TextPiece& piece, std::string&) override {
    switch (piece.kind) {
      case TextPiece::Kind::kContent: content_ += piece.text; break;
      case TextPiece::Kind::kThinking:
        if (facts_.reasoning != Reasoning::kHidden) reasoning_ += piece.text;
        break;
      case TextPiece::Kind::kCallBegin:
        begin_call(choice, piece);
        break;
      case TextPiece::Kind::kArguments:
        if (open_call_ != piece.call + 1) {
          next_call();
          fmt::format_to(std::back_inserter(calls_), "{{\"index\":{},\"function\":{{\"arguments\":\"", piece.call);
          open_call_ = piece.call + 1;
        }
        append_escaped(calls_, piece.text);
        break;
      case TextPiece::Kind::kCallEnd: break;
    }
  }

  void flush(uint32_t choice, std::string& out) override {
    if (!begun_[choice]) {
      begun_[choice] = true;
      out += "data: ";
      out += prefix_;
      fmt::format_to(std::back_inserter(out),
          "{{\"index\":{},\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"logprobs\":null,\"finish_reason\":null}}]", choice);
      begin_groq(out, facts_);
      out += "}}\n\n";
    }
    if (content_.empty() && reasoning_.empty() && calls_.empty() && logprobs_.empty()) return;
    out += "data: ";
    out += prefix_;
    out += "{\"index\":";
    out += fmt::format_int(choice).c_str();
    out += ",\"delta\":{";
    const char* comma = "";
    if (!content_.empty()) {
      out += "\"content\":";
      append_json_string(out, content_);
      comma = ",";
    }
    if (!reasoning_.empty()) {
      out += comma;
      out += "\"reasoning\":";
      append_json_string(out, reasoning_);
      out += ",\"reasoning_content\":";
      append_json_string(out, reasoning_);
      comma = ",";
    }
    if (!calls_.empty()) {
      close_call();
      out += comma;
      out += "\"tool_calls\":[" + calls_ + "]";
    }
    out += '}';
    if (!logprobs_.empty()) out += ",\"logprobs\":{\"content\":[" + logprobs_ + "],\"refusal\":null}";
    out += ",\"finish_reason\":null}]}\n\n";
    content_.clear();
    reasoning_.clear();
    calls_.clear();
    logprobs_.clear();
  }

  void choice_done(uint32_t choice, const ChoiceEnd& end, std::string& out) override {
    flush(choice, out);
    release_finish(out, nullptr);
    // The last one waits for the usage that it carries.
    fmt::format_to(std::back_inserter(finish_), "{}{{\"index\":{},\"delta\":{{}},\"logprobs\":null,\"finish_reason\":\"{}\"}}]", prefix_, choice,
                   finish_reason_name(end.reason, end.calls > 0));
  }

  void done(const AnswerTotals& totals, std::string& out) override {
    release_finish(out, &totals);
    if (facts_.stream.include_usage) {
      out += "data: " + prefix_ + "],\"usage\":";
      append_usage(out, totals);
      out += "}\n\n";
    }
    append_event(out, "[DONE]");
  }

  void failed(const ApiError& error, std::string& out) override {
    release_finish(out, nullptr);
    append_event(out, error_body(facts_.shape, error, facts_.request_id));
    append_event(out, "[DONE]");
  }

 private:
  void begin_call(uint32_t choice, const TextPiece& piece) {
    next_call();
    fmt::format_to(std::back_inserter(calls_), "{{\"index\":{},\"id\":", piece.call);
    append_json_string(calls_, call_id(facts_.format, facts_.id, piece.text, choice, piece.call));
    calls_ += ",\"type\":\"function\",\"function\":{\"name\":";
    append_json_string(calls_, piece.text);
    calls_ += ",\"arguments\":\"";
    open_call_ = piece.call + 1;
  }
  void close_call() {
    if (open_call_ > 0) calls_ += "\"}}";
    open_call_ = 0;
  }
  void next_call() {
    close_call();
    if (!calls_.empty()) calls_ += ',';
  }
  static void append_escaped(std::string& out, std::string_view text) {
    const size_t quote = out.size();
    append_json_string(out, text);
    out.erase(quote, 1);
    out.pop_back();
  }
  void release_finish(std::string& out, const AnswerTotals* totals) {
    if (finish_.empty()) return;
    out += "data: " + finish_;
    if (totals) {
      begin_groq(out, facts_);
      out += ",\"usage\":";
      append_usage(out, *totals);
      append_debug(out, api_, facts_, ids_);
      out += '}';
      if (facts_.shape == ErrorShape::kAi21) {  // its clients look for the usage where a choice is
        out += ",\"usage\":";
        append_usage(out, *totals);
      }
    }
    out += "}\n\n";
    finish_.clear();
  }

  const Api& api_;
  const ChatFacts facts_;
  std::string prefix_;                 // of every chunk, up to the choice
  std::vector<bool> begun_;            // by choice
  std::string content_, reasoning_, calls_, logprobs_, finish_;
  std::vector<int32_t> ids_;           // of the answer, for debug
  uint32_t open_call_ = 0;             // number + 1 of the call whose arguments are being written into calls_
};

class ChatWholeWriter final : public AnswerWriter {
 public:
  ChatWholeWriter(const Api& api, ChatFacts facts) : api_(api), facts_(std::move(facts)), choices_(facts_.choices) {}

  bool streams() const override { return false; }

  void token_id(uint32_t, int32_t id) override {
    if (facts_.debug) ids_.push_back(id);
  }
  void token(uint32_t choice, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    std::string& out = choices_[choice].logprobs;
    if (!out.empty()) out += ',';
    append_token_logprob(out, api_, logprob, top);
    has_logprobs_ = true;
  }

  void piece(uint32_t choice, const TextPiece& piece, std::string&) override {
    Choice& c = choices_[choice];
    switch (piece.kind) {
      case TextPiece::Kind::kContent: c.content += piece.text; break;
      case TextPiece::Kind::kThinking: c.reasoning += piece.text; break;
      case TextPiece::Kind::kCallBegin: c.calls.push_back({piece.text, ""}); break;
      case TextPiece::Kind::kArguments:
        if (!c.calls.empty()) c.calls.back().arguments += piece.text;
        break;
      case TextPiece::Kind::kCallEnd: break;
    }
  }

  void choice_done(uint32_t choice, const ChoiceEnd& end, std::string&) override {
    choices_[choice].finish = finish_reason_name(end.reason, end.calls > 0);
  }
  void done(const AnswerTotals& totals, std::string&) override { totals_ = totals; }
  void failed(const ApiError&, std::string&) override {}

  HttpResponse whole() override {
    HttpResponse response;
    std::string& out = response.body;
    append_common(out, api_, facts_, "chat.completion");
    out += ",\"choices\":[";
    for (size_t i = 0; i < choices_.size(); ++i) append_choice(out, static_cast<uint32_t>(i));
    out += "],\"usage\":";
    append_usage(out, totals_);
    begin_groq(out, facts_);
    // By Groq's tiers of memory: ours is the machine's.
    fmt::format_to(std::back_inserter(out), ",\"usage\":{{\"sram_cached_tokens\":0,\"dram_cached_tokens\":{}}}", totals_.usage.cached_tokens);
    append_debug(out, api_, facts_, ids_);
    out += "}}";
    return response;
  }

 private:
  struct Call {
    std::string name, arguments;
  };
  struct Choice {
    std::string content, reasoning, logprobs;
    std::vector<Call> calls;
    std::string_view finish = "stop";
  };

  void append_choice(std::string& out, uint32_t index) {
    const Choice& c = choices_[index];
    fmt::format_to(std::back_inserter(out), "{}{{\"index\":{},\"message\":{{\"role\":\"assistant\",\"content\":", index > 0 ? "," : "", index);
    if (c.content.empty() && !c.calls.empty()) {
      out += "null";
    } else {
      append_json_string(out, c.content);
    }
    if (!c.reasoning.empty() && facts_.reasoning != Reasoning::kHidden) {
      out += ",\"reasoning\":";
      append_json_string(out, c.reasoning);
      out += ",\"reasoning_content\":";
      append_json_string(out, c.reasoning);
    }
    if (!c.calls.empty()) {
      out += ",\"tool_calls\":[";
      for (size_t i = 0; i < c.calls.size(); ++i) {
        out += i > 0 ? ",{\"id\":" : "{\"id\":";
        append_json_string(out, call_id(facts_.format, facts_.id, c.calls[i].name, index, static_cast<uint32_t>(i)));
        out += ",\"type\":\"function\",\"function\":{\"name\":";
        append_json_string(out, c.calls[i].name);
        out += ",\"arguments\":";
        append_json_string(out, c.calls[i].arguments);
        out += "}}";
      }
      out += ']';
    }
    out += ",\"refusal\":null},\"logprobs\":";
    out += has_logprobs_ ? "{\"content\":[" + c.logprobs + "],\"refusal\":null}" : "null";
    fmt::format_to(std::back_inserter(out), ",\"finish_reason\":\"{}\"}}", c.finish);
  }

  const Api& api_;
  const ChatFacts facts_;
  std::vector<Choice> choices_;
  AnswerTotals totals_;
  std::vector<int32_t> ids_;           // of the answer, for debug
  bool has_logprobs_ = false;
};

}  // namespace

std::string call_id(const ChatFacts& facts, std::string_view tool, uint32_t choice, uint32_t call) {
  return call_id(facts.format, facts.id, tool, choice, call);
}

std::unique_ptr<AnswerWriter> make_chat_writer(const Api& api, ChatFacts facts) {
  if (facts.stream.stream) return std::make_unique<ChatStreamWriter>(api, std::move(facts));
  return std::make_unique<ChatWholeWriter>(api, std::move(facts));
}

}  // namespace sluice::server
