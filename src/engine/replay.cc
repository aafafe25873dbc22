#include "engine/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "engine/eviction.h"
#include "engine/placement.h"

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
  enum class Place : uint8_t { kOurs, kEveryK, kLastK, kEnds } place = Place::kOurs;
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
  } else {
    return Error{fmt::format("policy '{}' is not one of ours, lru-blocks:K, align:K, leaf-lru, marconi:A", text)};
  }
  return policy;
}

// The stub's state at a position: a hash of all tokens before it, followed along the sequence.
class StubState {
 public:
  explicit StubState(std::span<const int32_t> tokens) : tokens_(tokens) {}
  uint64_t at(uint64_t position) {
    for (; position_ < position; ++position_) hash_ = (hash_ ^ static_cast<uint32_t>(tokens_[position_])) * 0x9e3779b97f4a7c15ull + (hash_ >> 47);
    return hash_;
  }

 private:
  std::span<const int32_t> tokens_;
  uint64_t position_ = 0, hash_ = 1;
};

class Run {
 public:
  Run(const Trace& trace, const Policy& policy, StateStore& store, ReplayResult& result)
      : trace_(trace), policy_(policy), store_(store), result_(result) {}

  void all(const CostModel& cost) {
    for (uint64_t r = 0; r < trace_.requests.size(); ++r) one(trace_.requests[r], cost);
    std::sort(recomputed_.begin(), recomputed_.end());
    const auto quantile = [&](size_t percent) { return recomputed_.empty() ? 0 : recomputed_[(recomputed_.size() - 1) * percent / 100]; };
    result_.recomputed_p50 = quantile(50);
    result_.recomputed_p95 = quantile(95);
    result_.recomputed_p99 = quantile(99);
  }

 private:
  using Clock = std::chrono::steady_clock;

  void one(const TraceRequest& request, const CostModel& cost) {
    write_tokens(request, tokens_);
    const std::span<const int32_t> all(tokens_), prompt = all.first(request.prompt);
    auto start = Clock::now();
    store_.lookup({.tenant = 0, .program = 0, .now_ms = request.time_ms, .tokens = prompt, .message_starts = {}}, lookup_);
    auto spent = Clock::now() - start;
    StubState state(all);
    if (lookup_.resume > 0 && state.at(lookup_.resume) != lookup_.payload) ++result_.wrong_states;
    count(request, cost);
    place(request);
    for (Mark& mark : marks_) {
      const uint64_t payload = state.at(mark.position);
      start = Clock::now();
      store_.insert({.tenant = 0, .now_ms = request.time_ms, .tokens = all.first(mark.position), .kind = mark.kind,
                     .turn = lookup_.resume > request.system_end ? 1u : 0u, .payload = payload, .state = {}, .pages = {}});
      spent += Clock::now() - start;
    }
    start = Clock::now();
    store_.release(lookup_);
    spent += Clock::now() - start;
    result_.store_ns += static_cast<uint64_t>(std::chrono::nanoseconds(spent).count());
  }

  void count(const TraceRequest& request, const CostModel& cost) {
    result_.requests += 1;
    result_.prompt_tokens += request.prompt;
    result_.resumed_tokens += lookup_.resume;
    result_.cost_all += cost.between(0, request.prompt);
    result_.cost_saved += cost.between(0, lookup_.resume);
    recomputed_.push_back(request.prompt - lookup_.resume);
    const uint64_t lost = std::max(lookup_.lost_position, lookup_.resume) - lookup_.resume;
    const uint64_t distance = std::max(lookup_.matched, lookup_.resume) - lookup_.resume;
    result_.lost_tokens += lost;
    result_.distance_tokens += distance > lost ? distance - lost : 0;
    result_.new_tokens += request.prompt - lookup_.resume - std::max(lost, distance);
  }

  // Where this policy keeps states of the request's own tokens.
  void place(const TraceRequest& request) {
    marks_.clear();
    const uint64_t resume = lookup_.resume, end = tokens_.size() - 1, prompt_end = request.prompt - 1;
    const auto add = [&](uint64_t position, Kind kind) {
      if (position > resume && position <= end && (marks_.empty() || marks_.back().position < position)) marks_.push_back({position, kind});
    };
    switch (policy_.place) {
      case Policy::Place::kOurs:
        place_prompt({resume, lookup_.matched, request.prompt, request.system_end, 0}, marks_);
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
        if (lookup_.matched < request.prompt) add(lookup_.matched, Kind::kJunction);
        add(end, Kind::kAnswerEnd);
        break;
    }
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

  const Trace& trace_;
  const Policy& policy_;
  StateStore& store_;
  ReplayResult& result_;
  Lookup lookup_;
  std::vector<int32_t> tokens_;
  std::vector<Mark> marks_, grid_;
  std::vector<uint64_t> recomputed_;
};

}  // namespace

void write_tokens(const TraceRequest& request, std::vector<int32_t>& out) {
  uint64_t size = 0;
  for (const Piece& piece : request.pieces) size += piece.tokens;
  out.resize(size);
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

Result<ReplayResult> replay(const Trace& trace, const ReplayShape& shape, uint64_t budget_bytes, const std::string& policy) {
  SLUICE_TRY(Policy parsed, parse_policy(policy));
  StoreOptions options;
  options.budget_bytes = budget_bytes;
  options.page_bytes = shape.page_bytes;
  options.state_bytes = shape.state_bytes;
  options.cost = shape.cost;
  SLUICE_TRY(std::unique_ptr<StateStore> store, StateStore::create(options, std::move(parsed.evictor)));
  ReplayResult result;
  result.trace = trace.name;
  result.policy = policy;
  result.budget_bytes = budget_bytes;
  Run(trace, parsed, *store, result).all(shape.cost);
  result.store = store->stats();
  return result;
}

}  // namespace sluice::engine
