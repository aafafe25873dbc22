// A cache of whole prompts as llama.cpp keeps them in slots and host memory. Part of replay_player.h.
#include <algorithm>

#include "engine/replay_player.h"

namespace sluice::engine {
namespace {

constexpr size_t kPointsMax = 32;         // --ctx-checkpoints
constexpr uint64_t kSpacing = 8192;       // --checkpoint-min-step
constexpr uint64_t kBeforeEnd[] = {516, 4};  // always there for the newest prompt; older ones stay where the spacing allows
constexpr uint64_t kTokenBytes = sizeof(int32_t);

struct Point {
  uint64_t position = 0, state = 0;
};
struct Prompt {
  std::vector<int32_t> tokens;
  std::vector<Point> points;  // rising; the last one is the sequence's own state, which the next turn takes along
  uint64_t last_use = 0;
};

class Llama final : public Player {
 public:
  Llama(const ReplayShape& shape, uint64_t budget_bytes) : shape_(shape), budget_bytes_(budget_bytes) {}

  void play(const ReplayTurn& turn) override {
    ++result.store.lookups;
    Prompt prompt = take_best(turn.prompt());
    const uint64_t agreed = common(prompt.tokens, turn.prompt()), most = std::min<uint64_t>(agreed, turn.prompt().size() - 1);
    const uint64_t own = prompt.points.empty() ? 0 : prompt.points.back().position;
    while (!prompt.points.empty() && prompt.points.back().position > most) prompt.points.pop_back();
    const uint64_t resume = prompt.points.empty() ? 0 : prompt.points.back().position;
    if (resume > 0 && prompt.points.back().state != turn.states[resume]) ++result.wrong_states;
    if (resume > 0 && resume == own) prompt.points.pop_back();
    result.store.hits += resume > 0;
    count_turn(*this, turn, shape_.cost, {resume, agreed, 0});
    prompt.tokens.assign(turn.tokens.begin(), turn.tokens.begin() + static_cast<ptrdiff_t>(turn.end()));
    prompt.last_use = turn.number;
    add_points(prompt, turn, resume);
    keep(std::move(prompt));
  }

 private:
  static uint64_t common(std::span<const int32_t> a, std::span<const int32_t> b) {
    return static_cast<uint64_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  }
  uint64_t bytes(const Prompt& p) const {
    return p.points.size() * shape_.state_bytes + p.tokens.size() * (shape_.page_bytes / kPageTokens + kTokenBytes);
  }

  // The prompt that shares most with this one leaves the cache for a slot.
  Prompt take_best(std::span<const int32_t> tokens) {
    size_t best = kept_.size();
    uint64_t longest = 0;
    for (size_t i = 0; i < kept_.size(); ++i) {
      const uint64_t agreed = common(kept_[i].tokens, tokens);
      if (agreed <= longest) continue;
      longest = agreed;
      best = i;
    }
    if (best == kept_.size()) return {};
    if (longest * 2 < kept_[best].tokens.size()) {  // too little of it would stay: it is copied
      Prompt copy = kept_[best];
      copy.points.erase(std::find_if(copy.points.begin(), copy.points.end(), [&](const Point& p) { return p.position > longest; }), copy.points.end());
      return copy;
    }
    Prompt found = std::move(kept_[best]);
    kept_.erase(kept_.begin() + static_cast<ptrdiff_t>(best));
    used_ -= bytes(found);
    return found;
  }

  void add_points(Prompt& prompt, const ReplayTurn& turn, uint64_t resume) {
    std::vector<Point>& points = prompt.points;
    for (size_t i = 1; i < points.size();) {
      points[i].position < points[i - 1].position + kSpacing ? (void)points.erase(points.begin() + static_cast<ptrdiff_t>(i)) : (void)++i;
    }
    for (const uint64_t before : kBeforeEnd) {
      const uint64_t size = turn.prompt().size();
      if (size <= before || size - before <= resume) continue;
      points.push_back({size - before, turn.states[size - before]});
      ++result.store.made;
    }
    if (points.size() > kPointsMax) points.erase(points.begin(), points.end() - kPointsMax);
    points.push_back({turn.end(), turn.states[turn.end()]});
  }

  void keep(Prompt prompt) {
    if (bytes(prompt) > budget_bytes_) {
      ++result.store.refused;
      return;
    }
    while (used_ + bytes(prompt) > budget_bytes_) {
      const auto oldest = std::min_element(kept_.begin(), kept_.end(), [](const Prompt& a, const Prompt& b) { return a.last_use < b.last_use; });
      used_ -= bytes(*oldest);
      kept_.erase(oldest);
      ++result.store.evicted;
    }
    used_ += bytes(prompt);
    result.store.bytes_max = std::max(result.store.bytes_max, used_);
    kept_.push_back(std::move(prompt));
    result.store.held_max = std::max(result.store.held_max, static_cast<uint32_t>(kept_.size()));
  }

  ReplayShape shape_;
  uint64_t budget_bytes_, used_ = 0;
  std::vector<Prompt> kept_;
};

}  // namespace

std::unique_ptr<Player> llama_player(const ReplayShape& shape, uint64_t budget_bytes) { return std::make_unique<Llama>(shape, budget_bytes); }

}  // namespace sluice::engine
