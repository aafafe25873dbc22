// Where a request's checkpoints go. Only positions that the request computes itself are possible: above what it resumed, up to its answer's end.
// Contract: rising positions, no two the same. Next: state_store.h; the reasons for each are in docs/state.md.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/checkpoint.h"

namespace sluice::engine {

struct Mark {
  uint64_t position = 0;
  Kind kind = Kind::kPromptEnd;
};

struct PlacementRequest {
  uint64_t resume = 0;      // tokens not computed
  uint64_t shared = 0;      // tokens that agree with something stored or lost: a junction if the prompt goes on differently
  uint64_t prompt = 0;      // tokens of the prompt
  uint64_t system_end = 0;  // 0: unknown
  uint64_t last_message = 0;  // where the last message starts; 0: unknown
};

// A checkpoint this many tokens before the prompt's end meets the follow-ups that lose 1 to 4 blocks of 64 at it (4.9 % of an agent's).
inline constexpr uint64_t kBeforeEndTokens = 256;
// Two checkpoints nearer than this are one: what lies between costs less than a state's copy.
inline constexpr uint64_t kNearTokens = 16;

void place_prompt(const PlacementRequest& request, std::vector<Mark>& out);
// Interior points between `from` and `to`: the gaps grow by half from `to` downwards (256, 384, 576 ...); dense: all are 256, for where memory stands empty.
void place_grid(uint64_t from, uint64_t to, std::vector<Mark>& out);
void place_dense_grid(uint64_t from, uint64_t to, std::vector<Mark>& out);

}  // namespace sluice::engine
