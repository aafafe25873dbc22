// Byte-pair merging: repeatedly join the neighbouring pair of lowest rank, the leftmost of equals, until no pair is
// left that can be joined. Contract: exact for any table, also where a merge makes a pair of lower rank than its own;
// time is linear in the symbols for tables whose ranks rise with a token's making (all trained ones). Next:
// text/tokenizer.cc builds the table, text/merges_test.cc holds a plain reference.
#pragma once

#include <array>
#include <cstdint>
#include <queue>
#include <span>
#include <unordered_map>
#include <vector>

namespace sluice::text {

inline constexpr uint32_t kNoRank = UINT32_MAX;
inline constexpr uint32_t kNoSymbol = UINT32_MAX;

struct MergeResult {
  uint32_t rank = kNoRank;
  uint32_t symbol = kNoSymbol;
};

// (left symbol, right symbol) -> rank and what they become. Open addressing; immutable after building, so safe to
// share.
class MergeTable {
 public:
  // Room for `count` pairs.
  explicit MergeTable(size_t count);

  // Keeps the lower rank if the pair is there already. rank < kNoRank.
  void insert(uint32_t left, uint32_t right, MergeResult result);

  MergeResult find(uint32_t left, uint32_t right) const {
    size_t slot = hash(left, right) & mask_;
    while (true) {
      const Slot& s = slots_[slot];
      if (s.left == left && s.right == right) return s.result;
      if (s.result.rank == kNoRank) return {};
      slot = (slot + 1) & mask_;
    }
  }

 private:
  struct Slot {
    uint32_t left = kNoSymbol;
    uint32_t right = kNoSymbol;
    MergeResult result;
  };

  static size_t hash(uint32_t left, uint32_t right) {
    uint64_t h = ((static_cast<uint64_t>(left) << 32) | right) * 0x9E3779B97F4A7C15ull;
    return static_cast<size_t>(h ^ (h >> 29));
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t used_ = 0;
};

// Working memory of merge(); reuse it between calls of one thread.
class Merger {
 public:
  // Replaces `symbols` by the merged ones. kNoSymbol takes part in no merge.
  void merge(const MergeTable& table, std::vector<uint32_t>& symbols);

 private:
  struct Node {
    uint32_t symbol;
    uint32_t previous;
    uint32_t next;
    MergeResult pair;  // of this node and the next; kNoRank also marks a node that was merged away
  };
  struct Event {
    uint32_t rank;
    uint32_t at;
    bool operator>(const Event& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };

  void merge_short(const MergeTable& table, std::vector<uint32_t>& symbols);
  void merge_long(const MergeTable& table, std::vector<uint32_t>& symbols);
  void find_pair(const MergeTable& table, uint32_t at);
  void join(const MergeTable& table, Event event);
  void run_bucket(const MergeTable& table, uint32_t rank, std::vector<uint32_t>& places);

  std::vector<uint32_t>& bucket(uint32_t rank);

  std::vector<MergeResult> pairs_;
  std::vector<Node> nodes_;
  std::unordered_map<uint32_t, std::vector<uint32_t>> buckets_;  // rank -> places, mostly in order
  struct Recent {
    uint32_t rank = kNoRank;
    std::vector<uint32_t>* places = nullptr;
  };
  std::array<Recent, 64> recent_;  // of buckets_, which keeps its elements in place
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> urgent_;  // pairs not above the bucket in hand
  int64_t current_ = -1;                                                   // rank of the bucket in hand
};

}  // namespace sluice::text
