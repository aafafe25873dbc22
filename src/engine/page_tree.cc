#include "engine/page_tree.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace sluice::engine {
namespace {

constexpr size_t kPageBytes = kPageTokens * sizeof(int32_t);

// The finaliser of splitmix64 (Steele et al. 2014).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

}  // namespace

PageTree::PageTree(uint32_t nodes_max)
    : nodes_(nodes_max), tokens_(uint64_t{nodes_max} * kPageTokens), buckets_(std::bit_ceil(uint64_t{nodes_max} + 1), kNoNode) {
  free_.reserve(nodes_max);
  for (uint32_t i = nodes_max; i > 0; --i) free_.push_back(i - 1);
}

uint64_t PageTree::bucket_index(NodeId parent, int32_t token) const {
  return mix((uint64_t{parent} << 32) | static_cast<uint32_t>(token)) & (buckets_.size() - 1);
}

uint64_t PageTree::hash_page(uint64_t before, std::span<const int32_t> tokens) {
  uint64_t hash = before;
  for (const int32_t token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
  return mix(hash ^ tokens.size());
}

NodeId PageTree::add(NodeId parent, uint32_t depth, std::span<const int32_t> tokens, BlockId page) {
  SLUICE_CHECK(!free_.empty() && !tokens.empty() && tokens.size() <= kPageTokens);
  const NodeId id = free_.back();
  free_.pop_back();
  NodeId& head = bucket(parent, tokens[0]);
  Node& node = nodes_[id];
  node = Node{};
  node.parent = parent;
  node.bucket_next = head;
  node.page = page;
  node.depth = depth;
  node.used = static_cast<uint32_t>(tokens.size());
  node.prefix_hash = depth == 0 ? parent : hash_page(nodes_[parent].prefix_hash, this->tokens(parent));
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + static_cast<ptrdiff_t>(uint64_t{id} * kPageTokens));
  head = id;
  return id;
}

void PageTree::extend(NodeId id, std::span<const int32_t> tokens) {
  SLUICE_CHECK(nodes_[id].used <= tokens.size() && tokens.size() <= kPageTokens);
  nodes_[id].used = static_cast<uint32_t>(tokens.size());
  std::copy(tokens.begin(), tokens.end(), tokens_.begin() + static_cast<ptrdiff_t>(uint64_t{id} * kPageTokens));
}

void PageTree::walk(uint32_t tenant, std::span<const int32_t> tokens, Walk& out) const {
  const uint64_t whole = tokens.size() / kPageTokens;
  uint64_t known = 0;
  if (out.tenant == tenant) {
    const uint64_t most = std::min<uint64_t>(whole, out.path.size());
    while (known < most && std::memcmp(tokens_.data() + uint64_t{out.path[known]} * kPageTokens, tokens.data() + known * kPageTokens, kPageBytes) == 0) ++known;
  }
  out.tenant = tenant;
  out.path.resize(known);
  out.partial = kNoNode;
  out.matched = known * kPageTokens;
  while (out.matched < tokens.size()) {
    NodeId best = kNoNode;
    uint32_t best_common = 0;
    at_depth(tenant, tokens, out, out.path.size(), [&](NodeId id, uint32_t common) {
      if (common <= best_common) return;
      best_common = common;
      best = id;
    });
    out.matched += best_common;
    if (best_common < kPageTokens) {
      out.partial = best;
      return;
    }
    out.path.push_back(best);
  }
}

void PageTree::remove(NodeId id, Walk& walk) {
  if (const uint32_t depth = nodes_[id].depth; depth < walk.path.size() && walk.path[depth] == id) walk.path.resize(depth);
  const int32_t first = tokens_[uint64_t{id} * kPageTokens];
  NodeId* link = &bucket(nodes_[id].parent, first);
  while (*link != id) {
    SLUICE_CHECK(*link != kNoNode);
    link = &nodes_[*link].bucket_next;
  }
  *link = nodes_[id].bucket_next;
  nodes_[id] = Node{};
  free_.push_back(id);
}

}  // namespace sluice::engine
