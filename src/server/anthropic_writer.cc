#include "server/anthropic_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/openai_json.h"

namespace sluice::server {
namespace {

constexpr uint64_t kHourMs = 60 * 60'000;

// input_tokens are those that neither came from a kept state nor go into a pinned one.
void append_anthropic_usage(std::string& out, const AnthropicFacts& facts, uint64_t cached, uint64_t output, uint64_t thinking) {
  uint64_t short_lived = 0, long_lived = 0, from = cached;
  for (const engine::Pin& pin : facts.pins) {
    if (pin.position <= from) continue;
    (pin.ttl_ms >= kHourMs ? long_lived : short_lived) += pin.position - from;
    from = pin.position;
  }
  const uint64_t created = short_lived + long_lived;
  fmt::format_to(std::back_inserter(out),
                 "{{\"input_tokens\":{},\"cache_creation_input_tokens\":{},\"cache_read_input_tokens\":{},"
                 "\"cache_creation\":{{\"ephemeral_5m_input_tokens\":{},\"ephemeral_1h_input_tokens\":{}}},\"output_tokens\":{},"
                 "\"output_tokens_details\":{{\"thinking_tokens\":{}}},\"service_tier\":\"standard\"}}",
                 facts.prompt_tokens - std::min(facts.prompt_tokens, cached + created), created, cached, short_lived, long_lived, output, thinking);
}

// As text inside a string of JSON.
void append_inner(std::string& out, std::string_view text) {
  std::string quoted;
  append_json_string(quoted, text);
  out.append(quoted, 1, quoted.size() - 2);
}

void append_head(std::string& out, const AnthropicFacts& facts) {
  out += "\"id\":";
  append_json_string(out, facts.id);
  out += ",\"type\":\"message\",\"role\":\"assistant\",\"model\":";
  append_json_string(out, facts.model);
}

// {"type":"tool_use",...,"input":INPUT}
void append_tool_use(std::string& out, const AnthropicFacts& facts, std::string_view name, uint32_t call, std::string_view input) {
  out += "{\"type\":\"tool_use\",\"id\":";
  append_json_string(out, call_id(facts.format, facts.id, name, 0, call));
  out += ",\"name\":";
  append_json_string(out, name);
  out += ",\"input\":";
  out += input;
  out += '}';
}

// The reason, and which of the client's own stops it was.
void append_stop(std::string& out, const ChoiceEnd& end) {
  const bool stopped = end.reason == engine::FinishReason::kStop;
  const bool by_string = stopped && !end.stop_string.empty();
  const char* reason = !stopped ? "max_tokens" : by_string ? "stop_sequence" : end.calls > 0 ? "tool_use" : "end_turn";
  fmt::format_to(std::back_inserter(out), "\"stop_reason\":\"{}\",\"stop_sequence\":", reason);
  if (by_string) {
    append_json_string(out, end.stop_string);
  } else {
    out += "null";
  }
}

class AnthropicStreamWriter final : public AnswerWriter {
 public:
  explicit AnthropicStreamWriter(AnthropicFacts facts) : facts_(std::move(facts)) {}

  bool streams() const override { return true; }
  HttpResponse head() override {
    return {.status = 200, .content_type = "text/event-stream", .headers = {{"request-id", facts_.request_id}}, .body = {}};
  }
  void started(uint64_t cached_tokens, std::string&) override { cached_ = cached_tokens; }

  void piece(uint32_t, const TextPiece& piece, std::string& out) override {
    begin(out);
    switch (piece.kind) {
      case TextPiece::Kind::kContent: text(Block::kText, piece.text, out); break;
      case TextPiece::Kind::kThinking:
        if (facts_.show_thinking) text(Block::kThinking, piece.text, out);
        break;
      case TextPiece::Kind::kCallBegin: {
        close(out);
        std::string block;
        append_tool_use(block, facts_, piece.text, piece.call, "{}");
        open(Block::kToolUse, block, out);
        break;
      }
      case TextPiece::Kind::kArguments:
        if (open_ == Block::kToolUse) delta("input_json_delta", "partial_json", piece.text, out);
        break;
      case TextPiece::Kind::kCallEnd: close(out); break;
    }
  }

  void choice_done(uint32_t, const ChoiceEnd& end, std::string& out) override {
    begin(out);
    close(out);
    stop_.clear();
    append_stop(stop_, end);
  }
  void done(const AnswerTotals& totals, std::string& out) override {
    begin(out);
    out += "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{" + stop_ + "},\"usage\":";
    append_anthropic_usage(out, facts_, totals.usage.cached_tokens, totals.usage.completion_tokens, totals.usage.reasoning_tokens);
    out += "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
  }
  void failed(const ApiError& error, std::string& out) override {
    out += "event: error\ndata: " + error_body(ErrorShape::kAnthropic, error, facts_.request_id) + "\n\n";
  }

 private:
  enum class Block : uint8_t { kNone, kText, kThinking, kToolUse };

  void begin(std::string& out) {
    if (begun_) return;
    begun_ = true;
    out += "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{";
    append_head(out, facts_);
    out += ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":";
    append_anthropic_usage(out, facts_, cached_, 0, 0);
    out += "}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n";
  }
  void text(Block kind, std::string_view piece, std::string& out) {
    if (piece.empty()) return;
    if (open_ != kind) {
      close(out);
      open(kind, kind == Block::kText ? R"({"type":"text","text":""})" : R"({"type":"thinking","thinking":"","signature":""})", out);
    }
    kind == Block::kText ? delta("text_delta", "text", piece, out) : delta("thinking_delta", "thinking", piece, out);
  }
  void open(Block kind, std::string_view block, std::string& out) {
    open_ = kind;
    fmt::format_to(std::back_inserter(out), "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":{},\"content_block\":{}}}\n\n",
                   index_, block);
  }
  void delta(std::string_view type, std::string_view field, std::string_view piece, std::string& out) {
    out += "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",";
    fmt::format_to(std::back_inserter(out), "\"index\":{},\"delta\":{{\"type\":\"{}\",\"{}\":\"", index_, type, field);
    append_inner(out, piece);
    out += "\"}}\n\n";
  }
  void close(std::string& out) {
    if (open_ == Block::kNone) return;
    // Clients keep a signature beside thoughts and send it back; it names the answer and nobody checks it.
    if (open_ == Block::kThinking) delta("signature_delta", "signature", facts_.id, out);
    open_ = Block::kNone;
    fmt::format_to(std::back_inserter(out), "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":{}}}\n\n", index_++);
  }

  const AnthropicFacts facts_;
  std::string stop_ = R"("stop_reason":"end_turn","stop_sequence":null)";
  uint64_t cached_ = 0;
  uint32_t index_ = 0;                 // of the block that is open, or comes next
  Block open_ = Block::kNone;
  bool begun_ = false;
};

class AnthropicWholeWriter final : public AnswerWriter {
 public:
  explicit AnthropicWholeWriter(AnthropicFacts facts) : facts_(std::move(facts)) {}

  bool streams() const override { return false; }
  void piece(uint32_t, const TextPiece& piece, std::string&) override {
    const bool call = piece.kind == TextPiece::Kind::kCallBegin;
    if (piece.kind == TextPiece::Kind::kCallEnd || (piece.kind == TextPiece::Kind::kThinking && !facts_.show_thinking)) return;
    const TextPiece::Kind kind = call ? TextPiece::Kind::kArguments : piece.kind;
    if (call || blocks_.empty() || blocks_.back().kind != kind) {
      if (!call && piece.text.empty()) return;
      blocks_.push_back({kind, call ? piece.text : "", piece.call, ""});
    }
    if (!call) blocks_.back().text += piece.text;
  }
  void choice_done(uint32_t, const ChoiceEnd& end, std::string&) override {
    stop_.clear();
    append_stop(stop_, end);
  }
  void done(const AnswerTotals& totals, std::string&) override { totals_ = totals; }
  void failed(const ApiError&, std::string&) override {}

  HttpResponse whole() override {
    HttpResponse response{.headers = {{"request-id", facts_.request_id}}, .body = "{"};
    std::string& out = response.body;
    append_head(out, facts_);
    out += ",\"content\":[";
    for (size_t i = 0; i < blocks_.size(); ++i) {
      if (i > 0) out += ',';
      append_block(blocks_[i], out);
    }
    out += "]," + stop_ + ",\"usage\":";
    append_anthropic_usage(out, facts_, totals_.usage.cached_tokens, totals_.usage.completion_tokens, totals_.usage.reasoning_tokens);
    out += '}';
    return response;
  }

 private:
  struct Block {
    TextPiece::Kind kind;
    std::string name;                  // of a tool
    uint32_t call = 0;
    std::string text;
  };

  void append_block(const Block& block, std::string& out) const {
    if (block.kind == TextPiece::Kind::kArguments) {
      // Arguments that max_tokens cut off are no JSON; the reason to stop tells.
      return append_tool_use(out, facts_, block.name, block.call, Json::accept(block.text) ? block.text : "{}");
    }
    const bool thinking = block.kind == TextPiece::Kind::kThinking;
    out += thinking ? "{\"type\":\"thinking\",\"thinking\":" : "{\"type\":\"text\",\"text\":";
    append_json_string(out, block.text);
    if (thinking) {
      out += ",\"signature\":";
      append_json_string(out, facts_.id);
    }
    out += '}';
  }

  const AnthropicFacts facts_;
  std::vector<Block> blocks_;
  std::string stop_ = R"("stop_reason":"end_turn","stop_sequence":null)";
  AnswerTotals totals_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_anthropic_writer(AnthropicFacts facts) {
  if (facts.stream) return std::make_unique<AnthropicStreamWriter>(std::move(facts));
  return std::make_unique<AnthropicWholeWriter>(std::move(facts));
}

}  // namespace sluice::server
