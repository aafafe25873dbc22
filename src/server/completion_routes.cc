#include "server/completion_routes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "server/chat_fields.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr size_t kPromptsMax = 64;         // of one request
constexpr size_t kPromptChoicesMax = 128;  // prompts x n

// One prompt of a request. OpenAI numbers the choices on over all of them.
struct TextPrompt {
  std::vector<int32_t> tokens;
  std::string text;
};

struct CompletionFacts {
  std::string id, model;
  int64_t created = 0;
  uint32_t choices = 1;                // of each prompt
  StreamOptions stream;
  std::vector<TextPrompt> prompts;
  bool echo = false;                   // the prompt stands before the answer
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
    offset += count_characters(api.token_bytes(chosen.id));
  }
  void append_to(std::string& out) const {
    out += "{\"tokens\":[" + tokens + "],\"token_logprobs\":[" + logprobs + "],\"top_logprobs\":[" + tops + "],\"text_offset\":[" + offsets + "]}";
  }
};

class CompletionWriter final : public AnswerWriter {
 public:
  CompletionWriter(const Api& api, CompletionFacts facts) : api_(api), facts_(std::move(facts)), choices_(facts_.choices * facts_.prompts.size()) {
    for (size_t i = 0; facts_.echo && i < choices_.size(); ++i) {
      const TextPrompt& prompt = facts_.prompts[i / facts_.choices];
      choices_[i].text = prompt.text;
      // The engine tells of the second token on: nothing comes before the first. A token that begins every prompt is no part of the text.
      if (facts_.logprobs && !begins_every_prompt(prompt.tokens[0])) choices_[i].lists.add(api_, {.id = prompt.tokens[0]}, {}, false);
    }
  }

  bool streams() const override { return facts_.stream.stream; }
  void token(uint32_t choice, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    choices_[choice].lists.add(api_, logprob, top, true);
  }
  void prompt_token(uint32_t choice, uint32_t, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) override {
    for (Choice& c : std::span(&choices_[choice], facts_.choices)) c.lists.add(api_, logprob, top, true);
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

  bool begins_every_prompt(int32_t id) const {
    const std::vector<int32_t>& prefix = api_.tokenizer().spec().prefix_ids;
    return std::find(prefix.begin(), prefix.end(), id) != prefix.end();
  }
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

Refused read_prompt(const Api& api, const Json& given, const std::string& path, TextPrompt& out) {
  if (given.is_string()) {
    out.text = given.get<std::string>();
    Result<std::vector<int32_t>> encoded = api.tokenizer().encode(out.text, {.parse_special = false, .add_special = true});
    if (!encoded.ok()) return bad_request(path, encoded.error().message);
    out.tokens = std::move(*encoded);
  } else if (given.is_array()) {
    const Json wrapped = {{path, given}};
    FieldReader inner(wrapped, "");
    inner.integers(path, limits::kJsonValuesMax, 0, static_cast<int64_t>(api.tokenizer().vocabulary_size()) - 1, out.tokens);
    SLUICE_REFUSE(inner.finish());
    const Result<std::string> decoded = api.tokenizer().decode(out.tokens, false);
    if (decoded.ok()) text::append_valid_utf8(out.text, *decoded);
  } else {
    return bad_request(path, path + " must be a text or a list of token ids", "invalid_type");
  }
  if (out.tokens.empty()) return bad_request(path, path + " has no tokens");
  return {};
}

// A text, a list of token ids, or a list of either.
Refused read_prompts(FieldReader& fields, const Api& api, std::vector<TextPrompt>& out) {
  fields.require("prompt");
  const Json* given = fields.any("prompt");
  if (!given) return fields.finish();
  const bool one = !given->is_array() || given->empty() || (*given)[0].is_number();
  const size_t count = one ? 1 : given->size();
  if (count > kPromptsMax) return bad_request("prompt", fmt::format("prompt has {} entries, the limit is {}", count, kPromptsMax));
  for (size_t i = 0; i < count; ++i) {
    SLUICE_REFUSE(read_prompt(api, one ? *given : (*given)[i], one ? "prompt" : fmt::format("prompt[{}]", i), out.emplace_back()));
  }
  return {};
}

// Each prompt is a request of its own to the engine; all are priced together.
Refused complete_each(const Api& api, const Generation& generation, const std::vector<TextPrompt>& prompts, uint64_t body_bytes,
                      std::vector<engine::Request>& requests, Price& price) {
  price = generation.price;
  price.bytes = body_bytes;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Generation one = generation;
    SLUICE_REFUSE(complete(api, prompts[i].tokens, body_bytes, prompts.size() == 1 ? "prompt" : fmt::format("prompt[{}]", i), one));
    price.prompt_tokens += one.price.prompt_tokens;
    price.completion_tokens_max += one.price.completion_tokens_max;
    requests.push_back(std::move(one.request));
  }
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
  SLUICE_REFUSE(read_prompts(fields, api, facts.prompts));
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
  fields.boolean("echo", facts.echo);
  std::string suffix;
  if (fields.text("suffix", limits::kBodyBytesMax, suffix) && !suffix.empty()) fields.refuse("suffix", "suffix is not supported", "unsupported_parameter");
  read_constraint(fields, generation);
  read_service(fields, generation);
  read_stream_options(fields, facts.stream);
  fields.ignore({"user", "metadata"});
  SLUICE_REFUSE(fields.finish());

  facts.choices = generation.request.choices;
  if (facts.choices * facts.prompts.size() > kPromptChoicesMax) {
    return bad_request("n", fmt::format("{} prompts with {} choices each are {} answers, the limit is {}", facts.prompts.size(), facts.choices,
                                        facts.choices * facts.prompts.size(), kPromptChoicesMax));
  }
  facts.logprobs = logprobs >= 0;
  generation.request.echo_logprobs = facts.echo && facts.logprobs;
  std::vector<engine::Request> requests;
  AnswerPlan plan;
  SLUICE_REFUSE(complete_each(api, generation, facts.prompts, body.size(), requests, plan.price));
  Answer::run(api, exchange, std::move(requests), std::move(plan), std::make_unique<CompletionWriter>(api, std::move(facts)));
  return {};
}

}  // namespace

Handler completion_handler(const Api& api) { return action_handler(ErrorShape::kOpenAi, complete_text, std::cref(api)); }

}  // namespace sluice::server
