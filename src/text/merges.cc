// Two ways to the same result: a scan for words (up to kShort symbols), buckets by rank for anything longer.
// Contract: text/merges.h.
// Next: text/merges_test.cc.
#include "text/merges.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace sluice::text {
namespace {

// Below this a quadratic scan over an array in cache wins.
constexpr size_t kShort = 48;
constexpr uint32_t kEnd = UINT32_MAX;

}  // namespace

MergeTable::MergeTable(size_t count) {
  const size_t slots = std::bit_ceil(std::max<size_t>(16, count * 2));
  slots_.resize(slots);
  mask_ = slots - 1;
}

void MergeTable::insert(uint32_t left, uint32_t right, MergeResult result) {
  SLUICE_CHECK(result.rank != kNoRank);
  size_t slot = hash(left, right) & mask_;
  while (slots_[slot].result.rank != kNoRank) {
    Slot& s = slots_[slot];
    if (s.left == left && s.right == right) {
      if (result.rank < s.result.rank) s.result = result;
      return;
    }
    slot = (slot + 1) & mask_;
  }
  SLUICE_CHECK(++used_ <= slots_.size() / 2);
  slots_[slot] = {left, right, result};
}

void Merger::merge(const MergeTable& table, std::vector<uint32_t>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) {
    merge_short(table, symbols);
  } else {
    merge_long(table, symbols);
  }
}

void Merger::merge_short(const MergeTable& table, std::vector<uint32_t>& symbols) {
  size_t count = symbols.size();
  pairs_.assign(count, {});
  for (size_t i = 0; i + 1 < count; ++i) pairs_[i] = table.find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (pairs_[i].rank < pairs_[best].rank) best = i;
    }
    if (pairs_[best].rank == kNoRank) break;
    symbols[best] = pairs_[best].symbol;
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      pairs_[i] = pairs_[i + 1];
    }
    --count;
    pairs_[best] = best + 1 < count ? table.find(symbols[best], symbols[best + 1]) : MergeResult{};
    if (best > 0) pairs_[best - 1] = table.find(symbols[best - 1], symbols[best]);
  }
  symbols.resize(count);
}

std::vector<uint32_t>& Merger::bucket(uint32_t rank) {
  Recent& recent = recent_[rank % recent_.size()];
  if (recent.rank != rank) recent = {rank, &buckets_[rank]};
  return *recent.places;
}

void Merger::find_pair(const MergeTable& table, uint32_t at) {
  Node& node = nodes_[at];
  if (node.next == kEnd) {
    node.pair = {};
    return;
  }
  node.pair = table.find(node.symbol, nodes_[node.next].symbol);
  const uint32_t rank = node.pair.rank;
  if (rank == kNoRank) return;
  if (static_cast<int64_t>(rank) <= current_) {
    urgent_.push({rank, at});
    return;
  }
  std::vector<uint32_t>& places = bucket(rank);
  if (places.empty()) ranks_.push(rank);
  places.push_back(at);
}

void Merger::join(const MergeTable& table, Event event) {
  Node& node = nodes_[event.at];
  if (node.pair.rank != event.rank) return;  // stale: merged away, or its neighbour changed
  Node& gone = nodes_[node.next];
  node.symbol = node.pair.symbol;
  node.next = gone.next;
  gone.pair = {};
  if (node.next != kEnd) nodes_[node.next].previous = event.at;
  find_pair(table, event.at);
  if (node.previous != kEnd) find_pair(table, node.previous);
}

void Merger::run_bucket(const MergeTable& table, uint32_t rank, std::vector<uint32_t>& places) {
  if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
  current_ = rank;
  for (const uint32_t at : places) {
    const Event event{rank, at};
    while (!urgent_.empty() && event > urgent_.top()) {
      const Event first = urgent_.top();
      urgent_.pop();
      join(table, first);
    }
    join(table, event);
  }
  while (!urgent_.empty()) {
    const Event first = urgent_.top();
    urgent_.pop();
    join(table, first);
  }
}

void Merger::merge_long(const MergeTable& table, std::vector<uint32_t>& symbols) {
  SLUICE_CHECK(symbols.size() < kEnd);
  const auto count = static_cast<uint32_t>(symbols.size());
  nodes_.resize(count);
  for (uint32_t i = 0; i < count; ++i)
    nodes_[i] = {symbols[i], i == 0 ? kEnd : i - 1, i + 1 == count ? kEnd : i + 1, {}};
  buckets_.clear();
  recent_.fill({});
  current_ = -1;
  for (uint32_t i = 0; i + 1 < count; ++i) find_pair(table, i);
  while (!ranks_.empty()) {
    const uint32_t rank = ranks_.top();
    ranks_.pop();
    const auto found = buckets_.find(rank);
    std::vector<uint32_t> places = std::move(found->second);
    buckets_.erase(found);
    recent_[rank % recent_.size()] = {};
    run_bucket(table, rank, places);
  }
  symbols.clear();
  for (uint32_t at = 0; at != kEnd; at = nodes_[at].next) symbols.push_back(nodes_[at].symbol);
  if (nodes_.capacity() > (1u << 20)) std::vector<Node>().swap(nodes_);
}

}  // namespace sluice::text
