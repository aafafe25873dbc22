// Pieces of JSON that OpenAI's answers share. Written as text: an event costs a few appends, no document.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "server/answer.h"
#include "server/api.h"
#include "server/json_fields.h"

namespace sluice::server {

// {"prompt_tokens": ..., Groq's times in seconds, details}
void append_usage(std::string& out, const AnswerTotals& totals);
// {"token", "logprob", "bytes", "top_logprobs"}: the model's own distribution
void append_token_logprob(std::string& out, const Api& api, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top);
// A number that JSON can hold; minus infinity is -9999, as OpenAI writes it.
void append_number(std::string& out, double value);
// "data: ...\n\n"
void append_event(std::string& out, std::string_view data);
// "chatcmpl-" + the request's own digits
std::string answer_id(std::string_view prefix, const Exchange& exchange);

}  // namespace sluice::server
