#include "server/completion_routes.h"

#include <fmt/format.h>

#include <cmath>

#include "base/limits.h"
#include "server/chat_fields.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

struct CompletionFacts {
  std::string id, model;
  int64_t created = 0;
  uint32_t choices = 1;
  StreamOptions stream;
  std::string echo;                    // the prompt, if it is to stand before the answer
  bool logprobs = false;
};

// OpenAI's older shape of logprobs: four lists.
struct LogprobLists {
  std::string tokens, logprobs, tops, offsets;
  size_t offset = 0;

  void add(const Api& api, const engine::TokenLogprob& chosen, std::span<const engine::TokenLogprob> top, bool known) {
    std::string text;
    text::append_valid_utf8(text, api.token_bytes(chosen.id));
    for (std::string* list : {&tokens, &logprobs, &tops, &offsets}) {
      if (!list->empty()) *list += ',';
    }
    append_json_string(tokens, text);
    if (known) {
      append_number(logprobs, chosen.raw_logprob);
    } else {
      logprobs += "null";
    }
    tops += '{';
    for (size_t i = 0; i < top.size(); ++i) {
      std::string other;
      text::append_valid_utf8(other, api.token_bytes(top[i].id));
      if (i > 0) tops += ',';
      append_json_string(tops, other);
      tops += ':';
      append_number(tops, top[i].raw_logprob);
    }
    tops += '}';
    fmt::format_to(std::back_inserter(offsets), "{}", offset);
    offset += text.size();
  }
  void append_to(std::string& out) const {
    out += "{\"tokens\":[" + tokens + "],\"token_logprobs\":[" + logprobs + "],\"top_logprobs\":[" + tops + "],\"text_offset\":[" + offsets + "]}";
  }
};

class CompletionWriter final : public AnswerWriter {
 public:
  CompletionWriter(const Api& api, CompletionFacts facts) : api_(api), facts_(std::move(facts)), choices_(facts_.choices) {
    for (Choice& c : choices_) c.text = facts_.echo;
  }

  bool streams() const override { return facts_.stream.stream; }
  void token(uint32_t choice, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    choices_[choice].lists.add(api_, logprob, top, true);
  }
  void prompt_token(uint32_t position, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    for (Choice& c : choices_) c.lists.add(api_, logprob, top, position > 0);
  }
  void piece(uint32_t choice, const TextPiece& piece, std::string&) override { choices_[choice].text += piece.text; }
  void flush(uint32_t choice, std::string& out) override {
    Choice& c = choices_[choice];
    if (!streams() || (c.text.empty() && c.lists.tokens.empty())) return;
    event(choice, "null", out);
  }
  void choice_done(uint32_t choice, const ChoiceEnd& end, std::string& out) override {
    Choice& c = choices_[choice];
    c.finish = fmt::format("\"{}\"", finish_reason_name(end.reason, false));
    if (streams()) event(choice, c.finish, out);
  }
  void done(const AnswerTotals& totals, std::string& out) override {
    totals_ = totals;
    if (!streams()) return;
    if (facts_.stream.include_usage) {
      out += "data: ";
      append_head(out);
      out += "],\"usage\":";
      append_usage(out, totals);
      out += "}\n\n";
    }
    append_event(out, "[DONE]");
  }
  void failed(const ApiError& error, std::string& out) override {
    append_event(out, error_body(ErrorShape::kOpenAi, error, facts_.id));
    append_event(out, "[DONE]");
  }
  HttpResponse whole() override {
    HttpResponse response;
    append_head(response.body);
    for (size_t i = 0; i < choices_.size(); ++i) {
      if (i > 0) response.body += ',';
      append_choice(static_cast<uint32_t>(i), choices_[i].finish, response.body);
    }
    response.body += "],\"usage\":";
    append_usage(response.body, totals_);
    response.body += '}';
    return response;
  }

 private:
  struct Choice {
    std::string text, finish = "\"stop\"";
    LogprobLists lists;
  };

  void append_head(std::string& out) const {
    out += "{\"id\":";
    append_json_string(out, facts_.id);
    fmt::format_to(std::back_inserter(out), ",\"object\":\"text_completion\",\"created\":{},\"model\":", facts_.created);
    append_json_string(out, facts_.model);
    out += ",\"system_fingerprint\":";
    append_json_string(out, api_.facts().fingerprint);
    out += ",\"choices\":[";
  }
  void append_choice(uint32_t choice, std::string_view finish, std::string& out) const {
    const Choice& c = choices_[choice];
    fmt::format_to(std::back_inserter(out), "{{\"index\":{},\"text\":", choice);
    append_json_string(out, c.text);
    out += ",\"logprobs\":";
    if (facts_.logprobs) {
      c.lists.append_to(out);
    } else {
      out += "null";
    }
    fmt::format_to(std::back_inserter(out), ",\"finish_reason\":{}}}", finish);
  }
  void event(uint32_t choice, std::string_view finish, std::string& out) {
    Choice& c = choices_[choice];
    out += "data: ";
    append_head(out);
    append_choice(choice, finish, out);
    out += "]}\n\n";
    c.text.clear();
    const size_t offset = c.lists.offset;
    c.lists = {};
    c.lists.offset = offset;
  }

  const Api& api_;
  const CompletionFacts facts_;
  std::vector<Choice> choices_;
  AnswerTotals totals_;
};

Refused read_prompt(FieldReader& fields, const Api& api, std::vector<int32_t>& tokens, std::string& text) {
  const Json* given = fields.any("prompt");
  if (!given) {
    fields.require("prompt");
    return fields.ok() ? Refused{} : fields.finish();
  }
  // A list of one prompt is that prompt.
  if (given->is_array() && given->size() == 1 && ((*given)[0].is_string() || (*given)[0].is_array())) given = &(*given)[0];
  if (given->is_string()) {
    text = given->get<std::string>();
    Result<std::vector<int32_t>> encoded = api.tokenizer().encode(text, {.parse_special = false, .add_special = true});
    if (!encoded.ok()) return bad_request("prompt", encoded.error().message);
    tokens = std::move(*encoded);
  } else if (given->is_array() && !given->empty() && (*given)[0].is_number()) {
    const Json wrapped = {{"prompt", *given}};
    FieldReader inner(wrapped, "");
    inner.integers("prompt", limits::kJsonValuesMax, 0, static_cast<int64_t>(api.tokenizer().vocabulary_size()) - 1, tokens);
    SLUICE_REFUSE(inner.finish());
    const Result<std::string> decoded = api.tokenizer().decode(tokens, false);
    if (decoded.ok()) text::append_valid_utf8(text, *decoded);
  } else {
    return bad_request("prompt", "prompt must be one text or one list of token ids", "invalid_type");
  }
  if (tokens.empty()) return bad_request("prompt", "the prompt has no tokens");
  return {};
}

Refused complete_text(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  const std::string body = exchange->take_body();
  Json json;
  SLUICE_REFUSE(parse_request_object(body, json));
  FieldReader fields(json, "");
  Generation generation = default_generation(api);
  CompletionFacts facts{.id = answer_id("cmpl-", *exchange), .created = api.now_unix()};
  read_model(fields, api, facts.model);
  if (!fields.ok()) return fields.finish();
  std::vector<int32_t> tokens;
  std::string text;
  SLUICE_REFUSE(read_prompt(fields, api, tokens, text));
  int64_t most = 0;
  generation.max_tokens_given = true;
  generation.request.max_tokens = 16;  // OpenAI's default here
  if (fields.integer("max_tokens", 0, static_cast<int64_t>(sluice::limits::kContextTokensMax), most)) {
    generation.request.max_tokens = static_cast<uint64_t>(most);
  }
  read_sampler(fields, api, generation);
  read_stops(fields, api, generation);
  read_choices(fields, api, "n", generation);
  uint32_t best_of = generation.request.choices;
  if (fields.integer("best_of", 1, limits::kChoicesMax, best_of) && best_of != generation.request.choices) {
    fields.refuse("best_of", "best_of other than n is not supported", "unsupported_parameter");
  }
  int64_t logprobs = -1;
  if (fields.integer("logprobs", 0, limits::kTopLogprobsMax, logprobs)) generation.request.top_logprobs = static_cast<int32_t>(logprobs);
  bool echo = false;
  fields.boolean("echo", echo);
  std::string suffix;
  if (fields.text("suffix", limits::kBodyBytesMax, suffix) && !suffix.empty()) fields.refuse("suffix", "suffix is not supported", "unsupported_parameter");
  read_constraint(fields, generation);
  read_service(fields, generation);
  read_stream_options(fields, facts.stream);
  fields.ignore({"user", "metadata"});
  SLUICE_REFUSE(fields.finish());

  facts.choices = generation.request.choices;
  facts.logprobs = logprobs >= 0;
  if (echo) facts.echo = text;
  generation.request.echo_logprobs = echo && facts.logprobs;
  SLUICE_REFUSE(complete(api, std::move(tokens), body.size(), "prompt", generation));
  AnswerPlan plan{.price = generation.price};
  Answer::run(api, exchange, std::move(generation.request), std::move(plan), std::make_unique<CompletionWriter>(api, std::move(facts)));
  return {};
}

}  // namespace

Handler completion_handler(const Api& api) {
  return [&api](const std::shared_ptr<Exchange>& exchange) {
    if (const Refused refused = complete_text(api, exchange)) refuse(exchange, ErrorShape::kOpenAi, *refused);
  };
}

}  // namespace sluice::server
