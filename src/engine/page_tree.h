// The tree over token ids: one node a page of 64 tokens, children found by (parent, first token), tokens always compared. Two branches that part inside
// a page are two nodes that agree on their first tokens (their pages are copies up to there: copy on write). A node counts the checkpoints at and below
// it; when none is left it goes, so KV without a state behind it does not exist.
// Memory is taken once, for `nodes_max` nodes. Next: state_store.h.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "engine/block_pool.h"

namespace sluice::engine {

inline constexpr uint64_t kPageTokens = 64;

using NodeId = uint32_t;
inline constexpr NodeId kNoNode = UINT32_MAX;
inline constexpr uint32_t kNoCheckpoint = UINT32_MAX;

struct Node {
  NodeId parent = kNoNode;  // a root is root_of(tenant)
  NodeId bucket_next = kNoNode;
  BlockId page = kNoBlock;
  uint32_t below = 0;                         // checkpoints at this node or under it
  uint32_t below_xor = 0;                     // of their numbers: with below == 1, the one that keeps this page
  uint32_t first_checkpoint = kNoCheckpoint;  // list of those whose position lies in this page
  uint32_t depth = 0;                         // page index
  uint32_t used = 0;                          // tokens, 1..64
  uint64_t prefix_hash = 0;                   // of all tokens before this page; for the ring of evictions, never for a hit
};

// Where a sequence of tokens leads.
struct Walk {
  uint32_t tenant = 0;
  std::vector<NodeId> path;    // whole pages that agree
  NodeId partial = kNoNode;    // the node that agrees longest in the page after them, if any does
  uint64_t matched = 0;        // tokens that agree
};

class PageTree {
 public:
  explicit PageTree(uint32_t nodes_max);

  static NodeId root_of(uint32_t tenant) { return 0x80000000u | tenant; }
  static uint64_t bytes_per_node() { return sizeof(Node) + kPageTokens * sizeof(int32_t) + 2 * sizeof(NodeId) + sizeof(NodeId); }

  // Follows `tokens`. What `out` knows from its last walk is compared first, page by page, without searching; remove() must be told to it.
  void walk(uint32_t tenant, std::span<const int32_t> tokens, Walk& out) const;
  // see(node, common) for every node that agrees with at least one token of the page at `depth`, under the walk's path.
  template <class See>
  void at_depth(uint32_t tenant, std::span<const int32_t> tokens, const Walk& walk, uint64_t depth, const See& see) const;

  // A new node under `parent` with these tokens (1..64); there must be room.
  NodeId add(NodeId parent, uint32_t depth, std::span<const int32_t> tokens, BlockId page);
  // More tokens for a page that was not full.
  void extend(NodeId node, std::span<const int32_t> tokens);
  void remove(NodeId node, Walk& walk);

  Node& operator[](NodeId id) { return nodes_[id]; }
  const Node& operator[](NodeId id) const { return nodes_[id]; }
  std::span<const int32_t> tokens(NodeId id) const { return {tokens_.data() + uint64_t{id} * kPageTokens, nodes_[id].used}; }
  uint32_t free_count() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t count() const { return static_cast<uint32_t>(nodes_.size() - free_.size()); }

  static uint64_t hash_page(uint64_t before, std::span<const int32_t> tokens);

 private:
  NodeId& bucket(NodeId parent, int32_t token) { return buckets_[bucket_index(parent, token)]; }
  uint64_t bucket_index(NodeId parent, int32_t token) const;

  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;    // (node, 64)
  std::vector<NodeId> buckets_;    // power of two
  std::vector<NodeId> free_;
};

template <class See>
void PageTree::at_depth(uint32_t tenant, std::span<const int32_t> tokens, const Walk& walk, uint64_t depth, const See& see) const {
  const std::span<const int32_t> rest = tokens.subspan(depth * kPageTokens);
  const NodeId parent = depth == 0 ? root_of(tenant) : walk.path[depth - 1];
  for (NodeId id = buckets_[bucket_index(parent, rest[0])]; id != kNoNode; id = nodes_[id].bucket_next) {
    const Node& node = nodes_[id];
    const int32_t* have = tokens_.data() + uint64_t{id} * kPageTokens;
    if (node.parent != parent || have[0] != rest[0]) continue;
    const uint32_t most = static_cast<uint32_t>(rest.size() < node.used ? rest.size() : node.used);
    uint32_t common = 1;
    if (most == kPageTokens && std::memcmp(have, rest.data(), kPageTokens * sizeof(int32_t)) == 0) {
      common = most;  // nearly always, and a few times faster than one by one
    } else {
      while (common < most && have[common] == rest[common]) ++common;
    }
    see(id, common);
  }
}

}  // namespace sluice::engine
