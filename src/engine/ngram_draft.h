// What may come next, looked up in the text itself: after the longest earlier occurrence of its last tokens (the latest of equals) came these.
// (Prompt lookup decoding, Saxena 2023.) Next: scheduler_draw.cc, which lets the model judge.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::engine {

inline constexpr size_t kNgramMin = 3, kNgramMax = 12;

// Fills `out` with at most `most` tokens; empty if the text's end was never there before.
inline void draft_by_ngram(std::span<const int32_t> tokens, size_t most, std::vector<int32_t>& out) {
  out.clear();
  const size_t n = tokens.size();
  if (n < kNgramMin + 1 || most == 0) return;
  size_t best = 0, best_end = 0;
  for (size_t end = n - 1; end >= kNgramMin; --end) {  // tokens before `end` are compared with the last ones
    if (tokens[end - 1] != tokens[n - 1]) continue;
    size_t same = 1;
    while (same < std::min(end, kNgramMax) && tokens[end - 1 - same] == tokens[n - 1 - same]) ++same;
    if (same < kNgramMin || same <= best) continue;
    best = same;
    best_end = end;
    if (best == kNgramMax) break;
  }
  if (best == 0) return;
  for (size_t i = best_end; i < n && out.size() < most; ++i) out.push_back(tokens[i]);
}

}  // namespace sluice::engine
