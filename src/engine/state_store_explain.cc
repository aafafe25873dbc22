// Why a lookup did not resume deeper: ten names, the first token that differs, and what was lost when. Part of state_store.h.
#include <algorithm>

#include "engine/state_store.h"

namespace sluice::engine {

const char* miss_reason_name(MissReason reason) {
  switch (reason) {
    case MissReason::kNone: return "none";
#define X(name, text) \
  case MissReason::name: return text;
      SLUICE_MISS_REASONS(X)
#undef X
  }
  return "";
}

void StateStore::explain(const LookupRequest& request, Lookup& out) {
  const uint64_t size = request.tokens.size();
  if (out.resume + 1 == size) return;
  explain_difference(request, out);
  if (const Loss* loss = find_loss(request, out.resume)) {
    out.reason = loss->expired ? MissReason::kExpired : loss->kv_too ? MissReason::kKvEvicted : MissReason::kCheckpointEvicted;
    out.lost_position = loss->position;
    out.lost_at_ms = loss->at_ms;
    out.lost_to_bytes = loss->need_bytes;
  } else if (out.matched == 0) {
    out.reason = other_tenant_has(request) ? MissReason::kOtherTenant : MissReason::kNoSuchPrefix;
  } else if (out.resume < std::min(out.matched, size - 1)) {
    out.reason = MissReason::kNearestCheckpoint;
    out.distance = std::min(out.matched, size - 1) - out.resume;
  } else if (out.differs_at) {
    out.reason = MissReason::kDiffers;
  }
}

void StateStore::explain_difference(const LookupRequest& request, Lookup& out) const {
  if (out.matched == 0 || out.matched >= request.tokens.size() || walk_.partial == kNoNode) return;
  const uint64_t offset = out.matched % kPageTokens;
  if (offset >= tree_[walk_.partial].used) return;  // the stored text ended there
  out.differs_at = out.matched;
  out.stored_token = tree_.tokens(walk_.partial)[offset];
  if (request.message_starts.empty()) return;
  const auto after = std::upper_bound(request.message_starts.begin(), request.message_starts.end(), out.matched);
  if (after != request.message_starts.begin()) out.message = static_cast<uint32_t>(after - request.message_starts.begin() - 1);
}

// The deepest checkpoint on the prompt's way that was there once. Its page is known by a hash of all tokens before it: good enough to explain, and never
// used to resume.
const StateStore::Loss* StateStore::find_loss(const LookupRequest& request, uint64_t resume) const {
  const Loss* found = nullptr;
  const auto see = [&](uint64_t hash) {
    const Loss& loss = losses_[hash & (losses_.size() - 1)];
    if (loss.prefix_hash == hash && loss.position > resume && loss.position < request.tokens.size()) found = &loss;
  };
  uint64_t depth = resume / kPageTokens;
  uint64_t hash = PageTree::root_of(request.tenant);
  for (depth = std::max<uint64_t>(depth, 1); depth < walk_.path.size(); ++depth) see(tree_[walk_.path[depth]].prefix_hash);
  depth = walk_.path.size();
  if (depth > 0) hash = PageTree::hash_page(tree_[walk_.path[depth - 1]].prefix_hash, tree_.tokens(walk_.path[depth - 1]));
  if (depth > 0) see(hash);  // nothing stands before the first page: every prompt would agree
  for (; (depth + 1) * kPageTokens <= request.tokens.size(); ++depth) {
    hash = PageTree::hash_page(hash, request.tokens.subspan(depth * kPageTokens, kPageTokens));
    see(hash);
  }
  return found;
}

// Only whether, never whose or what: for the operator's log.
bool StateStore::other_tenant_has(const LookupRequest& request) const {
  const auto first = request.tokens.first(std::min<size_t>(request.tokens.size(), kPageTokens));
  Walk walk;
  for (const uint32_t tenant : tenants_) {
    if (tenant == request.tenant) continue;
    tree_.walk(tenant, first, walk, [](NodeId, uint32_t) {});
    if (walk.matched == first.size()) return true;
  }
  return false;
}

// Each node is kept by the checkpoints at and below it and no other; each checkpoint by its node; blocks are neither lost nor shared by mistake.
void StateStore::check() const {
  std::vector<uint32_t> below(tree_.count() + tree_.free_count(), 0), below_xor(below.size(), 0);
  uint64_t chained = 0;
  uint32_t held = 0;
  for (uint32_t id = 0; id < records_.size(); ++id) {
    const Checkpoint& c = records_[id];
    if (c.node == kNoNode) continue;
    ++held;
    SLUICE_CHECK(!c.building && c.position > uint64_t{tree_[c.node].depth} * kPageTokens);
    SLUICE_CHECK(c.position <= uint64_t{tree_[c.node].depth} * kPageTokens + tree_[c.node].used);
    for (NodeId node = c.node; node < 0x80000000u; node = tree_[node].parent) {
      ++below[node];
      below_xor[node] ^= id;
    }
    for (BlockId block = c.state; block != kNoBlock; block = pool_.next(block)) ++chained;
    if (c.parent != kNoCheckpoint) {
      SLUICE_CHECK(records_[c.parent].node != kNoNode && records_[c.parent].position < c.position);
      SLUICE_CHECK(is_prefix_of(records_[c.parent], c));
    }
  }
  SLUICE_CHECK(held == stats_.held && chained == uint64_t{held} * state_blocks_);
  uint32_t nodes = 0;
  for (NodeId node = 0; node < below.size(); ++node) {
    SLUICE_CHECK(tree_[node].below == below[node] && tree_[node].below_xor == below_xor[node]);
    if (below[node] == 0) continue;
    ++nodes;
    SLUICE_CHECK(pool_.references(tree_[node].page) > 0);
  }
  SLUICE_CHECK(nodes == tree_.count());
  SLUICE_CHECK(stats_.bytes_max <= options_.budget_bytes);
}

}  // namespace sluice::engine
