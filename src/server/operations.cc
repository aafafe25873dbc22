#include "server/operations.h"

#include <algorithm>
#include <array>
#include <string>

namespace sluice::server {
namespace {

// Seconds. The first covers answers from memory to answers of minutes, the second one token of a stream.
constexpr std::array<double, 18> kRequestBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500};
constexpr std::array<double, 13> kTokenBounds = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 5};
constexpr std::array<double, 12> kLengthBounds = {1, 8, 32, 128, 256, 512, 1024, 2048, 4096, 8192, 32768, 131072};
constexpr std::array<std::string_view, 7> kMethods = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};

// A label must not be a client's text.
std::string_view method_label(std::string_view method) { return std::find(kMethods.begin(), kMethods.end(), method) == kMethods.end() ? "other" : method; }
std::string_view route_label(std::string_view route) { return route.empty() ? "unmatched" : route; }

double seconds(uint64_t us) { return static_cast<double>(us) / 1e6; }

bool computed(const Usage& usage) { return usage.prompt_tokens != 0 || usage.completion_tokens != 0; }

}  // namespace

Fields access_fields(const RequestRecord& r) {
  Fields fields;
  fields.add("request_id", r.id).add("trace_id", r.trace_id).add("method", method_label(r.method)).add("route", route_label(r.route)).add("status", r.status);
  if (!r.error_code.empty()) fields.add("error", r.error_code);
  fields.add("peer", r.peer).add("key", r.key_id);
  if (!r.model.empty()) fields.add("model", r.model);
  fields.add("bytes_in", r.bytes_in).add("bytes_out", r.bytes_out).add("duration_ms", seconds(r.duration_us) * 1e3).add("stream", r.stream);
  const Usage& u = r.usage;
  if (!computed(u)) return fields;
  fields.add("prompt_tokens", u.prompt_tokens).add("cached_tokens", u.cached_tokens).add("completion_tokens", u.completion_tokens);
  fields.add("queue_ms", seconds(u.queue_us) * 1e3).add("prompt_ms", seconds(u.prompt_us) * 1e3).add("completion_ms", seconds(u.completion_us) * 1e3);
  if (u.first_token_us != 0) fields.add("first_token_ms", seconds(u.first_token_us) * 1e3);
  if (u.failed) fields.add("failed", true);
  if (u.cancelled) fields.add("cancelled", true);
  return fields;
}

Operations::Operations(Log* access) : access_(access) {
  add_process_metrics(metrics_);
  metrics_.gauge("http_requests_in_flight", "Requests whose answer has not been written yet.", {}, [this] { return static_cast<double>(in_flight_.load()); });
  metrics_.gauge("http_connections", "Open connections.", {}, [this] { return static_cast<double>(connections_.load()); });
}

void Operations::request_started() { in_flight_.fetch_add(1, std::memory_order_relaxed); }

void Operations::connection_opened() { connections_.fetch_add(1, std::memory_order_relaxed); }

void Operations::connection_closed() { connections_.fetch_sub(1, std::memory_order_relaxed); }

void Operations::connection_refused(std::string_view reason) {
  metrics_.counter("http_connections_refused_total", "Connections closed at once, by reason.", {{"reason", reason}}).add(1);
}

void Operations::request_finished(const RequestRecord& record) {
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
  const std::string status = std::to_string(record.status);
  const std::string_view route = route_label(record.route);
  metrics_.counter("http_requests_total", "Requests answered.", {{"method", method_label(record.method)}, {"route", route}, {"status", status}}).add(1);
  metrics_.histogram("http_request_duration_seconds", "From the first byte of the request to the last of the answer.", kRequestBounds, {{"route", route}})
      .observe(seconds(record.duration_us));
  metrics_.counter("http_request_bytes_total", "Bytes received.", {}).add(record.bytes_in);
  metrics_.counter("http_response_bytes_total", "Bytes sent.", {}).add(record.bytes_out);
  if (computed(record.usage)) count_tokens(record);
  if (access_ != nullptr) access_->write(LogLevel::kInfo, "request", access_fields(record));
}

void Operations::count_tokens(const RequestRecord& record) {
  const Usage& u = record.usage;
  metrics_.counter("sluice_prompt_tokens_total", "Tokens of prompts.", {}).add(u.prompt_tokens);
  metrics_.counter("sluice_prompt_tokens_cached_total", "Of those, not computed because a kept state had them.", {}).add(u.cached_tokens);
  metrics_.counter("sluice_generation_tokens_total", "Tokens generated.", {}).add(u.completion_tokens);
  metrics_.counter("sluice_reasoning_tokens_total", "Of those, thinking.", {}).add(u.reasoning_tokens);
  metrics_.counter("sluice_requests_total", "Requests computed, by how they ended.",
                   {{"outcome", u.failed ? "failed" : u.cancelled ? "cancelled" : "done"}}).add(1);
  const auto observe = [&](std::string_view name, std::string_view help, std::span<const double> bounds, double value) {
    metrics_.histogram(name, help, bounds, {}).observe(value);
  };
  observe("sluice_request_queue_time_seconds", "Waiting before the first step.", kRequestBounds, seconds(u.queue_us));
  observe("sluice_request_prefill_time_seconds", "Reading the prompt.", kRequestBounds, seconds(u.prompt_us));
  observe("sluice_request_decode_time_seconds", "Generating.", kRequestBounds, seconds(u.completion_us));
  observe("sluice_e2e_request_latency_seconds", "The whole request.", kRequestBounds, seconds(record.duration_us));
  observe("sluice_request_prompt_tokens", "Tokens of a prompt.", kLengthBounds, static_cast<double>(u.prompt_tokens));
  observe("sluice_request_generation_tokens", "Tokens of an answer.", kLengthBounds, static_cast<double>(u.completion_tokens));
  if (u.first_token_us != 0) observe("sluice_time_to_first_token_seconds", "From the request to its first token.", kRequestBounds, seconds(u.first_token_us));
  if (u.completion_tokens > 1) {
    observe("sluice_time_per_output_token_seconds", "Mean of a request.", kTokenBounds, seconds(u.completion_us) / static_cast<double>(u.completion_tokens));
  }
}

void Operations::watch_engine(std::function<engine::EngineStatistics()> read) {
  const auto gauge = [&](std::string_view name, std::string_view help, double (*of)(const engine::EngineStatistics&)) {
    metrics_.gauge(name, help, {}, [read, of] { return of(read()); });
  };
  const auto counter = [&](std::string_view name, std::string_view help, uint64_t (*of)(const engine::EngineStatistics&)) {
    metrics_.counter_of(name, help, {}, [read, of] { return static_cast<double>(of(read())); });
  };
  using S = engine::EngineStatistics;
  gauge("sluice_num_requests_waiting", "Requests in the engine's queue.", [](const S& s) { return static_cast<double>(s.queued_requests); });
  gauge("sluice_num_tokens_waiting", "Their tokens.", [](const S& s) { return static_cast<double>(s.queued_tokens); });
  gauge("sluice_num_sequences_running", "Conversations in the step.", [](const S& s) { return static_cast<double>(s.running_sequences); });
  gauge("sluice_prefill_tokens_per_second", "Running mean.", [](const S& s) { return s.prefill_tokens_per_s; });
  gauge("sluice_decode_step_seconds", "Running mean.", [](const S& s) { return s.decode_step_ms / 1e3; });
  counter("sluice_engine_steps_total", "Steps of the engine.", [](const S& s) { return s.steps; });
  counter("sluice_prefix_cache_queries_total", "Prompts looked up in the state store.", [](const S& s) { return s.store.lookups; });
  counter("sluice_prefix_cache_hits_total", "Of those, resumed from a state.", [](const S& s) { return s.store.hits; });
  counter("sluice_prefix_cache_evictions_total", "States dropped for room.", [](const S& s) { return s.store.evicted; });
  gauge("sluice_prefix_cache_states", "States held.", [](const S& s) { return static_cast<double>(s.store.held); });
  gauge("sluice_prefix_cache_bytes", "Bytes of states, pages and tree.",
        [](const S& s) { return static_cast<double>(s.store.state_bytes + s.store.page_bytes + s.store.tree_bytes); });
  gauge("sluice_disk_bytes", "Bytes of states in the state folder.", [](const S& s) { return static_cast<double>(s.disk_bytes); });
  counter("sluice_disk_loaded_total", "States read back from it.", [](const S& s) { return s.disk_loaded; });
  counter("sluice_disk_failures_total", "Reads and writes there that failed; the requests went on.", [](const S& s) { return s.disk_failures; });
}

void Operations::watch_gate(const KeyGate& gate) {
  const auto gauge = [&](std::string_view name, std::string_view help, double (*of)(const GateStatistics&)) {
    metrics_.gauge(name, help, {}, [&gate, of] { return of(gate.statistics()); });
  };
  gauge("sluice_admitted_requests", "Let in and not finished.", [](const GateStatistics& s) { return static_cast<double>(s.requests); });
  gauge("sluice_admitted_tokens", "Their price.", [](const GateStatistics& s) { return static_cast<double>(s.tokens); });
  gauge("sluice_admitted_bytes", "Their bodies.", [](const GateStatistics& s) { return static_cast<double>(s.bytes); });
  gauge("sluice_keys_valid", "Keys that may be used.", [](const GateStatistics& s) { return static_cast<double>(s.keys_valid); });
  gauge("sluice_key_database_ok", "0 while the key database cannot be read.", [](const GateStatistics& s) { return s.trouble.empty() ? 1.0 : 0.0; });
  for (size_t reason = 0; reason < kRefusalReasons.size(); ++reason) {
    metrics_.counter_of("sluice_requests_refused_total", "Requests turned away before any work, by reason.", {{"reason", kRefusalReasons[reason]}},
                        [&gate, reason] { return static_cast<double>(gate.statistics().refused[reason]); });
  }
}

void Operations::watch_log(const Log& log) {
  metrics_.counter_of("sluice_log_lines_dropped_total", "Lines that a slow log could not take.", {}, [&log] { return static_cast<double>(log.dropped()); });
}

void Operations::watch_memory(uint64_t planned_bytes) {
  metrics_.gauge("sluice_memory_planned_bytes", "What the plan allows.", {}, [planned_bytes] { return static_cast<double>(planned_bytes); });
}

}  // namespace sluice::server
