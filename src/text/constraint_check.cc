// Random texts of a grammar: bytes are drawn uniformly, plain ASCII preferred, and after a while the shortest way out is taken.
// Contract: text/constraint_check.h. Next: text/grammar_matcher.h.
#include "text/constraint_check.h"

#include <algorithm>

namespace sluice::text {
namespace {

constexpr size_t kFreeBytes = 120;  // after so many bytes a sample heads for its end
constexpr size_t kSampleBytes = 2000;
constexpr size_t kSearchSteps = 20'000;

uint64_t next_random(uint64_t& state) {
  state += 0x9E3779B97F4A7C15ull;
  uint64_t z = state;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

// Bytes from the state to the end of its rule, calls counted with their own; for heading for the end. A fixed point from above.
std::vector<uint32_t> distances(const Pda& pda) {
  std::vector<uint32_t> distance(pda.states.size(), kNoState);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = pda.states.size(); i-- > 0;) {
      const PdaState& s = pda.states[i];
      uint32_t best = s.accept ? 0 : kNoState;
      for (uint32_t e = 0; e < s.edges; ++e) {
        const uint32_t to = distance[pda.edges[s.edges_begin + e].target];
        if (to != kNoState) best = std::min(best, to + 1);
      }
      for (uint32_t c = 0; c < s.calls; ++c) {
        const PdaCall& call = pda.calls[s.calls_begin + c];
        if (distance[call.callee] != kNoState && distance[call.target] != kNoState)
          best = std::min(best, distance[call.callee] + distance[call.target]);
      }
      if (best < distance[i]) distance[i] = best, changed = true;
    }
  }
  return distance;
}

class Sampler {
 public:
  explicit Sampler(const Pda& pda) : pda_(pda), matcher_(pda), distance_(distances(pda)) {}

  std::string draw(uint64_t& random) {
    std::string text;
    ReadingSet set, next;
    matcher_.pool().clear();
    matcher_.enter(pda_.root, 0, set);
    for (size_t steps = 0; text.size() < kSampleBytes && steps < kSearchSteps; ++steps) {
      const bool leaving = text.size() >= kFreeBytes;
      if (set.readings.empty() || (set.can_end && (leaving || next_random(random) % 4 == 0))) return text;
      const int byte = leaving ? closing_byte(set) : random_byte(set, random);
      if (byte < 0 || !matcher_.step(set, static_cast<uint8_t>(byte), next)) break;
      text.push_back(static_cast<char>(byte));
      std::swap(set, next);
    }
    return text + "...";
  }

 private:
  int random_byte(const ReadingSet& set, uint64_t& random) const {
    const ByteSet bytes = matcher_.next_bytes(set);
    std::vector<int> all, pleasant;
    for (int b = 0; b < static_cast<uint8_t>(kSpecialClose); ++b) {
      if (!bytes.has(static_cast<uint8_t>(b))) continue;
      all.push_back(b);
      if ((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') ||
          std::string_view("\"{}[]:, -.").find(static_cast<char>(b)) != std::string_view::npos)
        pleasant.push_back(b);
    }
    const std::vector<int>& from = pleasant.empty() ? all : pleasant;
    return from.empty() ? -1 : from[next_random(random) % from.size()];
  }

  // The byte after which the fewest are left, frames below included.
  int closing_byte(const ReadingSet& set) const {
    uint64_t best = ~0ull;
    int out = -1;
    for (const Reading& reading : set.readings) {
      uint64_t below = 0;
      for (uint32_t frame = reading.frame; frame != 0; frame = matcher_.pool().below(frame))
        below += distance_[matcher_.pool().state(frame)];
      const PdaState& s = pda_.states[reading.state];
      for (uint32_t e = 0; e < s.edges; ++e) {
        const PdaEdge& edge = pda_.edges[s.edges_begin + e];
        if (edge.low >= static_cast<uint8_t>(kSpecialClose) || distance_[edge.target] == kNoState) continue;
        if (distance_[edge.target] + below < best) best = distance_[edge.target] + below, out = edge.low;
      }
    }
    return out;
  }

  const Pda& pda_;
  Matcher matcher_;
  std::vector<uint32_t> distance_;
};

}  // namespace

Result<ConstraintReport> check_constraint(const ConstraintSpec& spec, ConstraintBudget budget, size_t samples, uint64_t seed) {
  Allowance allowance(budget);
  SLUICE_TRY(const Grammar grammar, build_grammar(spec, allowance));
  SLUICE_TRY(const Pda pda, compile_grammar(grammar, allowance));
  ConstraintReport report{allowance.steps(), pda.states.size() - pda.builtin_states, pda.bytes(), {}};
  Sampler sampler(pda);
  for (size_t i = 0; i < samples; ++i) report.samples.push_back(sampler.draw(seed));
  return report;
}

}  // namespace sluice::text
