#include "server/openai_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace sluice::server {
namespace {

double seconds(uint64_t us) { return static_cast<double>(us) / 1e6; }

void append_token(std::string& out, const Api& api, const engine::TokenLogprob& logprob) {
  const std::string_view bytes = api.token_bytes(logprob.id);
  std::string valid;
  text::append_valid_utf8(valid, bytes);
  out += "{\"token\":";
  append_json_string(out, valid);
  out += ",\"logprob\":";
  append_number(out, logprob.raw_logprob);
  out += ",\"bytes\":[";
  for (size_t i = 0; i < bytes.size(); ++i) fmt::format_to(std::back_inserter(out), "{}{}", i > 0 ? "," : "", static_cast<uint8_t>(bytes[i]));
  out += ']';
}

}  // namespace

void append_number(std::string& out, double value) {
  if (!std::isfinite(value) || value < -9999) value = -9999;
  fmt::format_to(std::back_inserter(out), "{}", value);
}

void append_usage(std::string& out, const AnswerTotals& totals) {
  const Usage& u = totals.usage;
  fmt::format_to(std::back_inserter(out),
                 "{{\"prompt_tokens\":{},\"completion_tokens\":{},\"total_tokens\":{},\"prompt_tokens_details\":{{\"cached_tokens\":{}}},"
                 "\"completion_tokens_details\":{{\"reasoning_tokens\":{},\"accepted_prediction_tokens\":{},\"rejected_prediction_tokens\":{}}},"
                 "\"queue_time\":{},\"prompt_time\":{},\"completion_time\":{},\"total_time\":{}}}",
                 u.prompt_tokens, u.completion_tokens, u.prompt_tokens + u.completion_tokens, u.cached_tokens, u.reasoning_tokens, totals.accepted_tokens,
                 totals.drafted_tokens - totals.accepted_tokens, seconds(u.queue_us), seconds(u.prompt_us), seconds(u.completion_us),
                 seconds(u.prompt_us + u.completion_us));
}

void append_token_logprob(std::string& out, const Api& api, const engine::TokenLogprob& logprob, std::span<const engine::TokenLogprob> top) {
  append_token(out, api, logprob);
  out += ",\"top_logprobs\":[";
  for (size_t i = 0; i < top.size(); ++i) {
    if (i > 0) out += ',';
    append_token(out, api, top[i]);
    out += '}';
  }
  out += "]}";
}

size_t count_characters(std::string_view bytes) {
  return static_cast<size_t>(std::count_if(bytes.begin(), bytes.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

void append_event(std::string& out, std::string_view data) {
  out += "data: ";
  out += data;
  out += "\n\n";
}

std::string call_id(const text::ToolFormat* format, std::string_view answer_id, std::string_view tool, uint32_t choice, uint32_t call) {
  const uint64_t random = std::hash<std::string_view>{}(answer_id) + choice * 0x9E3779B97F4A7C15ull;
  return format ? text::tool_call_id(*format, tool, call, random) : fmt::format("call_{:016x}{}", random, call);
}

std::string answer_id(std::string_view prefix, const Exchange& exchange) {
  const std::string& id = exchange.id();  // "req_..."
  return std::string(prefix) + id.substr(std::min<size_t>(4, id.size()));
}

}  // namespace sluice::server
