// What a trace's prompts share with earlier ones, and the bound that follows. Part of replay.h.
#include <algorithm>

#include "engine/replay.h"

namespace sluice::engine {
namespace {

// A tree over everything ever seen, pages of 64 tokens, each with the last time it was passed. A last page that is not full is a node of its own.
class SeenTree {
 public:
  // Depths that `tokens` shares with what was seen, rising, each with the latest time that it was passed; falling times.
  void find(std::span<const int32_t> tokens, std::vector<Past>& out) const {
    out.clear();
    uint32_t parent = 0;
    for (uint64_t at = 0; at < tokens.size();) {
      const auto rest = tokens.subspan(at, std::min(kPageTokens, tokens.size() - at));
      uint32_t next = 0;
      for (uint32_t id = buckets_[index(parent, rest[0])]; id != 0; id = nodes_[id].bucket_next) {
        const uint32_t common = agree(id, parent, rest);
        if (common == 0) continue;
        out.push_back({at + common, nodes_[id].time});
        if (common == kPageTokens) next = id;
      }
      if (next == 0) break;
      parent = next;
      at += kPageTokens;
    }
    std::stable_sort(out.begin(), out.end(), [](const Past& a, const Past& b) { return a.position > b.position; });
    size_t kept = 0;
    for (const Past& past : out) {
      if (kept > 0 && past.request <= out[kept - 1].request) continue;
      if (kept > 0 && past.position == out[kept - 1].position) --kept;
      out[kept++] = past;
    }
    out.resize(kept);
    std::reverse(out.begin(), out.end());
  }

  void insert(std::span<const int32_t> tokens, uint64_t time) {
    uint32_t parent = 0;
    for (uint64_t at = 0; at < tokens.size(); at += kPageTokens) {
      const auto page = tokens.subspan(at, std::min(kPageTokens, tokens.size() - at));
      uint32_t id = buckets_[index(parent, page[0])];
      while (id != 0 && !(nodes_[id].used == page.size() && agree(id, parent, page) == page.size())) id = nodes_[id].bucket_next;
      if (id == 0) id = add(parent, page);
      nodes_[id].time = time;
      parent = id;
    }
  }

 private:
  struct Seen {
    uint32_t parent = 0, bucket_next = 0, used = 0;
    uint64_t time = 0, first = 0;  // of its tokens
  };

  uint64_t index(uint32_t parent, int32_t token) const {
    const uint64_t x = ((uint64_t{parent} << 32) | static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15ull;
    return (x ^ (x >> 29)) & (buckets_.size() - 1);
  }
  uint32_t agree(uint32_t id, uint32_t parent, std::span<const int32_t> page) const {
    const Seen& node = nodes_[id];
    if (node.parent != parent) return 0;
    uint32_t common = 0;
    while (common < node.used && common < page.size() && tokens_[node.first + common] == page[common]) ++common;
    return common;
  }
  uint32_t add(uint32_t parent, std::span<const int32_t> page) {
    if (nodes_.size() >= buckets_.size()) grow();
    const uint32_t id = static_cast<uint32_t>(nodes_.size());
    uint32_t& head = buckets_[index(parent, page[0])];
    nodes_.push_back({parent, head, static_cast<uint32_t>(page.size()), 0, tokens_.size()});
    tokens_.insert(tokens_.end(), page.begin(), page.end());
    head = id;
    return id;
  }
  void grow() {
    buckets_.assign(buckets_.size() * 2, 0);
    for (uint32_t id = 1; id < nodes_.size(); ++id) {
      uint32_t& head = buckets_[index(nodes_[id].parent, tokens_[nodes_[id].first])];
      nodes_[id].bucket_next = head;
      head = id;
    }
  }

  std::vector<Seen> nodes_ = std::vector<Seen>(1);  // 0: the root
  std::vector<uint32_t> buckets_ = std::vector<uint32_t>(1 << 16, 0);
  std::vector<int32_t> tokens_;
};

// What request r's prompt would save at most for the price `l`, with everything it could resume held.
double best_saving(const std::vector<Past>& past, uint64_t r, const ReplayShape& shape, double price) {
  const double per_token = static_cast<double>(shape.page_bytes) / static_cast<double>(kPageTokens);
  double best = 0, kv = 0;
  uint64_t from = 0;
  for (const Past& p : past) {
    const double age = static_cast<double>(r - p.request);
    kv += static_cast<double>(p.position - from) * per_token * age;
    from = p.position;
    best = std::max(best, shape.cost.between(0, p.position) - price * (static_cast<double>(shape.state_bytes) * age + kv));
  }
  return best;
}

}  // namespace

History study(const Trace& trace) {
  History history;
  const uint64_t count = trace.requests.size();
  history.past.resize(count);
  std::vector<int32_t> tokens;
  SeenTree seen;
  for (uint64_t r = 0; r < count; ++r) {
    write_tokens(trace.requests[r], tokens);
    seen.find(std::span<const int32_t>(tokens).first(trace.requests[r].prompt), history.past[r]);
    seen.insert(tokens, r);
  }
  return history;
}

double bound(const Trace& trace, const History& history, const ReplayShape& shape, uint64_t budget_bytes) {
  const uint64_t count = trace.requests.size();
  const auto at = [&](double price) {
    double sum = price * static_cast<double>(budget_bytes) * static_cast<double>(count);
    for (uint64_t r = 0; r < count; ++r) sum += best_saving(history.past[r], r, shape, price);
    return sum;
  };
  // Convex in the price: narrow [0, high] by thirds. At `high` no depth pays for its state.
  double low = 0, high = shape.cost.between(0, 1u << 20) / static_cast<double>(shape.state_bytes);
  for (int step = 0; step < 100; ++step) {
    const double a = low + (high - low) / 3, b = high - (high - low) / 3;
    if (at(a) <= at(b)) {
      high = b;
    } else {
      low = a;
    }
  }
  return std::min(at(low), at(0));
}

}  // namespace sluice::engine
