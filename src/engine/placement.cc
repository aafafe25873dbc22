#include "engine/placement.h"

#include <algorithm>

namespace sluice::engine {

void place_prompt(const PlacementRequest& r, std::vector<Mark>& out) {
  out.clear();
  if (r.prompt < 2) return;
  // An identical prompt computes its last token for the logits, so the end that it can resume lies one before.
  const uint64_t end = r.prompt - 1;
  const auto add = [&](uint64_t position, Kind kind) {
    if (position <= r.resume || position > end || (r.resume > 0 && position < r.resume + kNearTokens)) return;
    for (const Mark& mark : out) {
      if (position == mark.position || (position < mark.position ? mark.position - position : position - mark.position) < kNearTokens) return;
    }
    out.push_back({position, kind});
  };
  add(end, Kind::kPromptEnd);
  add(r.system_end, Kind::kSystemEnd);
  if (r.shared > r.resume) add(r.shared, Kind::kJunction);
  const uint64_t before = end > kBeforeEndTokens ? end - kBeforeEndTokens : 0;
  add(std::max(before, std::min(r.last_message, end)), Kind::kBeforeEnd);
  std::sort(out.begin(), out.end(), [](const Mark& a, const Mark& b) { return a.position < b.position; });
}

void place_grid(uint64_t from, uint64_t to, std::vector<Mark>& out) {
  out.clear();
  uint64_t gap = kBeforeEndTokens, back = 2 * kBeforeEndTokens;
  while (to > back && to - back > from + kBeforeEndTokens) {
    out.push_back({(to - back) / kPageTokens * kPageTokens, Kind::kGrid});
    gap += gap / 2;
    back += gap;
  }
  std::reverse(out.begin(), out.end());
  if (!out.empty() && out.front().position <= from) out.erase(out.begin());
}

void place_dense_grid(uint64_t from, uint64_t to, std::vector<Mark>& out) {
  out.clear();
  for (uint64_t p = (from / kBeforeEndTokens + 1) * kBeforeEndTokens; p < to; p += kBeforeEndTokens) out.push_back({p, Kind::kGrid});
}

}  // namespace sluice::engine
