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
// How many characters begin in these bytes of a text.
size_t count_characters(std::string_view bytes);
// "data: ...\n\n"
void append_event(std::string& out, std::string_view data);
// What a call of this answer is called: in the format's own way, or "call_...".
std::string call_id(const text::ToolFormat* format, std::string_view answer_id, std::string_view tool, uint32_t choice, uint32_t call);
// "chatcmpl-" + the request's own digits
std::string answer_id(std::string_view prefix, const Exchange& exchange);

}  // namespace sluice::server
