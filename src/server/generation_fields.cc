#include "server/generation_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>

#include "base/limits.h"
#include "server/limits.h"
#include "text/utf8.h"

namespace sluice::server {
namespace {

constexpr int64_t kMaxTokensMax = static_cast<int64_t>(sluice::limits::kContextTokensMax);

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

void read_logit_bias(FieldReader& fields, const Api& api, Generation& out) {
  const Json* bias = fields.object("logit_bias");
  if (!bias) return;
  if (bias->size() > limits::kLogitBiasMax) {
    return fields.refuse("logit_bias", fmt::format("logit_bias has {} entries, the limit is {}", bias->size(), limits::kLogitBiasMax));
  }
  const auto vocabulary = static_cast<int64_t>(api.tokenizer().vocabulary_size());
  for (const auto& [key, value] : bias->items()) {
    int64_t id = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || id < 0 || id >= vocabulary) {
      return fields.refuse("logit_bias", fmt::format("logit_bias: '{}' is not a token id from 0 to {}", text::shown(key), vocabulary - 1));
    }
    if (!value.is_number() || !(value.get<double>() >= -100 && value.get<double>() <= 100)) {
      return fields.refuse("logit_bias", fmt::format("logit_bias: the bias of {} must be a number from -100 to 100", id));
    }
    out.request.sampler.logit_bias.emplace_back(static_cast<int32_t>(id), value.get<float>());
  }
}

void read_dry(FieldReader& fields, const Api& api, engine::SamplerOptions& sampler) {
  fields.number("dry_multiplier", 0, 100, sampler.dry.multiplier);
  fields.number("dry_base", 1, 10, sampler.dry.base);
  fields.integer("dry_allowed_length", 1, 1 << 20, sampler.dry.allowed_length);
  int64_t window = -1;
  fields.integer("dry_penalty_last_n", -1, kMaxTokensMax, window);
  sampler.dry.window = window > 0 ? static_cast<uint32_t>(window) : 0;
  if (window == 0) sampler.dry.multiplier = 0;
  std::vector<std::string> breakers{"\n", ":", "\"", "*"};
  fields.texts("dry_sequence_breakers", 16, 64, breakers);
  if (sampler.dry.multiplier <= 0) return;
  for (const std::string& breaker : breakers) {
    const auto ids = api.tokenizer().encode(breaker, {});
    if (ids.ok()) sampler.dry.breakers.insert(sampler.dry.breakers.end(), ids->begin(), ids->end());
  }
}

}  // namespace

Generation default_generation(const Api& api) {
  Generation out;
  out.request.sampler = api.facts().sampler;
  return out;
}

void read_sampler(FieldReader& fields, const Api& api, Generation& out) {
  engine::SamplerOptions& sampler = out.request.sampler;
  fields.number("temperature", 0, 2, sampler.temperature);
  fields.number("top_p", 0, 1, sampler.top_p);
  int64_t top_k = sampler.top_k;
  if (fields.integer("top_k", -1, kMaxTokensMax, top_k)) sampler.top_k = top_k < 0 ? 0 : static_cast<uint32_t>(top_k);
  fields.number("min_p", 0, 1, sampler.min_p);
  fields.number("typical_p", 0, 1, sampler.typical_p);
  fields.number("presence_penalty", -2, 2, sampler.presence.scale);
  fields.number("frequency_penalty", -2, 2, sampler.frequency.scale);
  fields.number("repetition_penalty", 0.01, 100, sampler.repetition_penalty);
  int64_t seed = 0;
  out.seed_given = fields.integer("seed", INT64_MIN, INT64_MAX, seed);
  sampler.seed = static_cast<uint64_t>(seed);
  read_dry(fields, api, sampler);
  read_logit_bias(fields, api, out);
}

void read_stops(FieldReader& fields, const Api& api, Generation& out) {
  engine::StopRules& stop = out.request.stop;
  fields.texts("stop", limits::kStopStringsMax, limits::kStopStringBytesMax, stop.strings);
  fields.integers("stop_token_ids", limits::kStopIdsMax, 0, static_cast<int64_t>(api.tokenizer().vocabulary_size()) - 1, stop.ids);
  fields.boolean("ignore_eos", stop.ignore_end);
  fields.integer("min_tokens", 0, static_cast<int64_t>(api.context()), stop.min_tokens);
}

void read_choices(FieldReader& fields, const Api& api, std::string_view name, Generation& out) {
  const int64_t most = std::min<int64_t>(limits::kChoicesMax, api.backend().options().sequences_max);
  fields.integer(name, 1, most, out.request.choices);
}

void read_service(FieldReader& fields, Generation& out) {
  size_t tier = 0;
  if (fields.word("service_tier", {"auto", "on_demand", "flex", "performance", "default", "priority"}, tier)) {
    constexpr engine::Tier kTiers[] = {engine::Tier::kOnDemand, engine::Tier::kOnDemand, engine::Tier::kFlex,
                                       engine::Tier::kPerformance, engine::Tier::kOnDemand, engine::Tier::kPerformance};
    out.price.tier = kTiers[tier];
    out.price.tier_auto = tier == 0;
  }
  fields.integer("queue_timeout_ms", 1, static_cast<int64_t>(limits::kDeadlineMsMax), out.request.queue_deadline_ms);
  fields.integer("first_token_timeout_ms", 1, static_cast<int64_t>(limits::kDeadlineMsMax), out.request.first_token_deadline_ms);
  fields.integer("timeout_ms", 1, static_cast<int64_t>(limits::kDeadlineMsMax), out.request.total_deadline_ms);
  fields.boolean("cache_prompt", out.request.use_store);
}

namespace {

// One thing that may be asked for under several names.
class ConstraintReader {
 public:
  ConstraintReader(FieldReader& fields, Generation& out) : fields_(fields), out_(out) {}

  void set(const std::string& field, text::ConstraintSpec spec) {
    if (out_.constraint) {
      return fields_.refuse(field, fmt::format("{} and {} both constrain the output: only one may", out_.constraint_field, field));
    }
    out_.constraint = std::move(spec);
    out_.constraint_field = field;
  }
  bool given() const { return out_.constraint.has_value(); }
  void schema(const std::string& field, const Json& value) {
    // vLLM's guided_json may hold the schema as text.
    set(field, {.kind = text::ConstraintKind::kJsonSchema, .text = value.is_string() ? value.get<std::string>() : dumped(value),
        .space = text::JsonSpace::kSpaced});
  }
  void pattern(FieldReader& from, std::string_view name, text::ConstraintKind kind) {
    text::ConstraintSpec spec{.kind = kind};
    if (from.text(name, sluice::limits::kConstraintSourceBytesMax, spec.text)) set(from.path_of(name), std::move(spec));
  }
  void choice(FieldReader& from, std::string_view name) {
    text::ConstraintSpec spec{.kind = text::ConstraintKind::kChoice};
    if (from.texts(name, 10'000, 65'536, spec.choices)) set(from.path_of(name), std::move(spec));
  }
  void any_schema(FieldReader& from, std::string_view name) {
    if (const Json* value = from.any(name)) schema(from.path_of(name), *value);
  }

 private:
  FieldReader& fields_;
  Generation& out_;
};

void read_response_format(FieldReader& fields, ConstraintReader& constraint) {
  const Json* given = fields.object("response_format");
  if (!given) return;
  FieldReader format(*given, fields.path_of("response_format"));
  size_t type = 0;
  format.require("type");
  format.word("type", {"text", "json_object", "json_schema", "regex", "grammar", "structural_tag"}, type);
  if (type == 1) {
    // llama.cpp takes a schema here.
    const Json* schema = format.any("schema");
    if (schema) {
      constraint.schema(format.path_of("schema"), *schema);
    } else {
      constraint.set(format.path_of("type"), {.kind = text::ConstraintKind::kJsonObject, .space = text::JsonSpace::kSpaced});
    }
  } else if (type == 2) {
    format.require("json_schema");
    if (const Json* inner = format.object("json_schema")) {
      FieldReader schema(*inner, format.path_of("json_schema"));
      std::string name, description;
      bool strict = false;
      schema.text("name", 64, name);
      schema.text("description", limits::kBodyBytesMax, description);
      schema.boolean("strict", strict);
      schema.require("schema");
      constraint.any_schema(schema, "schema");
      if (const Refused refused = schema.finish()) format.refuse(*refused);
    }
  } else if (type == 3) {
    format.require("pattern");
    constraint.pattern(format, "pattern", text::ConstraintKind::kRegex);
  } else if (type == 4) {
    format.require("grammar");
    constraint.pattern(format, "grammar", text::ConstraintKind::kGrammar);
  } else if (type == 5) {
    Json tags = *given;
    tags.erase("type");
    format.ignore({"structures", "triggers", "at_least_one", "stop_after_first"});  // read by text/constraint_tags.h
    constraint.set(format.path_of("type"), {.kind = text::ConstraintKind::kStructuralTags, .text = dumped(tags)});
  }
  if (const Refused refused = format.finish()) fields.refuse(*refused);
}

void read_structured_outputs(FieldReader& fields, ConstraintReader& constraint) {
  const Json* given = fields.object("structured_outputs");
  if (!given) return;
  FieldReader outputs(*given, fields.path_of("structured_outputs"));
  bool json_object = false;
  constraint.any_schema(outputs, "json");
  constraint.pattern(outputs, "regex", text::ConstraintKind::kRegex);
  constraint.choice(outputs, "choice");
  constraint.pattern(outputs, "grammar", text::ConstraintKind::kGrammar);
  constraint.pattern(outputs, "structural_tag", text::ConstraintKind::kStructuralTags);
  if (outputs.boolean("json_object", json_object) && json_object) {
    constraint.set(outputs.path_of("json_object"), {.kind = text::ConstraintKind::kJsonObject, .space = text::JsonSpace::kSpaced});
  }
  if (const Refused refused = outputs.finish()) return fields.refuse(*refused);
  if (!constraint.given()) {
    fields.refuse("structured_outputs", "structured_outputs asks for nothing: it needs json, regex, choice, grammar, structural_tag or json_object");
  }
}

}  // namespace

void set_schema(FieldReader& fields, const std::string& field, const Json& schema, Generation& out) { ConstraintReader(fields, out).schema(field, schema); }

void read_constraint(FieldReader& fields, Generation& out) {
  ConstraintReader constraint(fields, out);
  read_response_format(fields, constraint);
  read_structured_outputs(fields, constraint);
  constraint.any_schema(fields, "guided_json");
  constraint.pattern(fields, "guided_regex", text::ConstraintKind::kRegex);
  constraint.choice(fields, "guided_choice");
  constraint.pattern(fields, "guided_grammar", text::ConstraintKind::kGrammar);
  constraint.pattern(fields, "grammar", text::ConstraintKind::kGrammar);
  constraint.any_schema(fields, "json_schema");
}

namespace {

// A seed for requests that give none; told in the answer, so that it can be repeated.
uint64_t fresh_seed() {
  static std::atomic<uint64_t> counter{std::chrono::steady_clock::now().time_since_epoch().count() * 0x9E3779B97F4A7C15ull};
  uint64_t z = counter.fetch_add(0x9E3779B97F4A7C15ull, std::memory_order_relaxed);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return (z ^ (z >> 31)) >> 12;  // fits in a double: JSON readers keep it exact
}

// Where a constraint and the answer that was begun for the model part ways.
ApiError begun_refusal(const Generation& generation, text::ConstraintState state) {
  const std::string_view begun = generation.begun;
  size_t at = 0;
  while (at < begun.size() && state.accept_text(begun.substr(at, 1))) ++at;
  const size_t before = at > 20 ? at - 20 : 0;
  return bad_request("messages",
      fmt::format("messages: {} does not allow an answer that begins as the last message does: after '{}', byte {} of it, '{}' cannot come",
      generation.constraint_field, text::shown(begun.substr(before, at - before)), at, text::shown(begun.substr(at, 20))), "invalid_prefill");
}

Refused set_constraint(const Api& api, Generation& out) {
  text::ConstraintSpec& spec = *out.constraint;
  Result<std::shared_ptr<const text::Constraint>> compiled = api.constraints().get(spec);
  if (!compiled.ok()) return bad_request(out.constraint_field, compiled.error().message, "invalid_constraint");
  out.request.constraint = std::move(*compiled);
  if (out.begun.empty()) return {};
  text::ConstraintState state(out.request.constraint);
  bool accepted = state.accept_text(out.begun);
  const bool json = spec.kind == text::ConstraintKind::kJsonSchema || spec.kind == text::ConstraintKind::kJsonObject;
  if (!accepted && json) {  // JSON that somebody else begins has white space as they like it
    spec.space = text::JsonSpace::kFlexible;
    compiled = api.constraints().get(spec);
    if (!compiled.ok()) return bad_request(out.constraint_field, compiled.error().message, "invalid_constraint");
    out.request.constraint = std::move(*compiled);
    state = text::ConstraintState(out.request.constraint);
    accepted = state.accept_text(out.begun);
  }
  if (!accepted) return begun_refusal(out, text::ConstraintState(out.request.constraint));
  out.request.constraint_begun = std::make_shared<const text::ConstraintState>(std::move(state));
  return {};
}

}  // namespace

Refused complete(const Api& api, std::vector<int32_t> prompt, uint64_t body_bytes, std::string_view prompt_field, Generation& out) {
  engine::Request& request = out.request;
  const uint64_t context = api.context();
  if (prompt.size() >= context) {
    return bad_request(std::string(prompt_field), fmt::format("the prompt has {} tokens; this model's context holds {}, the answer's among them",
        prompt.size(), context),
                       "context_length_exceeded");
  }
  const uint64_t left = context - prompt.size();
  if (!out.max_tokens_given) request.max_tokens = api.facts().max_tokens_default > 0 ? api.facts().max_tokens_default : left;
  request.max_tokens = std::min(request.max_tokens, left);
  if (request.stop.min_tokens > request.max_tokens) {
    return bad_request("min_tokens", fmt::format("min_tokens is {}, more than the {} tokens that the answer may have", request.stop.min_tokens,
        request.max_tokens));
  }
  if (!out.seed_given) request.sampler.seed = fresh_seed();
  if (out.constraint) SLUICE_REFUSE(set_constraint(api, out));
  out.price.prompt_tokens = prompt.size();
  out.price.completion_tokens_max = request.max_tokens * request.choices;
  out.price.bytes = body_bytes;
  request.tier = out.price.tier;
  request.prompt = std::move(prompt);
  return {};
}

std::string_view finish_reason_name(engine::FinishReason reason, bool calls) {
  switch (reason) {
    case engine::FinishReason::kStop: return calls ? "tool_calls" : "stop";
    case engine::FinishReason::kLength:
    case engine::FinishReason::kDeadline: return "length";
    default: return "error";
  }
}

std::string_view tier_name(engine::Tier tier) {
  constexpr std::string_view kNames[] = {"performance", "on_demand", "flex", "batch"};
  return kNames[static_cast<size_t>(tier)];
}

}  // namespace sluice::server
