// Another engine's benchmark program beside ours: llama-bench (llama.cpp, ik_llama.cpp) and llama-batched-bench, run on the same file, their JSON read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::cli {

struct PeerCase {
  uint64_t prompt = 0;     // tokens read; or
  uint64_t generate = 0;   // tokens generated, one after the other,
  uint64_t depth = 0;      // after this many
  uint64_t sequences = 1;  // at once (llama-batched-bench)
};

struct Peer {
  std::string program;                 // path of llama-bench or llama-batched-bench
  std::vector<std::string> arguments;  // the user's, before ours
  std::string model;
  uint32_t threads = 1;
};

struct PeerResult {
  double tokens_per_second = 0;
  uint64_t peak_rss = 0;  // bytes
};
// Runs the program once and waits for it.
Result<PeerResult> run_peer_once(const Peer& peer, const PeerCase& what);

// The arguments for one case, the program's name first.
std::vector<std::string> peer_arguments(const Peer& peer, const PeerCase& what);
// avg_ts of llama-bench's JSON list, or speed_tg of llama-batched-bench's JSON lines. Text around the JSON is skipped.
Result<double> parse_peer_output(std::string_view text, const PeerCase& what);

}  // namespace sluice::cli
