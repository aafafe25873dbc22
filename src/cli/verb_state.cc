// `sluice state replay`: traffic over the state store with a stub model, one JSON line a run, the bound beside what was reached.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "cli/replay_traces.h"
#include "cli/verbs.h"
#include "engine/replay_generator.h"

namespace sluice::cli {
namespace {

using nlohmann::ordered_json;

Result<engine::Trace> open_trace(const StateReplayOptions& o) {
  constexpr std::string_view kGenerator = "generator";
  if (o.trace.starts_with(kGenerator)) {
    const std::string seed = o.trace.size() > kGenerator.size() ? o.trace.substr(kGenerator.size() + 1) : "1";
    if (seed.empty() || seed.size() > 9 || seed.find_first_not_of("0123456789") != std::string::npos) {
      return Error{fmt::format("'{}' is not generator or generator:SEED", o.trace)};
    }
    return engine::generate_trace(std::stoull(seed), o.requests);
  }
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
