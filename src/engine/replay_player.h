// One policy with one budget, playing a trace request by request; replay() drives several side by side. Contract: play() is called for every request in order.
// Next: replay.cc (policies over the real store), replay_llama.cc (whole prompts in slots).
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/replay.h"

namespace sluice::engine {

// One request as every player sees it.
struct ReplayTurn {
  uint64_t number = 0;
  const TraceRequest* request = nullptr;
  std::span<const int32_t> tokens;   // prompt, then answer
  std::span<const uint64_t> states;  // (tokens + 1): the stub's state at each position
  std::span<const int32_t> prompt() const { return tokens.first(request->prompt); }
  uint64_t end() const { return tokens.size() - 1; }  // the last token of an answer is drawn, not read
};

class Player {
 public:
  virtual ~Player() = default;
  virtual void play(const ReplayTurn& turn) = 0;
  ReplayResult result;
  std::vector<uint64_t> recomputed;  // tokens, one a request
};

// What a turn adds to a result.
struct Resumed {
  uint64_t resume = 0;   // tokens not computed
  uint64_t matched = 0;  // tokens that agree with something kept
  uint64_t lost = 0;     // a checkpoint there was evicted
};
void count_turn(Player& player, const ReplayTurn& turn, const CostModel& cost, const Resumed& resumed);

// llama.cpp's way (reference/state.md, section 2): a prompt is kept whole, tokens and KV unshared, with up to 32 checkpoints of the recurrent part, at
// least 8,192 tokens apart, 4 and 516 tokens before its end; the least recently used prompts go. Equal bytes instead of its two limits.
std::unique_ptr<Player> llama_player(const ReplayShape& shape, uint64_t budget_bytes);

}  // namespace sluice::engine
