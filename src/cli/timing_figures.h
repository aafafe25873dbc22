// The figures of `sluice bench`: a case is timed some times after a warm-up, with the limits measured before and after each time and, if there is one, the
// peer's program run in between (first and second by turns); medians and spreads come out.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/model_loading.h"
#include "cli/timing_cost.h"
#include "cli/timing_limits.h"
#include "cli/timing_peer.h"
#include "cli/timing_profile.h"
#include "cli/verbs.h"

namespace sluice::cli {

struct Spread {
  double median = 0, low = 0, high = 0;
};
Spread spread_of(std::vector<double> values);  // of nothing: zeros

struct Figure {
  std::string what;
  uint32_t threads = 0;
  Spread tokens_per_second;
  const char* of = "";       // the limit that the case is held against
  Spread share;              // of that limit, by the wall
  Spread cpu_share;          // both by CPU time, so that other processes count for neither
  Spread got;                // CPU time over time of the threads: 1 on a quiet machine
  Spread predicted;          // tokens per second if every op took the shortest time that the limits allow
  std::optional<Spread> peer, ratio;  // the peer's tokens per second; ours over the peer's, of the same round
  uint64_t peer_rss = 0;     // bytes at its peak, at most over the rounds
  std::string peer_error;    // why the comparison stopped; the rounds before it count
};
void print(const Figure& figure);
nlohmann::ordered_json json_of(const Figure& figure);

class Bench {
 public:
  // Lives as long as `model` and `meter` do.
  Bench(const BenchOptions& options, LoadedModel& model, LimitMeter& meter) : options_(options), model_(model), meter_(meter) {}

  Result<Figure> prefill(uint64_t tokens);
  Result<Figure> decode(uint64_t depth);
  Result<Figure> together(uint64_t sequences, uint64_t depth);  // one token of each a step
  Result<ProfileTable> profile_prefill(uint64_t tokens);
  Result<ProfileTable> profile_decode(uint64_t depth);

 private:
  struct Case;
  template <typename Run>
  Result<Figure> figure(const Case& what, Run run);
  template <typename Run>
  Result<ProfileTable> profile(const std::string& step, uint64_t steps, const StepShape& shape, Run run);
  Result<std::unique_ptr<engine::Session>> filled(uint64_t depth, uint64_t more);
  StepShape shape_of(uint64_t rows, uint64_t sequences, uint64_t depth) const;
  const program::Program& program() const { return model_.runtime->program(); }

  const BenchOptions& options_;
  LoadedModel& model_;
  LimitMeter& meter_;
};

}  // namespace sluice::cli
