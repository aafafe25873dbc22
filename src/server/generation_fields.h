// The fields that all protocols share: sampling, lengths, stops, logprobs, constraints, tiers. Each is range-checked here against limits.h; what is not
// supported is refused by name. Contract: read_* only reads; complete() turns it into the engine's request once the prompt is known.
// Next: json_fields.h, chat_fields.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/answer.h"
#include "server/api.h"
#include "server/json_fields.h"

namespace sluice::server {

struct Generation {
  engine::Request request;             // sampler, stops, choices, top_logprobs, deadlines
  bool max_tokens_given = false;
  bool seed_given = false;
  std::optional<text::ConstraintSpec> constraint;
  std::string constraint_field;        // which field asked for it
  std::string begun;                   // of the answer, at the prompt's end: what is generated obeys the constraint together with it
  bool keep_thinking = true;           // a constraint begins behind the model's thoughts
  Price price;
};

Generation default_generation(const Api& api);

// temperature, top_p, top_k, min_p, typical_p, seed, penalties, DRY, logit_bias
void read_sampler(FieldReader& fields, const Api& api, Generation& out);
// stop, stop_token_ids, ignore_eos, min_tokens
void read_stops(FieldReader& fields, const Api& api, Generation& out);
// n; `name`: "n" or "numResults"
void read_choices(FieldReader& fields, const Api& api, std::string_view name, Generation& out);
// service_tier, timeouts, cache switches
void read_service(FieldReader& fields, Generation& out);
// response_format, structured_outputs, guided_json / regex / choice / grammar, grammar, json_schema; at most one of them.
void read_constraint(FieldReader& fields, Generation& out);

// A schema under a name of its own protocol.
void set_schema(FieldReader& fields, const std::string& field, const Json& schema, Generation& out);

// Compiles the constraint, bounds max_tokens by the context and prices the request. `prompt_field`: what a prompt that is too long is blamed on.
Refused complete(const Api& api, std::vector<int32_t> prompt, uint64_t body_bytes, std::string_view prompt_field, Generation& out);

// As OpenAI's clients know them.
std::string_view finish_reason_name(engine::FinishReason reason, bool calls);
std::string_view tier_name(engine::Tier tier);

}  // namespace sluice::server
