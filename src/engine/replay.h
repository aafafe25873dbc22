// Replaying traffic over the real store with a stub in place of the model: the state is a hash of the tokens, so every hit also checks that it is the
// right one. bound() is what no policy can exceed. Same trace, policy and budget: same bytes of output (times aside).
// Next: replay_player.h, replay_generator.h, cli/replay_traces.h (traffic), eviction.h (policies), docs/state.md (results).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/state_store.h"

namespace sluice::engine {

// `blocks` blocks of `block_tokens` tokens from number `block` on; token j of block h of a scope is a hash of the three. The last one may be cut.
struct Piece {
  uint64_t scope = 0;
  uint64_t block = 0;
  uint64_t block_tokens = 0;
  uint64_t tokens = 0;  // in all
};

struct TraceRequest {
  std::vector<Piece> pieces;  // prompt, then answer
  std::vector<int32_t> text;  // or their tokens, where the trace has a text
  uint64_t prompt = 0;        // tokens
  uint64_t system_end = 0;    // 0: unknown
  uint64_t last_message = 0;  // where the prompt's last message starts; 0: unknown
  uint64_t time_ms = 0;

  uint64_t size() const;  // tokens of prompt and answer
};

struct Trace {
  std::string name;
  std::vector<TraceRequest> requests;
};

// The tokens of a request's prompt and answer.
void write_tokens(const TraceRequest& request, std::vector<int32_t>& out);

struct ReplayShape {
  uint64_t state_bytes = 10'117'120;  // Jamba Reasoning 3B, F16 KV
  uint64_t page_bytes = 65'536;
  CostModel cost{5.72e9, 10'240.0};   // operations a token; 2 attention layers x width 2560, causal
};

// For every request: how deep its prompt agrees with earlier traffic and how long ago (in requests) that depth was last passed.
struct Past {
  uint64_t position = 0;
  uint64_t request = 0;
};
struct History {
  std::vector<std::vector<Past>> past;  // rising positions, falling requests
};
History study(const Trace& trace);

// An upper bound on the operations that any policy saves: for any price l of memory x time, sum over requests of max(0, max over depths of C - l R),
// plus l x budget x requests; the least over l (after Berger et al., SIGMETRICS 2018).
double bound(const Trace& trace, const History& history, const ReplayShape& shape, uint64_t budget_bytes);

struct ReplayResult {
  std::string trace, policy;
  uint64_t budget_bytes = 0, requests = 0, prompt_tokens = 0, resumed_tokens = 0;
  double cost_all = 0, cost_saved = 0, cost_bound = 0;
  uint64_t new_tokens = 0, distance_tokens = 0, lost_tokens = 0;  // recomputed, by reason
  uint64_t recomputed_p50 = 0, recomputed_p95 = 0, recomputed_p99 = 0;
  uint64_t wrong_states = 0;  // hits whose state was not that of the prompt's tokens; always 0
  uint64_t store_ns = 0;      // CPU time
  StoreStats store;
};

// policy: ours, lru-blocks:K, align:K, leaf-lru, marconi:A, llama, clairvoyant.
struct ReplayCase {
  uint64_t budget_bytes = 0;
  std::string policy;
};
// All cases side by side, one result each: the trace is spelt once.
Result<std::vector<ReplayResult>> replay(const Trace& trace, const History& history, const ReplayShape& shape, std::span<const ReplayCase> cases);

}  // namespace sluice::engine
