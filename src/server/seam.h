// Where one turn of a conversation ended in tokens, so that the next prompt takes the same ones. Next: prompt.cc (who puts them in), kept_turns.h.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace sluice::server {

// Where a prompt ended and what was answered, in tokens: the next prompt takes these ids, so that the state behind them is found.
struct Seam {
  uint64_t prompt_bytes = 0;           // of the rendered text
  uint64_t prompt_hash = 0;            // of those
  std::vector<int32_t> answer;
};

// FNV-1a, in pieces: begin with kSeamHashBegin.
inline constexpr uint64_t kSeamHashBegin = 0xcbf29ce484222325ull;
constexpr uint64_t seam_hash(uint64_t hash, std::string_view text) {
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return hash;
}

}  // namespace sluice::server
