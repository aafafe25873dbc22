#include "engine/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "engine/eviction.h"
#include "engine/placement.h"
#include "engine/replay_clairvoyant.h"
#include "engine/replay_player.h"
#include "platform/clock.h"

namespace sluice::engine {
namespace {

constexpr uint64_t kVocabulary = 65'536, kLowToken = 1'000;  // of Jamba; ids below are special (data/traces/README.md)

uint64_t splitmix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

struct Policy {
  enum class Place : uint8_t { kOurs, kEveryK, kLastK, kEnds, kWants, kWhole } place = Place::kOurs;
  uint64_t k = 0;
  bool grid = true;
  std::unique_ptr<Evictor> evictor;
};

Result<Policy> parse_policy(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon), value = colon == std::string::npos ? "" : text.substr(colon + 1);
  double number = 0;
  if (!value.empty()) {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) return Error{fmt::format("'{}' in policy '{}' is not a number", value, text)};
  }
  Policy policy;
  const auto takes_k = [&]() -> Status {
    if (!(number >= 1 && number <= 1e9)) return Error{fmt::format("policy '{}' needs a number of tokens from 1 to 1e9, as in {}:512", text, name)};
    policy.k = static_cast<uint64_t>(number);
    return {};
  };
  if (name == "ours") {
    policy.evictor = learned_evictor();
  } else if (name == "ours-without-grid") {
    policy.evictor = learned_evictor();
    policy.grid = false;
  } else if (name == "lru-blocks") {
    SLUICE_TRY_VOID(takes_k());
    policy.place = Policy::Place::kEveryK;
    policy.evictor = lru_evictor(LruRule::kDeepestFirst);
  } else if (name == "align") {
    SLUICE_TRY_VOID(takes_k());
    policy.place = Policy::Place::kLastK;
    policy.evictor = lru_evictor(LruRule::kDeepestFirst);
  } else if (name == "leaf-lru") {
    policy.place = Policy::Place::kEnds;
    policy.evictor = lru_evictor(LruRule::kLeavesOnly);
  } else if (name == "marconi") {
    policy.place = Policy::Place::kEnds;
    policy.evictor = marconi_evictor(number);
  } else if (name == "clairvoyant") {
    policy.place = Policy::Place::kWants;
  } else if (name == "llama") {
    policy.place = Policy::Place::kWhole;
  } else {
    return Error{fmt::format("policy '{}' is not one of ours, lru-blocks:K, align:K, leaf-lru, marconi:A, llama, clairvoyant", text)};
  }
  return policy;
}

// A policy over the real store.
class StorePlayer final : public Player {
 public:
  StorePlayer(Policy policy, const CostModel& cost, const Wants* wants, Clairvoyant* oracle, std::unique_ptr<StateStore> store)
      : policy_(std::move(policy)), cost_(cost), wants_(wants), oracle_(oracle), store_(std::move(store)) {}

  void play(const ReplayTurn& turn) override {
    const TraceRequest& request = *turn.request;
    uint64_t start = platform::thread_cpu_ns();
    store_->lookup({.tenant = 0, .program = 0, .now_ms = request.time_ms, .tokens = turn.prompt(), .message_starts = {}}, lookup_);
    store_->release(lookup_);  // the state is copied before anything runs: what a sequence runs on is not the store's
    result.store_ns += platform::thread_cpu_ns() - start;
    if (lookup_.resume > 0 && turn.states[lookup_.resume] != lookup_.payload) ++result.wrong_states;
    count_turn(*this, turn, cost_, {lookup_.resume, lookup_.matched, lookup_.lost_position});
    place(turn);
    start = platform::thread_cpu_ns();
    const bool ours = policy_.place == Policy::Place::kOurs;  // a grid only in memory that stands empty, as the scheduler lays it
    for (const Mark& mark : marks_) {
      store_->insert({.tenant = 0, .now_ms = request.time_ms, .tokens = turn.tokens.first(mark.position), .kind = mark.kind,
                      .turn = lookup_.resume > request.system_end ? 1u : 0u, .payload = turn.states[mark.position], .state = {}, .pages = {},
                      .spare_only = ours && mark.kind == Kind::kGrid});
    }
    result.store_ns += platform::thread_cpu_ns() - start;
    result.store = store_->stats();
  }

 private:
  // Where this policy keeps states of the request's own tokens.
  void place(const ReplayTurn& turn) {
    marks_.clear();
    const uint64_t resume = lookup_.resume, end = turn.end(), prompt_end = turn.request->prompt - 1;
    const auto add = [&](uint64_t position, Kind kind) {
      if (position > resume && position <= end && (marks_.empty() || marks_.back().position < position)) marks_.push_back({position, kind});
    };
    switch (policy_.place) {
      case Policy::Place::kOurs:
        place_prompt({resume, lookup_.shared, turn.request->prompt, turn.request->system_end, turn.request->last_message}, marks_);
        if (policy_.grid) merge_grid(resume, prompt_end);
        add(end, Kind::kAnswerEnd);
        break;
      case Policy::Place::kEveryK:
        for (uint64_t p = (resume / policy_.k + 1) * policy_.k; p <= end; p += policy_.k) add(p, Kind::kGrid);
        break;
      case Policy::Place::kLastK:
        add(lookup_.matched / policy_.k * policy_.k, Kind::kJunction);
        add(prompt_end / policy_.k * policy_.k, Kind::kPromptEnd);
        add(end / policy_.k * policy_.k, Kind::kAnswerEnd);
        break;
      case Policy::Place::kEnds:
        if (lookup_.matched < turn.request->prompt) add(lookup_.matched, Kind::kJunction);
        add(end, Kind::kAnswerEnd);
        break;
      case Policy::Place::kWants: place_wanted(turn); break;
      case Policy::Place::kWhole: break;
    }
  }

  void place_wanted(const ReplayTurn& turn) {
    for (const Want& want : wants_->at(turn.number)) {
      if (want.position > lookup_.resume) {
        marks_.push_back({want.position, Kind::kGrid});
      } else if (const uint32_t there = store_->find(0, turn.tokens.first(want.position)); there != kNoCheckpoint) {
        oracle_->set_next(there, want.request);
      }
    }
    oracle_->expect(wants_->at(turn.number));
  }

  void merge_grid(uint64_t from, uint64_t to) {
    place_grid(from, to, grid_);
    for (const Mark& mark : grid_) {
      const bool near = std::any_of(marks_.begin(), marks_.end(), [&](const Mark& m) {
        return (m.position < mark.position ? mark.position - m.position : m.position - mark.position) < kBeforeEndTokens / 2;
      });
      if (!near) marks_.push_back(mark);
    }
    std::sort(marks_.begin(), marks_.end(), [](const Mark& a, const Mark& b) { return a.position < b.position; });
  }

  Policy policy_;
  CostModel cost_;
  const Wants* wants_;
  Clairvoyant* oracle_;  // the store's evictor, if it is that one
  std::unique_ptr<StateStore> store_;
  Lookup lookup_;
  std::vector<Mark> marks_, grid_;
};

Result<std::unique_ptr<Player>> make_player(const ReplayCase& c, const ReplayShape& shape, const Wants& wants) {
  SLUICE_TRY(Policy policy, parse_policy(c.policy));
  if (policy.place == Policy::Place::kWhole) return llama_player(shape, c.budget_bytes);
  Clairvoyant* oracle = nullptr;
  if (policy.place == Policy::Place::kWants) {
    auto evictor = std::make_unique<Clairvoyant>();
    oracle = evictor.get();
    policy.evictor = std::move(evictor);
  }
  StoreOptions options;
  options.budget_bytes = c.budget_bytes;
  options.page_bytes = shape.page_bytes;
  options.state_bytes = shape.state_bytes;
  options.cost = shape.cost;
  SLUICE_TRY(std::unique_ptr<StateStore> store, StateStore::create(options, std::move(policy.evictor)));
  return std::unique_ptr<Player>(std::make_unique<StorePlayer>(std::move(policy), shape.cost, &wants, oracle, std::move(store)));
}

// The stub's states: at each position a hash of all tokens before it.
void write_states(std::span<const int32_t> tokens, std::vector<uint64_t>& out) {
  out.resize(tokens.size() + 1);
  uint64_t hash = 1;
  out[0] = hash;
  for (size_t i = 0; i < tokens.size(); ++i) {
    hash = (hash ^ static_cast<uint32_t>(tokens[i])) * 0x9e3779b97f4a7c15ull + (hash >> 47);
    out[i + 1] = hash;
  }
}

void finish(Player& player) {
  std::vector<uint64_t>& recomputed = player.recomputed;
  std::sort(recomputed.begin(), recomputed.end());
  const auto quantile = [&](size_t percent) { return recomputed.empty() ? 0 : recomputed[(recomputed.size() - 1) * percent / 100]; };
  player.result.recomputed_p50 = quantile(50);
  player.result.recomputed_p95 = quantile(95);
  player.result.recomputed_p99 = quantile(99);
}

}  // namespace

void count_turn(Player& player, const ReplayTurn& turn, const CostModel& cost, const Resumed& r) {
  ReplayResult& result = player.result;
  const uint64_t prompt = turn.request->prompt;
  result.requests += 1;
  result.prompt_tokens += prompt;
  result.resumed_tokens += r.resume;
  result.cost_all += cost.between(0, prompt);
  result.cost_saved += cost.between(0, r.resume);
  player.recomputed.push_back(prompt - r.resume);
  const uint64_t lost = std::max(r.lost, r.resume) - r.resume;
  const uint64_t distance = std::max(r.matched, r.resume) - r.resume;
  result.lost_tokens += lost;
  result.distance_tokens += distance > lost ? distance - lost : 0;
  result.new_tokens += prompt - r.resume - std::max(lost, distance);
}

uint64_t TraceRequest::size() const {
  uint64_t sum = text.size();
  for (const Piece& piece : pieces) sum += piece.tokens;
  return sum;
}

void write_tokens(const TraceRequest& request, std::vector<int32_t>& out) {
  if (!request.text.empty()) return out.assign(request.text.begin(), request.text.end());
  out.resize(request.size());
  int32_t* at = out.data();
  for (const Piece& piece : request.pieces) {
    uint64_t left = piece.tokens;
    for (uint64_t block = piece.block; left > 0; ++block) {
      const uint64_t most = std::min(left, piece.block_tokens);
      const uint64_t base = (piece.scope << 44) ^ (block << 16);
      for (uint64_t j = 0; j < most; ++j) *at++ = static_cast<int32_t>(kLowToken + splitmix64(base ^ j) % (kVocabulary - kLowToken));
      left -= most;
    }
  }
}

Result<std::vector<ReplayResult>> replay(const Trace& trace, const History& history, const ReplayShape& shape, std::span<const ReplayCase> cases) {
  const bool asks = std::any_of(cases.begin(), cases.end(), [](const ReplayCase& c) { return c.policy == "clairvoyant"; });
  const Wants wants = asks ? find_wants(trace, history) : Wants();
  std::vector<std::unique_ptr<Player>> players;
  for (const ReplayCase& c : cases) {
    SLUICE_TRY(std::unique_ptr<Player> player, make_player(c, shape, wants));
    player->result.trace = trace.name;
    player->result.policy = c.policy;
    player->result.budget_bytes = c.budget_bytes;
    players.push_back(std::move(player));
  }
  std::vector<int32_t> tokens;
  std::vector<uint64_t> states;
  for (uint64_t r = 0; r < trace.requests.size(); ++r) {
    write_tokens(trace.requests[r], tokens);
    write_states(tokens, states);
    for (const auto& player : players) player->play({r, &trace.requests[r], tokens, states});
  }
  std::vector<ReplayResult> results;
  double last_bound = 0;
  for (const auto& player : players) {
    finish(*player);
    ReplayResult& result = player->result;
    const bool known = !results.empty() && results.back().budget_bytes == result.budget_bytes;
    result.cost_bound = last_bound = known ? last_bound : bound(trace, history, shape, result.budget_bytes);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace sluice::engine
