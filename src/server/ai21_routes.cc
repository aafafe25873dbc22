#include "server/ai21_routes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/limits.h"
#include "server/generation_fields.h"
#include "server/jurassic_writer.h"
#include "server/limits.h"
#include "server/openai_json.h"
#include "server/openai_routes.h"
#include "server/openai_schemas.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

// They say no more than the reader enforces; docs/server.md has the whole table.
constexpr std::string_view kCompleteSchema = R"({"type":"object","required":["prompt"],"properties":{
"prompt":{"type":"string","minLength":1},"numResults":{"type":"integer","minimum":1,"maximum":16},"maxTokens":{"type":"integer","minimum":0},
"minTokens":{"type":"integer","minimum":0},"temperature":{"type":"number","minimum":0,"maximum":2},"topP":{"type":"number","minimum":0,"maximum":1},
"topKReturn":{"type":"integer","minimum":0,"maximum":20},"stopSequences":{"type":"array","maxItems":4,"items":{"type":"string","minLength":1}},
"presencePenalty":{"type":"object","required":["scale"]},"countPenalty":{"type":"object","required":["scale"]},
"frequencyPenalty":{"type":"object","required":["scale"]},"logitBias":{"type":"object"}},"additionalProperties":false})";

constexpr std::string_view kCompleteAnswerSchema = R"({"type":"object","required":["id","prompt","completions"]})";

// {scale, applyToWhitespaces, applyToPunctuations, applyToNumbers, applyToStopwords, applyToEmojis}; the classes are on unless said otherwise.
void read_penalty(FieldReader& fields, std::string_view name, double scale_max, engine::Penalty& out) {
  const Json* given = fields.object(name);
  if (!given) return;
  FieldReader penalty(*given, fields.path_of(name));
  penalty.require("scale");
  penalty.number("scale", 0, scale_max, out.scale);
  penalty.boolean("applyToWhitespaces", out.whitespaces);
  penalty.boolean("applyToPunctuations", out.punctuations);
  penalty.boolean("applyToPunctuation", out.punctuations);  // as the SDK spells it
  penalty.boolean("applyToNumbers", out.numbers);
  penalty.boolean("applyToStopwords", out.stopwords);
  penalty.boolean("applyToEmojis", out.emojis);
  if (const Refused refused = penalty.finish()) fields.refuse(*refused);
}

// By a token's text, not its id.
void read_text_bias(FieldReader& fields, const Api& api, engine::SamplerOptions& out) {
  const Json* bias = fields.object("logitBias");
  if (!bias) return;
  if (bias->size() > limits::kLogitBiasMax) {
    return fields.refuse("logitBias", fmt::format("logitBias has {} entries, the limit is {}", bias->size(), limits::kLogitBiasMax));
  }
  for (const auto& [text, value] : bias->items()) {
    const Result<std::vector<int32_t>> ids = api.tokenizer().encode(text, {});
    if (!ids.ok() || ids->size() != 1) {
      const size_t count = ids.ok() ? ids->size() : 0;
      return fields.refuse("logitBias", fmt::format("logitBias: '{}' is {} tokens of this model, it must be one", text::shown(text), count));
    }
    if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100)) {
      return fields.refuse("logitBias", fmt::format("logitBias: the bias of '{}' must be a number from -100 to 100", text::shown(text)));
    }
    out.logit_bias.emplace_back(ids->front(), value.get<float>());
  }
}

Refused read_complete(const Api& api, const Json& body, Generation& out, JurassicFacts& facts) {
  FieldReader fields(body, "");
  engine::Request& request = out.request;
  engine::SamplerOptions& sampler = request.sampler;
  sampler.temperature = 0.7f;  // Jurassic's defaults
  sampler.top_p = 1;
  sampler.top_k = 0;
  sampler.min_p = 0;
  sampler.penalize_prompt = true;
  request.max_tokens = 16;
  out.max_tokens_given = true;
  fields.require("prompt");
  fields.text("prompt", limits::kBodyBytesMax, facts.prompt_text);
  read_choices(fields, api, "numResults", out);
  fields.integer("maxTokens", 0, static_cast<int64_t>(sluice::limits::kContextTokensMax), request.max_tokens);
  fields.integer("minTokens", 0, static_cast<int64_t>(api.context()), request.stop.min_tokens);
  fields.number("temperature", 0, 2, sampler.temperature);
  fields.number("topP", 0, 1, sampler.top_p);
  fields.integer("topKReturn", 0, limits::kTopLogprobsMax, facts.tops);
  fields.texts("stopSequences", limits::kStopStringsMax, limits::kStopStringBytesMax, request.stop.strings);
  read_penalty(fields, "presencePenalty", 5, sampler.presence);
  read_penalty(fields, "countPenalty", 1, sampler.frequency);
  read_penalty(fields, "frequencyPenalty", 500, sampler.share);
  read_text_bias(fields, api, sampler);
  return fields.finish();
}

Refused complete_jurassic(const Api& api, const std::shared_ptr<Exchange>& exchange) {
  const std::string& model = exchange->request().path_values.back();  // of a custom model: its own name
  SLUICE_REFUSE(api.check_model(model));
  const std::string body = exchange->take_body();
  Json json;
  SLUICE_REFUSE(parse_request_object(body, json));
  Generation generation = default_generation(api);
  JurassicFacts facts{.id = exchange->id()};
  SLUICE_REFUSE(read_complete(api, json, generation, facts));
  Result<std::vector<int32_t>> tokens = api.tokenizer().encode(facts.prompt_text, {.parse_special = false, .add_special = true});
  if (!tokens.ok()) return bad_request("prompt", tokens.error().message);
  if (tokens->empty()) return bad_request("prompt", "the prompt has no tokens");
  engine::Request& request = generation.request;
  facts.prompt = *tokens;
  facts.choices = request.choices;
  request.top_logprobs = static_cast<int32_t>(facts.tops);
  request.echo_logprobs = facts.tops > 0;  // they cost the reuse of states: only where they are looked at
  SLUICE_REFUSE(complete(api, std::move(*tokens), body.size(), "prompt", generation));
  AnswerPlan plan{.errors = ErrorShape::kAi21, .price = generation.price};
  Answer::run(api, exchange, std::move(generation.request), std::move(plan), make_jurassic_writer(api, std::move(facts)));
  return {};
}

}  // namespace

std::vector<Route> ai21_routes(const Api& api) {
  const Handler complete = action_handler(ErrorShape::kAi21, complete_jurassic, std::cref(api));
  return {
      {.method = "POST", .pattern = "/studio/v1/chat/completions", .handler = chat_handler(api, nullptr, ErrorShape::kAi21),
       .errors = ErrorShape::kAi21, .summary = "An answer to a conversation, at AI21's address", .request_schema = kChatSchema},
      {.method = "POST", .pattern = "/studio/v1/{model}/complete", .handler = complete, .errors = ErrorShape::kAi21,
       .summary = "Goes on with a text, in Jurassic's shape", .request_schema = kCompleteSchema, .response_schema = kCompleteAnswerSchema},
      {.method = "POST", .pattern = "/studio/v1/{model}/{custom}/complete", .handler = complete, .errors = ErrorShape::kAi21,
       .summary = "The same with a custom model", .request_schema = kCompleteSchema, .response_schema = kCompleteAnswerSchema},
  };
}

}  // namespace sluice::server
