// `sluice state replay`: traffic over the state store with a stub model, one JSON line a run, the bound beside what was reached.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "cli/model_loading.h"
#include "cli/output.h"
#include "cli/replay_texts.h"
#include "cli/verbs.h"
#include "engine/replay_generator.h"
#include "platform/file.h"

namespace sluice::cli {
namespace {

using nlohmann::ordered_json;

// Conversations with their text, in the tokens and the template of a model.
Result<engine::Trace> open_texts(const StateReplayOptions& o, TraceKind kind) {
  SLUICE_TRY(const text::Tokenizer tokenizer, open_tokenizer(o.tokenizer));
  std::string source;
  for (const auto& chat : tokenizer.spec().chat_templates) {
    if (chat.name == "default") source = chat.text;
  }
  if (!o.chat_template.empty()) {
    SLUICE_TRY(source, platform::read_whole_file(o.chat_template, limits::kTemplateBytesMax));
  }
  if (source.empty()) return Error{"this tokenizer comes without a chat template: name one with --template"};
  SLUICE_TRY(const text::ChatTemplate chat_template, text::ChatTemplate::parse(source));
  return read_texts(o.trace, kind, tokenizer, chat_template, {.lanes = o.lanes, .seed = o.seed});
}

Result<engine::Trace> open_trace(const StateReplayOptions& o) {
  constexpr std::string_view kGenerator = "generator";
  if (o.trace.starts_with(kGenerator)) {
    const std::string seed = o.trace.size() > kGenerator.size() ? o.trace.substr(kGenerator.size() + 1) : "1";
    if (seed.empty() || seed.size() > 9 || seed.find_first_not_of("0123456789") != std::string::npos) {
      return Error{fmt::format("'{}' is not generator or generator:SEED", o.trace)};
    }
    return engine::generate_trace(std::stoull(seed), o.requests);
  }
  SLUICE_TRY(const TraceKind kind, kind_of_trace(o.trace));
  if (kind == TraceKind::kTrees || kind == TraceKind::kAgents) return open_texts(o, kind);
  TraceOptions options;
  options.conversations = o.conversations;
  options.tokens_min = o.tokens_min;
  options.tokens_below = o.tokens_below;
  options.lanes = o.lanes;
  options.seed = o.seed;
  options.outputs_lost = o.outputs_lost;
  return read_trace(o.trace, options);
}

double percent(double part, double whole) { return whole > 0 ? static_cast<double>(static_cast<int64_t>(part / whole * 1e5 + 0.5)) / 1e3 : 0; }

void print_run(const engine::ReplayResult& r, bool with_time) {
  ordered_json out = {{"trace", r.trace}, {"policy", r.policy}, {"budget_bytes", r.budget_bytes}, {"requests", r.requests}, {"prompt_tokens", r.prompt_tokens},
                      {"token_hit_percent", percent(static_cast<double>(r.resumed_tokens), static_cast<double>(r.prompt_tokens))},
                      {"saved_percent", percent(r.cost_saved, r.cost_all)}, {"bound_percent", percent(r.cost_bound, r.cost_all)},
                      {"of_bound_percent", percent(r.cost_saved, r.cost_bound)},
                      {"recomputed", {{"new", r.new_tokens}, {"distance", r.distance_tokens}, {"lost", r.lost_tokens}, {"p50", r.recomputed_p50},
                                      {"p95", r.recomputed_p95}, {"p99", r.recomputed_p99}}},
                      {"checkpoints", {{"made", r.store.made}, {"refused", r.store.refused}, {"evicted", r.store.evicted},
                                       {"held_max", r.store.held_max}, {"hit", r.store.hits}}},
                      {"bytes", {{"states", r.store.state_bytes}, {"kv", r.store.page_bytes}, {"tree", r.store.tree_bytes}, {"max", r.store.bytes_max}}},
                      {"wrong_states", r.wrong_states}};
  if (with_time) {
    out["store_us_per_request"] = static_cast<double>(r.store_ns) / 1e3 / static_cast<double>(r.requests);
    out["store_limit_us_per_request"] = 20.0 + 0.05 * static_cast<double>(r.prompt_tokens) / static_cast<double>(r.requests);
  }
  fmt::print("{}\n", out.dump());
  std::fflush(stdout);
}

}  // namespace

int state_replay(const StateReplayOptions& o) {
  const Result<engine::Trace> trace = open_trace(o);
  if (!trace.ok()) return fail(trace.error());
  if (trace->requests.empty()) return fail(Error{fmt::format("{} has no request of these lengths", o.trace)});
  std::vector<engine::ReplayCase> cases;
  for (const std::string& budget : o.budgets) {
    const Result<uint64_t> bytes = parse_bytes(budget);
    if (!bytes.ok()) return fail(bytes.error());
    for (const std::string& policy : o.policies) cases.push_back({*bytes, policy});
  }
  const engine::History history = engine::study(*trace);
  const Result<std::vector<engine::ReplayResult>> results = engine::replay(*trace, history, engine::ReplayShape(), cases);
  if (!results.ok()) return fail(results.error());
  for (const engine::ReplayResult& result : *results) print_run(result, o.time);
  return 0;
}

}  // namespace sluice::cli
