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
  const auto lost = std::find_if(losses_met_.rbegin(), losses_met_.rend(), [&](uint32_t i) { return !losses_[i].refused; });
  if (const Loss* loss = lost == losses_met_.rend() || losses_[*lost].position <= out.resume ? nullptr : &losses_[*lost]) {
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

// The checkpoints on the prompt's way that were there once, or could have been, known by hashes: good enough to explain and to learn from, and never used
// to resume.
void StateStore::find_losses(const LookupRequest& request) {
  losses_met_.clear();
  const uint64_t size = request.tokens.size();
  const auto see = [&](uint64_t depth, uint64_t prefix_hash) {
    const uint32_t set = static_cast<uint32_t>(prefix_hash) & (kLosses - kLossWays), tag = static_cast<uint32_t>(prefix_hash >> 32) | 1u;
    const size_t first = losses_met_.size();
    for (uint32_t i = set; i < set + kLossWays; ++i) {
      if (loss_tags_[i] != tag || losses_[i].prefix_hash != prefix_hash || losses_[i].position >= size) continue;
      const uint64_t begin = depth * kPageTokens;
      if (losses_[i].position <= begin || losses_[i].position > begin + kPageTokens) continue;
      if (PageTree::hash_page(prefix_hash, request.tokens.subspan(begin, losses_[i].position - begin)) == losses_[i].hash) losses_met_.push_back(i);
    }
    std::sort(losses_met_.begin() + static_cast<ptrdiff_t>(first), losses_met_.end(),
              [&](uint32_t a, uint32_t b) { return losses_[a].position < losses_[b].position; });
  };
  uint64_t depth = 0, hash = PageTree::root_of(request.tenant);
  for (; depth < walk_.path.size(); ++depth) see(depth, tree_[walk_.path[depth]].prefix_hash);
  if (depth > 0) hash = PageTree::hash_page(tree_[walk_.path[depth - 1]].prefix_hash, tree_.tokens(walk_.path[depth - 1]));
  for (; depth * kPageTokens < size; ++depth) {
    see(depth, hash);
    if ((depth + 1) * kPageTokens <= size) hash = PageTree::hash_page(hash, request.tokens.subspan(depth * kPageTokens, kPageTokens));
  }
}

// Tells the learner of what was wanted and not there, and of what was passed.
void StateStore::haunt(Lookup& out) {
  for (const uint32_t i : losses_met_) {
    Loss& loss = losses_[i];
    const bool wanted = i == losses_met_.back() && loss.position > out.resume;
    if (wanted) {
      evictor_->asked(*this, loss.ghost);
      out.shared = std::max(out.shared, loss.position);
      ++loss.ghost.hits;
      loss.ghost.passes = 0;
    } else {
      evictor_->ghost_passed(*this, loss.ghost);
      ++loss.ghost.passes;
    }
    loss.ghost.left = false;
    loss.ghost.touched = loss.ghost.counted_until = tick_;
  }
}

// Only whether, never whose or what: for the operator's log.
bool StateStore::other_tenant_has(const LookupRequest& request) const {
  const auto first = request.tokens.first(std::min<size_t>(request.tokens.size(), kPageTokens));
  Walk walk;  // not the store's own: nothing is known of another tenant
  for (const uint32_t tenant : tenants_) {
    if (tenant == request.tenant) continue;
    tree_.walk(tenant, first, walk);
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
